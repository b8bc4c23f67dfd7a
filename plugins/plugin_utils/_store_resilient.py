# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The store that an emergency goes on with: the shared one, and a spool when that one fails.

A run whose store is lost goes on only if it is SEV1. A full or broken disk lets any run go on, since only the
place is missing. Once a run has a spool it stays there until the spool is taken in.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes import Acceptance, Approval
from ansible_collections.codeblue.recovery.plugins.plugin_utils._open_spools import OpenSpools
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import Breach
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    BadVersion,
    Lease,
    Run,
    RunOpening,
    Snapshot,
    Step,
    StoreUnavailable,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_rows import RunRows, rows_of_run
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import (
    SpoolStore,
    leases_in_seed,
    new_spool,
    only_one_takes_leases,
    read_seed,
    refuse_held,
    refuse_held_in_seeds,
    remove_seed,
    seeded_runs,
    spool_from,
    write_seed,
)

Result = t.TypeVar("Result")
_GOES_ON_WITHOUT_STORE = frozenset({"SEV0", "SEV1"})


class ResilientStore:
    """The methods of `Store` that a run needs, with the way out when it fails.

    :param main: the shared store, or None when it could not be opened.
    :param failure: why it could not be opened.
    """

    def __init__(self, main: Store | None, failure: StoreUnavailable | None = None) -> None:
        self.main = main
        self.failure = failure
        # What a person should know about although nothing failed.
        self.warnings: list[str] = []
        self._spools = OpenSpools(self._warn_once)

    # -- opening and closing -----------------------------------------------------------------------------------

    def open_run(self, opening: RunOpening, ttl_seconds: int = 60) -> tuple[Run, dict[str, Lease]]:
        """Open a run and take the leases of all its targets, or do neither. See `Store.open_run`."""
        self._refuse_held_in_spools(opening.run_id, opening.targets)
        try:
            if self.main is None:
                raise t.cast(StoreUnavailable, self.failure)
            run, leases = self.main.open_run(opening, ttl_seconds)
        except StoreUnavailable as error:
            self._may_go_on(opening.severity, error)
            self._warn(opening.run_id, error)
            with only_one_takes_leases():
                self._refuse_held_in_spools(opening.run_id, opening.targets)
                refuse_held_in_seeds(opening.run_id, opening.targets)
                return new_spool(opening.run_id).open_run(opening, ttl_seconds)
        self._seed(opening.run_id)
        return run, leases

    def create_run(self, opening: RunOpening) -> Run:
        """Open a run without leases; `open_run` does both at once."""
        try:
            if self.main is None:
                raise t.cast(StoreUnavailable, self.failure)
            run = self.main.create_run(opening)
        except StoreUnavailable as error:
            self._may_go_on(opening.severity, error)
            self._warn(opening.run_id, error)
            return new_spool(opening.run_id).create_run(opening)
        self._seed(opening.run_id)
        return run

    def reopen_run(self, run_id: str, holder: ProcessIdentity) -> Run:
        return self._on_run(run_id, lambda store: store.reopen_run(run_id, holder))

    def acquire_leases(
        self, run_id: str, targets: Sequence[str], holder: ProcessIdentity, ttl_seconds: int = 60
    ) -> dict[str, Lease]:
        """All targets or none. See `Store.acquire_leases`."""

        def acquire(store: Store) -> dict[str, Lease]:
            if not store.is_spool:
                self._refuse_held_in_spools(run_id, targets)
                return store.acquire_leases(run_id, targets, holder, ttl_seconds)
            with only_one_takes_leases():
                self._refuse_held_in_spools(run_id, targets)
                refuse_held_in_seeds(run_id, targets)
                return store.acquire_leases(run_id, targets, holder, ttl_seconds)

        leases = self._on_run(run_id, acquire)
        if self._spools.of(run_id) is None:
            self._seed(run_id)
        return leases

    def close_target(self, run_id: str, target: str, outcome: str, detail: Mapping[str, t.Any]) -> Run:
        run = self._on_run(run_id, lambda store: store.close_target(run_id, target, outcome, detail))
        return self._closed(run)

    def close_run(self, run_id: str, outcome: str, detail: Mapping[str, t.Any]) -> Run:
        return self._closed(self._on_run(run_id, lambda store: store.close_run(run_id, outcome, detail)))

    # -- journal and leases ------------------------------------------------------------------------------------

    def begin_step(
        self,
        run_id: str,
        target: str,
        stage: str,
        action: str,
        decision: Mapping[str, t.Any],
        worker: ProcessIdentity,
        generation: int,
    ) -> Step:
        return self._on_run(
            run_id, lambda store: store.begin_step(run_id, target, stage, action, decision, worker, generation)
        )

    def finish_step(self, step: Step, outcome: str, result: Mapping[str, t.Any], changed: bool) -> Step:
        def finish(store: Store) -> Step:
            if store.is_spool:
                # A spool that grew from a seed has not seen the intent.
                store.adopt_step(step)
            return store.finish_step(step, outcome, result, changed)

        return self._on_run(step.run_id, finish)

    def record(self, run_id: str, kind: str, fields: Mapping[str, t.Any]) -> None:
        self._on_run(run_id, lambda store: store.record(run_id, kind, fields))

    def steps(self, run_id: str) -> list[Step]:
        return self._on_run(run_id, lambda store: store.steps(run_id))

    def open_intents(self, run_id: str) -> list[Step]:
        return self._on_run(run_id, lambda store: store.open_intents(run_id))

    def check_lease(self, target: str, run_id: str, generation: int) -> None:
        self._on_run(run_id, lambda store: store.check_lease(target, run_id, generation))

    def renew_lease(self, target: str, run_id: str, generation: int) -> None:
        self._on_run(run_id, lambda store: store.renew_lease(target, run_id, generation))

    def release_lease(self, target: str, run_id: str, generation: int) -> None:
        self._on_run(run_id, lambda store: store.release_lease(target, run_id, generation))

    def lease_of(self, target: str) -> Lease | None:
        """Who holds a target, in the store or in a spool."""
        for store in self._everywhere():
            lease = store.lease_of(target)
            if lease is not None and (store.is_spool or self._spools.of(lease.run_id) is None):
                return lease
        return None

    def leases_of_run(self, run_id: str) -> list[Lease]:
        return self._on_run(run_id, lambda store: store.leases_of_run(run_id))

    def leases_held_by(self, identity: ProcessIdentity) -> list[Lease]:
        """What a process holds for open runs, whichever store these are in."""
        spools = self._spools.all()
        found = [lease for spool in spools for lease in spool.leases_held_by(identity)]
        spooled = {spool.run_id for spool in spools}
        if self.main is not None:
            try:
                held = self.main.leases_held_by(identity)
                if held or not self._has_lost_a_run_of(identity, spooled):
                    return found + [lease for lease in held if lease.run_id not in spooled]
            except StoreUnavailable as error:
                self.main, self.failure = None, error
        return found + self._leases_in_seeds(identity, spooled)

    def _has_lost_a_run_of(self, identity: ProcessIdentity, spooled: Collection[str]) -> bool:
        """A store that was deleted comes back empty: it can be used, and knows nothing of what is going on."""
        main = t.cast(Store, self.main)
        for lease in self._leases_in_seeds(identity, spooled):
            if main.run(lease.run_id) is None:
                self.main = None
                self.failure = StoreUnavailable(f"the state store does not know run {lease.run_id} any more")
                return True
        return False

    @staticmethod
    def _leases_in_seeds(identity: ProcessIdentity, spooled: Collection[str]) -> list[Lease]:
        seeds = [read_seed(run_id) for run_id in seeded_runs() if run_id not in spooled]
        return [
            lease for rows in seeds if rows is not None for lease in leases_in_seed(rows) if lease.holder == identity
        ]

    def holds_in_spool(self, identity: ProcessIdentity) -> bool:
        """Whether a process holds a lease for a run that has gone over to a spool."""
        return any(spool.leases_held_by(identity) for spool in self._spools.all())

    # -- questions ---------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        return self._on_run(run_id, lambda store: store.run(run_id))

    def runs(self, limit: int = 50, status: str | None = None) -> list[Run]:
        """The latest runs, those in spools as they are there."""
        found: dict[str, Run] = {}
        for store in self._everywhere():
            for run in store.runs(limit, status=None if store.is_spool else status):
                found.setdefault(run.run_id, run)
        wanted = [run for run in found.values() if status is None or run.status == status]
        return sorted(wanted, key=lambda run: run.opened_at, reverse=True)[:limit]

    def ledger_records(self, run_id: str) -> list[dict[str, object]]:
        """The record of a run: what the store has of it, then what its spool has."""
        spool = self._spools.of(run_id)
        records: list[dict[str, object]] = []
        if self.main is not None:
            try:
                records = self.main.ledger_records(run_id)
            except StoreUnavailable as error:
                if spool is None:
                    raise
                self._warn_once(error.message)
        return records + (spool.ledger_records(run_id) if spool is not None else [])

    def approval_for(self, run_id: str) -> Approval | None:
        return self._on_run(run_id, lambda store: store.approval_for(run_id))

    def acceptances(self, run_id: str) -> tuple[Acceptance, ...]:
        return self._on_run(run_id, lambda store: store.acceptances(run_id))

    # -- catalog -----------------------------------------------------------------------------------------------

    def mark_bad(self, target: str, kind: str, version: str, run_id: str, reason: str) -> None:
        self._on_run(run_id, lambda store: store.mark_bad(target, kind, version, run_id, reason))

    def bad_versions(self, target: str, kind: str | None = None) -> list[BadVersion]:
        found: dict[tuple[str, str], BadVersion] = {}
        for store in self._everywhere():
            for bad in store.bad_versions(target, kind):
                found.setdefault((bad.kind, bad.version), bad)
        return list(found.values())

    def open_breach(self, breach: Breach, title: str, body: str) -> Breach:
        return self._on_run(breach.run_id, lambda store: store.open_breach(breach, title, body))

    def breach(self, run_id: str, breach_id: str) -> Breach | None:
        return self._on_run(run_id, lambda store: store.breach(breach_id))

    def exposure_ended(self, run_id: str, breach_id: str, at: str) -> None:
        self._on_run(run_id, lambda store: store.exposure_ended(breach_id, at))

    def add_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.run_id is not None:
            self._on_run(snapshot.run_id, lambda store: store.add_snapshot(snapshot))
        else:
            self._main().add_snapshot(snapshot)

    def snapshots(self, target: str | None = None, level: str | None = None) -> list[Snapshot]:
        found: dict[str, Snapshot] = {}
        for store in self._everywhere():
            for snapshot in store.snapshots(target, level):
                found.setdefault(snapshot.snapshot_id, snapshot)
        return sorted(found.values(), key=lambda snapshot: (snapshot.created_at, snapshot.snapshot_id), reverse=True)

    def set_snapshot_state(self, snapshot_id: str, state: str, summary: str = "", run_id: str | None = None) -> None:
        if run_id is not None:
            self._on_run(run_id, lambda store: store.set_snapshot_state(snapshot_id, state, summary, run_id))
        else:
            self._main().set_snapshot_state(snapshot_id, state, summary)

    def backup_removed(self, snapshot_id: str, run_id: str) -> None:
        self._on_run(run_id, lambda store: store.backup_removed(snapshot_id, run_id))

    def close(self) -> None:
        if self.main is not None:
            self.main.close()

    # -- the way out -------------------------------------------------------------------------------------------

    def _on_run(self, run_id: str, work: Callable[[Store], Result]) -> Result:
        spool = self._spools.of(run_id)
        if spool is not None:
            return work(spool)
        try:
            return work(self._main())
        except StoreUnavailable as error:
            return work(self._go_over(run_id, error))

    def _warn_once(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _go_over(self, run_id: str, error: StoreUnavailable) -> SpoolStore:
        rows = self._rows(run_id)
        if rows is None:
            raise error
        self._may_go_on(rows["runs"][0]["severity"], error)
        self._warn(run_id, error)
        return spool_from(run_id, rows, error.message)

    def _rows(self, run_id: str) -> RunRows | None:
        if self.main is not None:
            try:
                with self.main.database.read() as connection:
                    rows = rows_of_run(connection, run_id, with_record=False)
                if rows is not None:
                    return rows
            except StoreUnavailable as error:
                self._warn_once(error.message)
        return read_seed(run_id)

    def _main(self) -> Store:
        if self.main is None:
            raise t.cast(StoreUnavailable, self.failure)
        return self.main

    def _everywhere(self) -> list[Store]:
        """The spools, which are ahead of the store, and then the store if it can be read."""
        stores: list[Store] = list(self._spools.all())
        if self.main is not None:
            try:
                with self.main.database.read():
                    stores.append(self.main)
            except StoreUnavailable as error:
                if not stores:
                    raise
                self._warn_once(error.message)
        elif not stores:
            raise t.cast(StoreUnavailable, self.failure)
        return stores

    def _refuse_held_in_spools(self, run_id: str, targets: Sequence[str]) -> None:
        """The store knows nothing of what runs in spools hold."""
        for spool in self._spools.all():
            run = spool.run(spool.run_id) if spool.run_id != run_id else None
            if run is not None and run.status == "open":
                for lease in spool.leases_of_run(run.run_id):
                    refuse_held(lease, targets, run.runbook, str(run.operator))

    def _may_go_on(self, severity: str, error: StoreUnavailable) -> None:
        if not error.disk_failure and severity not in _GOES_ON_WITHOUT_STORE:
            raise error

    def _warn(self, run_id: str, error: StoreUnavailable) -> None:
        self._warn_once(f"run {run_id} goes on in a spool: {error.message}")

    def _seed(self, run_id: str) -> None:
        try:
            write_seed(self._main(), run_id)
        except CodeblueError as error:
            # The run is safe in the store; only the second way out is missing.
            self._warn_once(f"no spool would be possible for run {run_id}: {error.message}")

    def _closed(self, run: Run) -> Run:
        if run.status == "closed" and self._spools.of(run.run_id) is None:
            remove_seed(run.run_id)
        return run


def open_store_or_spool(severity: str | None = None) -> ResilientStore:
    """The store with its way out.

    :param severity: of the run that is about to open; None for an action of a run that is open already.
    :raises StoreUnavailable: the store is lost, and the severity does not allow to go on without it.
    """
    try:
        return ResilientStore(open_store())
    except StoreUnavailable as error:
        if severity is not None and severity not in _GOES_ON_WITHOUT_STORE and not error.disk_failure:
            raise
        return ResilientStore(None, error)
