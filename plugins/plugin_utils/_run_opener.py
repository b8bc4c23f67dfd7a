# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opens a run for all targets of a play, or takes an unfinished one up again.

Held against card and inventory first, by packages that are there at once; the state store is imported when the run is
opened, so that a diagnosis can have the machines asked before.
"""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import (
    ProcessIdentity,
    end_process_tree,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import (
    CHANGED_INPUTS,
    changed_inputs,
    check_accepts,
    check_targets,
    collection_version,
    fingerprint,
    gives_way,
    opening_card_of,
    origin,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run, RunOpening
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

# What the earlier attempt's last step gets to finish by itself before it is ended.
_ORPHAN_SECONDS = 30.0


@dataclass(frozen=True)
class Opened:
    """The run that the targets are leased for.

    :param resumed: an unfinished run was taken up again.
    """

    run_id: str
    change_id: str
    incident_id: str
    resumed: bool

    @property
    def summary(self) -> str:
        return f"{'resumed' if self.resumed else 'opened'} run {self.run_id}, change {self.change_id}"


class RunOpener:
    """One opening. Making it checks the input and touches nothing.

    :param runbook: id of a runbook or of an operation.
    :param services: the targets.
    :param variables: the collection's own variables of each target.
    :param inventory: variables of all services, for the order in which they depend on each other.
    :raises BadInput: card, acceptance, target or inventory is wrong.
    """

    def __init__(
        self,
        runbook: str,
        services: Mapping[str, Service],
        variables: Mapping[str, Mapping[str, t.Any]],
        inventory: Mapping[str, Mapping[str, t.Any]],
        *,
        run_id: str | None = None,
        because: str | None = None,
        accept: Sequence[str] = (),
    ) -> None:
        self.card = opening_card_of(runbook)
        check_accepts(self.card, accept)
        self.targets = list(services)
        self._services = services
        self._variables = variables
        self._environment = check_targets(self.card, services)
        order_of_hosts(self.targets, inventory)
        self._run_id = run_id
        self._because = because
        self._accept = tuple(accept)

    @property
    def about(self) -> dict[str, t.Any]:
        """What is known before it is opened."""
        return {"runbook": self.card.id, "severity": self.card.severity}

    @property
    def would_open(self) -> str:
        """One line for check mode."""
        return f"would open a {self.card.severity} run for {', '.join(self.targets)}"

    @functools.cached_property
    def store(self) -> ResilientStore:
        """The store, whether or not a run of this process is in it yet."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool

        return open_store_or_spool()

    def open_here(self) -> Opened | None:
        """The run that this ansible-playbook has opened for all targets before, in a task of its own; None if not."""
        leases = {lease.target: lease.run_id for lease in self.store.leases_held_by(ProcessIdentity.parent())}
        runs = {leases.get(target) for target in self.targets}
        run_id = runs.pop() if len(runs) == 1 else None
        run = self.store.run(run_id) if run_id is not None else None
        if run is None:
            return None
        reopened = any(record["kind"] == "run_reopened" for record in self.store.ledger_records(run.run_id))
        return Opened(run.run_id, run.change_id, run.incident_id, reopened)

    def earlier(self) -> Run | None:
        """The unfinished run that the given id belongs to; None when a new one is opened.

        :raises Refused: that run is closed.
        """
        if not self._run_id:
            return None
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import StoreUnavailable

        try:
            run = self.store.run(self._run_id)
        except StoreUnavailable:
            # Neither a spool nor a seed knows it, so it began nowhere near here. Opening it decides, by its
            # severity, whether it may go on without the store, and says why not.
            return None
        if run is not None and run.status == "closed":
            raise Refused(f"run {run.run_id} is closed: {run.outcome}", "start a new run")
        return run

    def open(self, earlier: Run | None) -> Opened:
        """Take the leases of all targets, in one transaction with the run, its incident and its change.

        :param earlier: the run to take up again.
        :raises Refused: a lease is held, an approval is missing, or what the run depends on has changed.
        """
        digests = fingerprint(self.card, self._variables)
        run = self._new(digests) if earlier is None else self._resume(earlier, digests)
        if self.store.approval_for(run.run_id) is None:
            self._give_back(run.run_id)
            raise Refused(
                f"change {run.change_id} waits for an approval",
                f"codeblue change approve {run.change_id}, then codeblue resume {run.run_id}",
            )
        return Opened(run.run_id, run.change_id, run.incident_id, earlier is not None)

    def _new(self, digests: dict[str, str]) -> Run:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import RunOpening

        objectives = {name: service.objectives for name, service in self._services.items()}
        return self._open_before_operations(
            RunOpening(
                run_id=self._run_id or _new_run_id(),
                runbook=self.card.id,
                severity=self.card.severity,
                environment=self._environment,
                targets=tuple(self.targets),
                operator=current_operator(),
                because=self._because,
                accepts=self._accept,
                fingerprint=digests,
                origin=origin(),
                collection_version=collection_version(),
                objectives={n: {"rto_seconds": o.rto, "rpo_seconds": o.rpo} for n, o in objectives.items()},
                holder=ProcessIdentity.parent(),
                plan=self.card.plan,
                rollback=self.card.rollback,
                pre_approved=self.card.pre_approved,
            )
        )

    def _open_before_operations(self, opening: RunOpening) -> Run:
        """Open the run; a snapshot that is just being taken does not keep an emergency waiting."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import LeaseHeld

        for _operation in self.targets:
            try:
                return self.store.open_run(opening)[0]
            except LeaseHeld as held:
                if not self.card.emergency or not gives_way(held.runbook):
                    raise
                reason = f"gave way to run {opening.run_id} of {opening.runbook}"
                self.store.close_run(held.lease.run_id, "interrupted", {"reason": reason})
        return self.store.open_run(opening)[0]

    def _resume(self, run: Run, digests: dict[str, str]) -> Run:
        if run.runbook != self.card.id:
            raise BadInput(
                f"run {run.run_id} is one of {run.runbook}, not of {self.card.id}", "resume it by its own runbook"
            )
        if set(run.open_targets) != set(self.targets):
            raise BadInput(
                f"run {run.run_id} is open for {', '.join(run.open_targets)}, this play has {', '.join(self.targets)}",
                "resume it with the inventory and the --limit that it was started with",
            )
        changed = changed_inputs(run.fingerprint, digests)
        if changed and CHANGED_INPUTS not in self._accept:
            raise Refused(
                f"run {run.run_id}: {' and '.join(changed)} changed since it was started",
                f"look at the difference; to go on all the same: --accept {CHANGED_INPUTS}",
            )
        for step in self.store.open_intents(run.run_id):
            if step.worker.is_alive():
                end_process_tree(step.worker, _ORPHAN_SECONDS)
        holder = ProcessIdentity.parent()
        reopened = self.store.reopen_run(run.run_id, holder)
        self.store.acquire_leases(run.run_id, self.targets, holder)
        return reopened

    def _give_back(self, run_id: str) -> None:
        for lease in self.store.leases_of_run(run_id):
            self.store.release_lease(lease.target, run_id, lease.generation)


def _new_run_id() -> str:
    from ulid import ULID

    return str(ULID())
