# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stops all writes to a database in a cluster, or lets them begin again: its writers by their number, it by a Job."""

from __future__ import annotations

import dataclasses
import functools
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, NotLeftSafe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    PlannedCheck,
    PostgresqlCheck,
    plan_checks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_database_step import (
    MISSING,
    DatabaseStepAction,
    last,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import Workload
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_database import ClusterDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_change import Field, change_field
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
        PODS,
        WORKLOAD_RESOURCES,
        Budget,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import (
        RolloutWaiter,
        selector_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import KubernetesWorkload

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_JOB_SECONDS = 120.0
_PAUSE = 0.2
_PROOF_SECONDS = 10.0
_STOPPED = "stopped"
# How many pods a writer had that is scaled away.
_NOTE = "codeblue.recovery/stopped-writer"


class ActionModule(DatabaseStepAction):
    """See plugins/modules/kubernetes_writes_stop.py."""

    STAGE = "isolate"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": [_STOPPED, "resumed"], "required": True},
        "confirmed": {"type": "bool", "default": True},
        "reason": {"type": "str", "required": True},
        "gone_within": {"type": "float", "default": 60.0},
        "rollout_within": {"type": "float", "default": 300.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        database = self.begin(service, _CALL_SECONDS * 4 + arguments["gone_within"] + arguments["rollout_within"])
        tried = [each for each in plan_checks({self.target: service.checks}, "deep") if _writes(each)]
        stop = arguments["state"] == _STOPPED
        said = self._stop(database, tried, arguments) if stop else self._resume(tried, arguments["rollout_within"])
        return {
            "changed": self._changed or self.check_mode,
            # What the same role has to know of a database on machines.
            "undo": "none",
            **said,
            "due": self._due,
            "calls": self._client.calls,
        }

    # -- stopping ----------------------------------------------------------------------------------------------

    def _stop(
        self, database: ClusterDatabase, tried: list[PlannedCheck], arguments: Mapping[str, t.Any]
    ) -> dict[str, t.Any]:
        writers = self._chosen(database)
        if self.check_mode:
            self._planned += [f"scale_{key} from {number} to 0" for key, number in writers.items()]
            self._planned += ["job_read_only", "job_assess"]
            return {"codeblue": {"summary": f"would stop writes to {database.name}"}}
        found = None if arguments["confirmed"] else self._assessed(database)
        for key, number in writers.items():
            if number:
                self._note(key, str(number))
            self._scale(key, number, 0, arguments["reason"])
        self._until_gone(writers, arguments["gone_within"])
        decision = {"reason": arguments["reason"], "undo": "ALTER DATABASE … RESET default_transaction_read_only"}
        report = self.job("read_only", self._scripts.read_only(), _JOB_SECONDS, decision)
        proof = f"a write that a Job tried failed ({last(report, 'write').get('write')})"
        if tried:
            proof += f"; {self._tried(tried, stop=True)}"
        if found is None:
            try:
                found = self._assessed(database)
            except CodeblueError:
                self._resume([], arguments["rollout_within"])
                raise
        stopped = ", ".join(writers) or "nobody"
        ended = last(report, "ended").get("ended", 0)
        summary = f"writes stopped: {stopped} scaled to no pods, {ended} sessions ended; {proof}"
        summary += f"; {', '.join(found['rules'])} fails: {', '.join(found['tables'])} are damaged"
        return {"findings": found, "codeblue": {"summary": summary}}

    def _assessed(self, database: ClusterDatabase) -> dict[str, list[str]]:
        """:raises CodeblueError: every rule holds."""
        found = self.assessed(database)
        if not found["rules"]:
            raise CodeblueError(
                f"{self.target}: every one of {len(database.integrity)} integrity rules holds: nothing is mended",
                "look at what was reported, and add a rule to the inventory that finds it",
            )
        return found

    def _chosen(self, database: ClusterDatabase) -> dict[str, int]:
        """Writers as `kind/name` and how many pods each has, written down before the first change."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            found = {}
            for kind, name in database.writers:
                seen = self._client.get(WORKLOAD_RESOURCES[kind], name, self._place.namespace)
                present = int(seen["spec"].get("replicas", 1))
                # A run that failed has stopped it already, and says how many pods it had.
                noted = str((seen["metadata"].get("annotations") or {}).get(_NOTE) or "")
                found[f"{kind}/{name}"] = int(noted) if not present and noted.isdigit() else present
            return {"changed": False, "writers": found}

        kept = decide() if self.check_mode else self.local_change("choose", {"reason": "who writes"}, decide)
        return {str(key): int(number) for key, number in kept["writers"].items()}

    def _until_gone(self, writers: Mapping[str, int], seconds: float) -> None:
        ends = time.monotonic() + seconds
        for key in writers:
            manifest = self._of(key).read().manifest
            while pods := self._client.list_all(PODS, self._place.namespace, labels=selector_of(manifest)):
                if time.monotonic() >= ends:
                    raise CodeblueError(
                        f"{self.target}: pod {pods[0]['metadata']['name']} of {key} does not end and may write",
                        "look at its node; end it there, and resume",
                    )
                self.renew()
                time.sleep(_PAUSE)

    # -- resuming ----------------------------------------------------------------------------------------------

    def _resume(self, tried: list[PlannedCheck], seconds: float) -> dict[str, t.Any]:
        writers = self._stopped()
        if self.check_mode:
            self._planned += ["job_writable", *(f"scale_back_{key}" for key in writers)]
            return {"codeblue": {"summary": "would let writes begin again"}}
        self.job("writable", self._scripts.writable(), _JOB_SECONDS, {"reason": "the data are whole"})
        proof = self._tried(tried, stop=False) if tried else "a write that a Job tried succeeded"
        for key, number in writers.items():
            self._scale(key, 0, number, "the data are whole", "scale_back")
        for key, number in writers.items():
            if number:
                self._until_back(key, seconds)
                self._note(key, None)
        back = ", ".join(f"{key} has {number} pods" for key, number in writers.items())
        return {"codeblue": {"summary": f"writes resumed: {proof}{back and '; ' + back}"}}

    def _stopped(self) -> dict[str, int]:
        """What this run has stopped."""
        if self.check_mode:
            return {}
        kept = self.kept("choose") or {}
        return {str(key): int(number) for key, number in (kept.get("writers") or {}).items()}

    def _until_back(self, key: str, seconds: float) -> None:
        workload = self._of(key)
        place = dataclasses.replace(self._place, workload=_workload(key))
        waiter = RolloutWaiter(self._client, place, self.renew, lambda _pods: ())
        waited = waiter.wait(workload.read().rollout.current, Budget(seconds))
        if waited.problem:
            raise CodeblueError(f"{self.target}: writes are possible, and {key} does not come back: {waited.problem}")

    # -- both --------------------------------------------------------------------------------------------------

    def _of(self, key: str) -> KubernetesWorkload:
        return KubernetesWorkload(self._client, dataclasses.replace(self._place, workload=_workload(key)))

    def _note(self, key: str, number: str | None) -> None:
        """Write on a writer itself how many pods it had, for a run that does not know of this one; None removes it."""
        workload = _workload(key)
        change = {"metadata": {"annotations": {_NOTE: number}}}
        self._client.merge(WORKLOAD_RESOURCES[workload.kind], workload.name, self._place.namespace, change)

    def _scale(self, key: str, before: int, after: int, reason: str, verb: str = "scale") -> None:
        if before == after:
            return
        workload, what = _workload(key), f"{key} in namespace {self._place.namespace}"
        handle = self._of(key)
        for each in self.meet(handle.reconcilers(handle.read()), what):
            self.suspend(self.open_run(), each, what)
        resource = WORKLOAD_RESOURCES[workload.kind]
        field = Field(resource, self._place.namespace, workload.name, "/spec/replicas", _replicas)
        undo = f"kubectl -n {self._place.namespace} scale {key.lower()} --replicas={before}"
        decision = {"reason": reason[:200], "from": str(before), "to": str(after), "undo": undo}
        work = functools.partial(change_field, self._client, field, str(before), str(after), after)
        self.step(f"{verb}_{key.replace('/', '_')}", decision, work)

    def _tried(self, tried: list[PlannedCheck], stop: bool) -> str:
        """What became of a write from here, by the checks of the service that write.

        :raises NotLeftSafe: it is not as wanted.
        """
        ends = time.monotonic() + _PROOF_SECONDS
        while True:
            results = run_checks(tried, deadline=_PROOF_SECONDS)
            if all(each.error_class == "read_only" if stop else each.ok for each in results):
                ids = ", ".join(each.id for each in results)
                return f"a write from here was tried and {'failed' if stop else 'succeeded'} ({ids})"
            if time.monotonic() >= ends:
                said = ", ".join(f"{each.id}: {each.error_class or 'succeeds'}" for each in results)
                verb = "writes go on" if stop else "writes do not work again"
                raise NotLeftSafe(f"{self.target}: {verb}: {said}", "look at what leads to the database")
            self.renew()
            time.sleep(_PAUSE)


def _writes(planned: PlannedCheck) -> bool:
    return isinstance(planned.check, PostgresqlCheck) and planned.check.writes


def _workload(key: str) -> Workload:
    kind, _slash, name = key.partition("/")
    return Workload(kind, name)


def _replicas(manifest: Mapping[str, t.Any]) -> str:
    return str(manifest["spec"].get("replicas", 1))
