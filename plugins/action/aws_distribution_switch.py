# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Has a distribution of CloudFront take its content from another origin, or forget what it keeps."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_distribution import (
        Behaviours,
        CdnDistribution,
        behaviours_of,
        with_origin,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import region_for_all

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_distribution_switch.py."""

    STAGE = "distribution"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "to": {"type": "str", "choices": [PRIMARY, STANDBY]},
        "invalidate": {"type": "str", "choices": ["when_changed", "always", "never"], "default": "when_changed"},
        "deployed_within": {"type": "float", "default": 900.0},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + 2 * arguments["deployed_within"])
        distribution, to = self._place.distribution, arguments["to"]
        if distribution is None:
            raise BadInput(
                f"{self.target}: codeblue_aws.distribution is missing", "name the distribution in front of it"
            )
        if to is None and arguments["invalidate"] != "always":
            raise BadInput(f"{self.target}: nothing was asked of {distribution}", "give `to`, or `invalidate: always`")
        origin = distribution.origin(to) if to is not None else None
        if to is not None and origin is None:
            raise BadInput(f"{self.target}: codeblue_aws.distribution.{to} is missing", "name its origins")
        self._cdn = CdnDistribution(self._account, distribution, region_for_all(self._place, to))
        self._arguments = arguments
        config, _tag = self._cdn.look()
        before = after = behaviours_of(config)
        if origin is not None and to is not None:
            other = str(distribution.origin(PRIMARY if to == STANDBY else STANDBY))
            after = behaviours_of(with_origin(config, origin, other, self._cdn.what))
            if not self.check_mode:
                self._switch(to, origin, other, before)
        changes = before != after or self._changed
        invalidates = arguments["invalidate"] == "always" or (arguments["invalidate"] == "when_changed" and changes)
        invalidation = ""
        if self.check_mode:
            self._planned += [f"have {self._cdn.what} take its content from {origin}"] if changes else []
            self._planned += [f"invalidate {', '.join(distribution.paths)}"] if invalidates else []
        else:
            if self._changed:
                self._wait_deployed()
            invalidation = self._invalidate() if invalidates else ""
        return self._result(before, after, invalidation, changes or invalidates, origin)

    def _switch(self, to: str, origin: str, other: str, before: Behaviours) -> None:
        key = f"origin_{to}"
        in_doubt = self.begun(key)
        decision = {
            "from": other,
            "to": origin,
            "before": before.text()[:1500],
            "reason": self._arguments["reason"][:200],
            "undo": f"the same step with `to: {PRIMARY if to == STANDBY else STANDBY}`",
        }

        def work(_run: OpenRun) -> dict[str, t.Any]:
            done = self._cdn.switch(origin, other)
            said = {"accepted_at": done.accepted_at} if done.accepted_at else {"already_done": True}
            return {"changed": done.accepted_at is not None or in_doubt, "from": other, "to": origin, **said}

        # Nothing to switch leaves no step, so that a later one of this run that does is no repetition of it.
        config, _tag = self._cdn.look()
        if in_doubt or behaviours_of(with_origin(config, origin, other, self._cdn.what)) != behaviours_of(config):
            self._changed |= bool(self.local_change(key, decision, work)["changed"])

    def _wait_deployed(self) -> None:
        def work(_run: OpenRun) -> dict[str, t.Any]:
            seconds = self._cdn.deployed(self._arguments["deployed_within"], self.renew)
            return {"changed": False, "seconds": round(seconds, 1)}

        self.local_change(f"deployed_{self._arguments['to']}", {"to": self._arguments["to"]}, work)

    def _invalidate(self) -> str:
        """Make the invalidation and wait for it; its id."""
        key = f"invalidate_{self._arguments['to'] or 'all'}"

        def make(run: OpenRun) -> dict[str, t.Any]:
            # Made again after an answer that was lost, it is the same one.
            found, accepted_at = self._cdn.invalidate(f"codeblue-{run.run_id}-{run.target}-{key}")
            return {"changed": True, "ticket": found, "accepted_at": accepted_at}

        made = self.local_change(key, {"reason": self._arguments["reason"][:200]}, make)
        self._changed = True
        found = str(made["ticket"])

        def wait(_run: OpenRun) -> dict[str, t.Any]:
            seconds = self._cdn.invalidated(found, self._arguments["deployed_within"], self.renew)
            return {"changed": False, "seconds": round(seconds, 1)}

        self.local_change(f"done_{key}", {}, wait)
        return found

    def _result(
        self, before: Behaviours, after: Behaviours, invalidation: str, would: bool, origin: str | None
    ) -> dict[str, t.Any]:
        what, verbs = self._cdn.what, ("would take", "would forget") if self.check_mode else ("takes", "has forgotten")
        said = f"{what} {verbs[0]} its content from {origin}" if before != after else f"{what} is left as it is"
        if invalidation or (self.check_mode and would and self._arguments["invalidate"] != "never"):
            said += f"; it {verbs[1]} {', '.join(t.cast(t.Any, self._place.distribution).paths)}"
        diff = {}
        if self._task.diff and before != after:
            diff = {
                "diff": {"before": before.text(), "after": after.text(), "before_header": what, "after_header": what}
            }
        return {
            "changed": would if self.check_mode else self._changed,
            "before": dict(before.origins),
            "after": dict(after.origins),
            "invalidation": invalidation,
            "calls": self._account.calls,
            **diff,
            "codeblue": {"summary": said},
        }
