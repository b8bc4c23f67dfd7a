# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Steps through an API that prove what they did: by what earlier attempts and runs have seen, and by the checks."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._reconciler_steps import ReconcilerSteps

# A failing import here would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import StoreUnavailable, open_store

    MISSING: ImportError | None = None
except ImportError as error:
    MISSING = error

# Between two signs of life for other controllers; the lease is good for a minute.
_RENEW_SECONDS = 10.0


class NotProven(CodeblueError):
    """What was done did not make the service work."""


class ProvenSteps(ReconcilerSteps):
    """Base of actions that act through an API and prove it."""

    MISSING_IMPORT = MISSING
    #: Seconds between two tries of the checks.
    PAUSE: t.ClassVar[float] = 0.1

    def begun(self, action: str) -> bool:
        """Whether an earlier attempt of this run has begun a step."""
        run = self.open_run()
        steps = run.store.steps(run.run_id)
        return any((each.target, each.stage, each.action) == (run.target, self.STAGE, action) for each in steps)

    def kept(self, action: str) -> dict[str, t.Any] | None:
        """The result of a step that an earlier attempt of this run has finished; None when it has not."""
        run = self.open_run()
        for each in run.store.steps(run.run_id):
            if (each.target, each.stage, each.action, each.state) == (run.target, self.STAGE, action, "done"):
                return dict(each.result or {})
        return None

    def proven(self, kind: str) -> list[str]:
        """What earlier runs have seen working, the latest first; nothing when the store is lost."""
        try:
            store = open_store() if self.check_mode else self.open_run().store.main
            return store.proven_versions(self.target, kind) if store is not None else []
        except StoreUnavailable:
            return []

    def marked_bad(self, kind: str) -> set[str]:
        """Versions of a kind that are marked bad."""
        if self.check_mode:
            try:
                return {each.version for each in open_store().bad_versions(self.target, kind)}
            except StoreUnavailable:
                return set()
        return {each.version for each in self.open_run().store.bad_versions(self.target, kind)}

    def carry_out(self, name: str, given: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Carry out another action of the collection as a part of this one, with its own steps.

        :param given: its arguments; those that are None are left out.
        :returns: its result.
        :raises CodeblueError: it failed.
        """
        task = self._task.copy()
        task.args = {key: value for key, value in given.items() if value is not None}
        action = self._shared_loader_obj.action_loader.get(
            f"codeblue.recovery.{name}",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, t.Any] = action.run(task_vars=self._variables)
        said = result["codeblue"]
        if said.get("accepted_at"):
            self._accepted_at.append(float(said["accepted_at"]))
        self._planned += said.get("plan") or []
        self._changed |= bool(result.get("changed"))
        if result.get("failed"):
            raise CodeblueError(str(said["error"]), said.get("hint"), int(said["exit_code"]))
        return result

    # -- proving -----------------------------------------------------------------------------------------------

    @staticmethod
    def proved(work: Callable[[], t.Any], when_unhealthy: str) -> str:
        """Carry out a proof.

        :param when_unhealthy: `fail`, or `report` for who looks again.
        :returns: what was not proven, empty when everything was.
        :raises NotProven: it was not, and that is to fail.
        """
        try:
            work()
        except NotProven as error:
            if when_unhealthy == "fail":
                raise
            return error.message
        return ""

    def until_healthy(self, service: Service, given: float | None) -> str:
        """Wait until the checks of the service pass; what still fails in the end, empty when nothing does."""
        deadline = time.monotonic() + patience(service, given)
        while (problem := self.complaint(service)) and time.monotonic() < deadline:
            self.renew()
            time.sleep(self.PAUSE)
        return problem

    def complaint(self, service: Service) -> str:
        """The first check of the service that fails; empty when none does, or it has none."""
        plan = plan_checks({service.name: service.checks}, "deep")
        failed = next((each for each in run_checks(plan) if not each.ok), None)
        return f"{failed.id} fails ({failed.error_class})" if failed is not None else ""

    def renew(self) -> None:
        """Tell other controllers, not too often, that somebody is still at work here."""
        now = time.monotonic()
        if now - getattr(self, "_renewed", now - _RENEW_SECONDS) >= _RENEW_SECONDS:
            self._renewed = now
            self.renew_lease()
