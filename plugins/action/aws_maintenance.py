# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a service on AWS into maintenance, and takes it out again: a fixed response, a page, both."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_distribution import CdnDistribution
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_maintenance_rule import MaintenanceRule
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_page import MaintenancePage
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import Moved, region_for_all

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_WAYS = ("load_balancer", "page")


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_maintenance.py."""

    STAGE = "maintenance"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "ways": {"type": "list", "elements": "str", "choices": list(_WAYS), "default": list(_WAYS)},
        "forgotten_within": {"type": "float", "default": 600.0},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.connect(self.service(), _CALL_SECONDS + arguments["forgotten_within"])
        self._state, self._arguments = arguments["state"], arguments
        self._ends = self._state == "absent"
        known = self._known(arguments["ways"])
        if not known:
            raise BadInput(
                f"{self.target}: has neither a load balancer nor a page that could tell of maintenance",
                "describe codeblue_aws.load_balancer or codeblue_aws.bucket.page",
            )
        done = [self._switched(way) for way in known]
        changed = [name for name, would in zip(known, done, strict=True) if would]
        invalidated = self._forget() if "page" in changed else ""
        verb = ("would be " if self.check_mode else "is ") + ("out of maintenance" if self._ends else "in maintenance")
        said = f"{self.target} {verb} by {' and '.join(_words(each) for each in known)}"
        if not changed:
            said = f"{self.target} {'is' if not self._ends else 'was'} {verb.partition(' ')[2]} already"
        return {
            "changed": bool(changed),
            "ways": known,
            "switched": changed,
            "invalidation": invalidated,
            "calls": self._account.calls,
            **self._diff(known, changed),
            "codeblue": {"summary": said},
        }

    def _known(self, wanted: list[str]) -> list[str]:
        has = {
            "load_balancer": self._place.load_balancer is not None,
            "page": self._place.bucket is not None and self._place.bucket.page is not None,
        }
        return [each for each in _WAYS if each in wanted and has[each]]

    def _switched(self, way: str) -> bool:
        """Switch one way; whether that changed something, or would."""
        if way == "load_balancer":
            rule = MaintenanceRule(self._account, t.cast(t.Any, self._place.load_balancer))
            run_id = "" if self.check_mode else self.open_run().run_id
            return self._step(
                way, rule.what, rule.look() is not None, {"to": self._state}, lambda: rule.put(run_id), rule.take_away
            )
        page = MaintenancePage(self._account, t.cast(t.Any, self._place.bucket), self._place.region)
        seen = page.look()
        decision = {"to": self._state, "previous_version": seen.before or seen.version or "none"}
        return self._step(way, page.what, seen.maintenance, decision, page.put, page.take_away)

    def _step(
        self,
        way: str,
        what: str,
        there: bool,
        decision: Mapping[str, t.Any],
        put: Callable[[], Moved],
        take_away: Callable[[], Moved],
    ) -> bool:
        key = f"{way}_{self._state}"
        in_doubt = not self.check_mode and self.begun(key)
        if there is not self._ends and not in_doubt:
            return False
        if self.check_mode:
            self._planned.append(f"{'take away' if self._ends else 'put in place'} the {what}")
            return True
        other = "present" if self._ends else "absent"
        undo = f"the same step with `state: {other}`"

        def work(_run: OpenRun) -> dict[str, t.Any]:
            moved = take_away() if self._ends else put()
            said = {"accepted_at": moved.accepted_at} if moved.accepted_at else {"already_done": True}
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": moved.accepted_at is not None or in_doubt, **said}

        reason = {"reason": self._arguments["reason"][:200]}
        return bool(self.local_change(key, {**decision, **reason, "undo": undo}, work)["changed"])

    def _forget(self) -> str:
        """Have the distribution in front forget the page that it keeps, and wait for that; the id."""
        distribution = self._place.distribution
        if distribution is None:
            return ""
        if self.check_mode:
            self._planned.append(f"invalidate {', '.join(distribution.paths)}")
            return ""
        cdn, key = (
            CdnDistribution(self._account, distribution, region_for_all(self._place)),
            f"invalidate_{self._state}",
        )

        def make(run: OpenRun) -> dict[str, t.Any]:
            found, accepted_at = cdn.invalidate(f"codeblue-{run.run_id}-{run.target}-{self.STAGE}-{key}")
            return {"changed": True, "ticket": found, "accepted_at": accepted_at}

        found = str(self.local_change(key, {"to": self._state}, make)["ticket"])

        def wait(_run: OpenRun) -> dict[str, t.Any]:
            seconds = cdn.invalidated(found, self._arguments["forgotten_within"], self.renew)
            return {"changed": False, "seconds": round(seconds, 1)}

        self.local_change(f"done_{key}", {}, wait)
        return found

    def _diff(self, known: list[str], changed: list[str]) -> dict[str, t.Any]:
        if not self._task.diff or not changed:
            return {}
        wanted = not self._ends
        sides = {
            "before": "".join(f"{each} {_switch(wanted is not (each in changed))}\n" for each in known),
            "after": "".join(f"{each} {_switch(wanted)}\n" for each in known),
        }
        return {"diff": {**sides, "before_header": "maintenance", "after_header": "maintenance"}}


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _words(way: str) -> str:
    return "the load balancer" if way == "load_balancer" else "the page"
