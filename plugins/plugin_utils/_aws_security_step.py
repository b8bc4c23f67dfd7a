# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions that contain a breach on AWS have in common: a step about one resource, and what is shown of it."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._quarantine_changes import ACCEPTANCE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

__all__ = ["MISSING", "AwsSecurityAction", "NotProven", "OpenRun"]

_LONGEST_ACTION = 120


class AwsSecurityAction(AwsStepAction):
    """Base of these actions."""

    def connect(self, service: Service, seconds: float) -> None:
        super().connect(service, seconds)
        self._diffs: list[dict[str, str]] = []

    def step(self, action: str, decision: Mapping[str, t.Any], work: Callable[[], bool]) -> bool:
        """One journalled change of one resource.

        :param work: does it, is safe to repeat, and says whether it changed anything.
        :returns: whether this run changed it.
        """
        in_doubt = self.begun(action)

        def change(_run: OpenRun) -> dict[str, t.Any]:
            done = work()
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": done or in_doubt, **({"accepted_at": time.time()} if done else {})}

        done = self.local_change(action[:_LONGEST_ACTION], {"machine": self._where, **decision}, change)
        self._changed |= bool(done.get("changed"))
        return bool(done.get("changed"))

    def decided(self, action: str) -> dict[str, t.Any] | None:
        """What an earlier attempt of this run has decided for a step; None when there was none."""
        run = self.open_run()
        for each in run.store.steps(run.run_id):
            if (each.target, each.stage, each.action) == (run.target, self.STAGE, action[:_LONGEST_ACTION]):
                return dict(each.decision)
        return None

    def ended(self, said: dict[str, t.Any]) -> dict[str, t.Any]:
        """The action's result, with what all of them tell."""
        return {
            "changed": self._changed or (self.check_mode and bool(self._planned)),
            **said,
            "due": self._due,
            "calls": self._account.calls,
            **({"diff": self._diffs} if self._task.diff and self._diffs else {}),
        }

    def show(self, header: str, before: t.Any, after: t.Any) -> None:
        """Add to the diff; never a value that could be a secret."""
        self._diffs.append(
            {
                "before": yaml.safe_dump(before) if before is not None else "",
                "after": yaml.safe_dump(after) if after is not None else "",
                "before_header": header,
                "after_header": header,
            }
        )

    def accept_isolation(self, service: Service) -> None:
        """Isolation of a clinical service needs a person's word, but for a lab.

        :raises Refused: nobody accepted it.
        """
        if self.check_mode or service.environment == "lab":
            return
        if ACCEPTANCE not in accepted(self.open_run(), ()):
            raise Refused(
                f"{self.target} would be cut off from everybody, and its users with it.",
                f"its manual fallback has to be announced first; then: --accept {ACCEPTANCE}",
            )

    @property
    def _where(self) -> str:
        return f"AWS {self._place.region}"
