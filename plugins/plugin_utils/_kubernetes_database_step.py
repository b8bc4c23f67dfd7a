# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that work on a database in a cluster by Jobs have in common."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_database import ClusterDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_integrity import together
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_jobs import (
        DatabaseJobs,
        Report,
        scripts_of,
    )
except ImportError:
    # The action says which package is missing.
    pass

#: Deadline of the Job that asks the rules, seconds.
ASSESS_SECONDS = 120.0
ASSESS = "assess"
# SQLSTATE of pages that cannot be read; appendix A of PostgreSQL's manual.
_UNREADABLE = ("XX000", "XX001", "XX002")

__all__ = ["ASSESS", "ASSESS_SECONDS", "MISSING", "DatabaseStepAction"]


class DatabaseStepAction(KubernetesStepAction):
    """Base of these actions. `act` calls `begin` first."""

    def begin(self, service: Service, seconds: float) -> ClusterDatabase:
        """Get ready.

        :param seconds: for all calls together.
        :raises BadInput: the inventory says nothing about the database.
        """
        database = service.require_kubernetes().database
        if database is None:
            raise BadInput(
                f"{self.target}: codeblue_kubernetes has no database: nobody can work on it", "see docs/kubernetes.md"
            )
        self.connect(service, seconds)
        self._scripts = scripts_of(database)
        if not self.check_mode:
            self._jobs = DatabaseJobs(self._client, self._place, self.open_run().run_id, self.renew)
        return database

    def job(
        self, step: str, script: str, seconds: float, decision: Mapping[str, t.Any], changes: bool = True
    ) -> Report:
        """Have a Job run, as a journalled step.

        :param changes: it changes the database.
        :returns: what it found.
        :raises CodeblueError: it failed.
        """

        def work(_run: OpenRun) -> dict[str, t.Any]:
            return {"changed": changes, "report": self._jobs.run(step, script, seconds)}

        done = self.local_change(f"job_{step}", decision, work)
        self._changed |= changes
        return [dict(each) for each in done["report"]]

    def assessed(self, database: ClusterDatabase) -> dict[str, list[str]]:
        """Which rules fail, which tables have to be brought back, and which of these cannot be read.

        Asked once in a run: what was found first is what is mended.

        :raises CodeblueError: nobody can ask.
        """
        script = self._scripts.assess(database.integrity)
        decision = {"rules": [rule.id for rule in database.integrity], "reason": "which data are damaged"}
        report = self.job(ASSESS, script, ASSESS_SECONDS, decision, changes=False)
        failed = {str(each["rule"]): each for each in report if "rule" in each and each.get("violations") != 0}
        rules = [rule for rule in database.integrity if rule.id in failed]
        unsure = [name for name, each in failed.items() if each.get("sqlstate") in ("55P03", "no number", "")]
        if unsure:
            raise CodeblueError(
                f"{self.target}: rules could not be asked: {', '.join(unsure)}", "see whether they are right"
            )
        tables = together((table for rule in rules for table in rule.tables), database.integrity)
        broken = {name for name, each in failed.items() if each.get("sqlstate") in _UNREADABLE}
        unreadable = sorted({table for rule in rules if rule.id in broken for table in rule.tables})
        return {"rules": [rule.id for rule in rules], "tables": tables, "unreadable": unreadable}

    def step(self, action: str, decision: Mapping[str, t.Any], work: Callable[[], float | None]) -> bool:
        """A journalled step through the API; whether anything was changed.

        :param work: returns the Unix time at which it was accepted; None when it was so already.
        """
        in_doubt = self.begun(action)

        def change(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = work()
            accepted = {"accepted_at": accepted_at} if accepted_at is not None else {}
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": accepted_at is not None or in_doubt, **accepted}

        changed = bool(self.local_change(action, decision, change).get("changed"))
        self._changed |= changed
        return changed


def last(report: Sequence[Mapping[str, t.Any]], key: str) -> Mapping[str, t.Any]:
    """The last line of a report that has a key; an empty one when there is none."""
    return next((each for each in reversed(report) if key in each), {})
