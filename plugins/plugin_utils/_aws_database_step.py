# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that change a database in RDS have in common."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS, accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

# AwsStepAction says which package is missing.
with contextlib.suppress(ImportError):
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases

__all__ = ["MISSING", "AwsDatabaseAction", "NotProven", "accepted_at"]

# For all calls but waiting.
_CALL_SECONDS = 180.0


class AwsDatabaseAction(AwsStepAction):
    """Base of these actions. `act` calls `open_database` first."""

    def open_database(self, seconds: float) -> Service:
        """Get ready to ask for the database of this target.

        :param seconds: that are waited for at most, in all.
        :raises BadInput: it has none in RDS.
        """
        service = self.service()
        self._database = service.require_aws().require_database(self.target)
        self.connect(service, _CALL_SECONDS + seconds)
        renew = (lambda: None) if self.check_mode else self.renew
        self._databases = RdsDatabases(self._account, renew)
        return service

    def decide(self, action: str, decision: Mapping[str, t.Any], work: t.Callable[[], dict[str, t.Any]]) -> t.Any:
        """What is to be done, written down before the first change, so that a resumed run does the same.

        :param work: looks and decides; its result must be plain.
        """
        if self.check_mode:
            return work()
        return self.local_change(action, decision, lambda _run: {"changed": False, **work()})

    def step(
        self,
        action: str,
        decision: Mapping[str, t.Any],
        work: t.Callable[[OpenRun], dict[str, t.Any]],
    ) -> dict[str, t.Any]:
        """One change; in check mode it is only named.

        :param work: see `local_change`; it says whether it `changed` something now.
        """
        if self.check_mode:
            self._planned.append(action)
            self._changed = True
            return {}
        # In doubt and done is this run's own change, of which the answer was lost.
        in_doubt = self.begun(action)

        def carried_out(run: OpenRun) -> dict[str, t.Any]:
            result = work(run)
            return {**result, "changed": bool(result.get("changed")) or in_doubt}

        result = self.local_change(action, decision, carried_out)
        self._changed |= bool(result.get("changed"))
        return result

    def require_acceptance(self, loss: str, given: t.Iterable[str]) -> None:
        """Ask for what cannot be undone.

        :param loss: what is given up, for people.
        :param given: counts in check mode only.
        :raises Refused: nobody has accepted it.
        """
        if DATA_LOSS not in accepted(None if self.check_mode else self.open_run(), given):
            raise Refused(
                f"{self.target}: {loss}",
                f"staff would have to enter it again; to do it all the same: --accept {DATA_LOSS}",
            )

    def require_positive(self, arguments: Mapping[str, t.Any], *names: str) -> None:
        """:raises BadInput: one of the arguments is no time to wait."""
        for name in names:
            if arguments[name] <= 0:
                raise BadInput(f"{name}: {arguments[name]:g} is no time to wait", "give seconds, more than 0")


def accepted_at(changed: bool) -> dict[str, t.Any]:
    """What a step says of a change that RDS has taken now, or that was there."""
    return {"changed": True, "accepted_at": time.time()} if changed else {"changed": False}
