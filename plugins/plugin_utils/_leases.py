# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The right to change a target: one holder at a time, told from the next by a generation.

A generation is at least the time in milliseconds at which it was taken. A store that was lost and made anew, or
a spool that cannot see the store, therefore still gives higher ones than before, and the guards on the machines
(which refuse a lower generation than they saw) keep letting the rightful holder in.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    Lease,
    LeaseHeld,
    LeaseLost,
    format_time,
    parse_time,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import leases, runs
from sqlalchemy.engine import Connection

# Serialises acquisitions in PostgreSQL: a lease that does not exist yet has no row to lock.
_ADVISORY_LOCK = 0x0C0D1EA5


def holder_of(row: sa.Row[t.Any]) -> ProcessIdentity:
    """The process in the holder columns of a row."""
    return ProcessIdentity(row.holder_host, row.holder_boot_id, row.holder_pid, row.holder_started)


def holder_values(identity: ProcessIdentity) -> dict[str, t.Any]:
    """The holder columns for a process."""
    return {
        "holder_host": identity.host,
        "holder_boot_id": identity.boot_id,
        "holder_pid": identity.pid,
        "holder_started": identity.started,
    }


def holder_fields(identity: ProcessIdentity) -> dict[str, t.Any]:
    """A process as the ledger records it."""
    return {"host": identity.host, "pid": identity.pid, "started": identity.started}


def check_in_transaction(connection: Connection, now: str, target: str, run_id: str, generation: int) -> None:
    """Prove that the lease is still this one, and prolong it.

    :raises LeaseLost: somebody else holds the target, or nobody does.
    """
    row = connection.execute(sa.select(leases).where(leases.c.target == target).with_for_update()).one_or_none()
    if row is None or row.run_id is None:
        raise LeaseLost(f"{target}: run {run_id} holds no lease of it any more", f"codeblue resume {run_id}")
    if row.run_id != run_id or row.generation != generation:
        raise LeaseLost(
            f"{target}: the lease went from generation {generation} of run {run_id} to generation {row.generation} "
            f"of run {row.run_id}",
            f"codeblue audit show {row.run_id}",
        )
    connection.execute(
        leases.update()
        .where(leases.c.target == target)
        .values(heartbeat_at=now, expires_at=_later(now, row.ttl_seconds))
    )


def release_in_transaction(connection: Connection, now: str, target: str, run_id: str) -> int | None:
    """Give the target back if this run holds it; the generation that ended, else None."""
    row = connection.execute(sa.select(leases).where(leases.c.target == target).with_for_update()).one_or_none()
    if row is None or row.run_id != run_id:
        return None
    connection.execute(leases.update().where(leases.c.target == target).values(run_id=None, expires_at=now))
    return int(row.generation)


def lock_run(connection: Connection, run_id: str) -> None:
    """Whoever changes a run takes its row first and those of its leases after it, so that no two wait in a ring."""
    connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == run_id).with_for_update())


class LeaseStore:
    """The part of the store that keeps leases."""

    database: Database
    ledger: Ledger

    def acquire_leases(
        self, run_id: str, targets: Sequence[str], holder: ProcessIdentity, ttl_seconds: int = 60
    ) -> dict[str, Lease]:
        """Take all targets or none.

        The holder that has them already keeps its generation. The same run may take over from a holder that is
        provably dead, or that cannot be seen and let its lease expire. Another run may only do so when the
        holding run is closed, or when the lease expired and its holder is not known to be alive.

        :param ttl_seconds: how long a lease lives without a heartbeat.
        :raises LeaseHeld: names the run that holds one of the targets, and how to go on.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            if self.database.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            lock_run(connection, run_id)
            now = self.database.now(connection)
            return {
                target: self._take(connection, now, run_id, target, holder, ttl_seconds)
                for target in sorted(set(targets))
            }

    def renew_lease(self, target: str, run_id: str, generation: int) -> None:
        """A heartbeat.

        :raises LeaseLost: it is no longer this one.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            check_in_transaction(connection, self.database.now(connection), target, run_id, generation)

    def check_lease(self, target: str, run_id: str, generation: int) -> None:
        """Prove that the lease is still this one, which counts as a heartbeat.

        :raises LeaseLost: it is not.
        """
        self.renew_lease(target, run_id, generation)

    def release_lease(self, target: str, run_id: str, generation: int) -> None:
        """Give a target back. Nothing happens when a later generation holds it."""
        with self.database.write() as transaction:
            connection = transaction.connection
            lock_run(connection, run_id)
            row = connection.execute(sa.select(leases).where(leases.c.target == target).with_for_update()).one_or_none()
            if row is None or row.run_id != run_id or row.generation != generation:
                return
            release_in_transaction(connection, self.database.now(connection), target, run_id)
            self.ledger.append(connection, run_id, "lease_released", {"target": target, "generation": generation})

    def lease_of(self, target: str) -> Lease | None:
        """The lease of a target, also when it has expired; None when nobody holds it."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(leases).where(leases.c.target == target)).one_or_none()
        return _lease(row) if row is not None and row.run_id is not None else None

    def leases_of_run(self, run_id: str) -> list[Lease]:
        """What a run holds."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(leases).where(leases.c.run_id == run_id).order_by(leases.c.target)
            ).all()
        return [_lease(row) for row in rows]

    def leases_held_by(self, identity: ProcessIdentity) -> list[Lease]:
        """What one process holds for runs that are open."""
        query = (
            sa.select(leases)
            .join(runs, runs.c.run_id == leases.c.run_id)
            .where(
                leases.c.holder_pid == identity.pid,
                leases.c.holder_started == identity.started,
                leases.c.holder_host == identity.host,
                leases.c.holder_boot_id == identity.boot_id,
                runs.c.status == "open",
            )
            .order_by(leases.c.target)
        )
        with self.database.read() as connection:
            return [_lease(row) for row in connection.execute(query)]

    def _take(
        self, connection: Connection, now: str, run_id: str, target: str, holder: ProcessIdentity, ttl_seconds: int
    ) -> Lease:
        row = connection.execute(sa.select(leases).where(leases.c.target == target).with_for_update()).one_or_none()
        values = {
            "run_id": run_id,
            **holder_values(holder),
            "heartbeat_at": now,
            "expires_at": _later(now, ttl_seconds),
            "ttl_seconds": ttl_seconds,
        }
        taken_from = None
        if row is not None and row.run_id is not None:
            if row.run_id == run_id and holder_of(row) == holder:
                connection.execute(leases.update().where(leases.c.target == target).values(**values))
                return Lease(target, run_id, row.generation, holder, row.acquired_at, now, values["expires_at"])
            self._refuse_if_held(connection, now, run_id, row)
            taken_from = {"run_id": row.run_id, "generation": row.generation, **holder_fields(holder_of(row))}
        generation = max(row.generation + 1 if row is not None else 1, int(parse_time(now).timestamp() * 1000))
        values |= {"generation": generation, "acquired_at": now}
        if row is None:
            connection.execute(leases.insert().values(target=target, **values))
        else:
            connection.execute(leases.update().where(leases.c.target == target).values(**values))
        self.ledger.append(
            connection,
            run_id,
            "lease_acquired",
            {
                "target": target,
                "generation": generation,
                "holder": holder_fields(holder),
                **({"taken_from": taken_from} if taken_from else {}),
            },
        )
        return Lease(target, run_id, generation, holder, now, now, values["expires_at"])

    def _refuse_if_held(self, connection: Connection, now: str, run_id: str, row: sa.Row[t.Any]) -> None:
        holding = connection.execute(
            sa.select(runs.c.status, runs.c.runbook, runs.c.operator).where(runs.c.run_id == row.run_id)
        ).one_or_none()
        if holding is None or holding.status == "closed":
            return
        alive = holder_of(row).is_alive()
        expired = row.expires_at <= now
        if alive is False and (row.run_id == run_id or expired):
            return
        if alive is None and expired:
            return
        raise LeaseHeld(_lease(row), holding.runbook, holding.operator, alive)


def _later(now: str, seconds: float) -> str:
    return format_time(parse_time(now) + timedelta(seconds=seconds))


def _lease(row: sa.Row[t.Any]) -> Lease:
    return Lease(
        row.target,
        row.run_id,
        row.generation,
        holder_of(row),
        row.acquired_at,
        row.heartbeat_at,
        row.expires_at,
    )
