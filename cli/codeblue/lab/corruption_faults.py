"""Faults of the data themselves: the database works, and what it holds is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import (
    BackupRequest,
    base_backup,
    plan_backup,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import FULL

from codeblue.lab.faults import Fault, Injection
from codeblue.lab.layout import postgres_unit
from codeblue.lab.parts import Parts
from codeblue.lab.postgresql import DATABASE

if TYPE_CHECKING:
    import psycopg

_ENTER = "insert into records (patient_ref, note, triage, created_by) values (%s, %s, 'routine', 'dr.example')"
# Entered in the ordinary way before and after the damage: a recovery must neither lose the first nor forget the others.
_ENTERED_BEFORE = 3
_ENTERED_AFTER = 2
_BACKUP_SECONDS = 60.0
# Among the rows of the first page, of 8 KB.
_DAMAGED_AT = 7000
_DAMAGED_BYTES = 64


class _Corruption(Fault):
    """Damage by one transaction, somewhere among others."""

    # Reading goes on while writes are stopped; what is away is the right content, and writing meanwhile.
    rto_target: ClassVar[float | None] = 45.0
    watches: ClassVar[tuple[str, ...]] = ("record_integrity",)
    needs_snapshot: ClassVar[tuple[str, ...]] = ("patient_db",)

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        _ensure_base_backup(parts, primary)
        with parts.postgresql.connect(primary, DATABASE) as connection:
            for number in range(_ENTERED_BEFORE):
                connection.execute(_ENTER, ("synthetic-0001", f"entered before, {number}"))
            injection = self.strike(primary=primary, entered_after=0)
            self.damage(connection)
            injection.facts["entered_after"] = self.enter_more(connection)
        return injection

    def damage(self, connection: psycopg.Connection) -> None:
        """Do it."""
        raise NotImplementedError

    def enter_more(self, connection: psycopg.Connection) -> int:
        """People go on working until somebody notices; returns how many records they enter."""
        for number in range(_ENTERED_AFTER):
            connection.execute(_ENTER, ("synthetic-0002", f"entered after, {number}"))
        return _ENTERED_AFTER


class RecordsOverwritten(_Corruption):
    name: ClassVar[str] = "records_overwritten"
    summary: ClassVar[str] = "an UPDATE without WHERE gives every record the same note; two more are entered afterwards"
    hits: ClassVar[tuple[str, ...]] = ("record_integrity",)

    def damage(self, connection: psycopg.Connection) -> None:
        connection.execute("update records set note = 'No known allergies', triage = 'routine'")


class RecordsDropped(_Corruption):
    name: ClassVar[str] = "records_dropped"
    summary: ClassVar[str] = "the table of patients' records is dropped"
    hits: ClassVar[tuple[str, ...]] = ("records", "record_integrity")

    def damage(self, connection: psycopg.Connection) -> None:
        connection.execute("drop table records")

    def enter_more(self, connection: psycopg.Connection) -> int:
        return 0


class RecordsDamagedSilently(_Corruption):
    name: ClassVar[str] = "records_damaged_silently"
    summary: ClassVar[str] = "five urgent records become routine past all triggers; only the rows' digests show it"
    hits: ClassVar[tuple[str, ...]] = ("record_integrity",)

    def damage(self, connection: psycopg.Connection) -> None:
        connection.execute("set session_replication_role = replica")
        connection.execute("update records set triage = 'routine' where id in (4, 44, 84, 124, 164)")
        connection.execute("set session_replication_role = origin")


class RecordsPagesDamaged(_Corruption):
    name: ClassVar[str] = "records_pages_damaged"
    summary: ClassVar[str] = (
        "the first page of the records is damaged on the primary's disk, which the log knows nothing of"
    )
    hits: ClassVar[tuple[str, ...]] = ("records", "record_integrity")

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        _ensure_base_backup(parts, primary)
        with parts.postgresql.connect(primary, DATABASE) as connection:
            row = connection.execute("select pg_relation_filepath('records')").fetchone()
        if row is None:
            raise CodeblueError("there is no table of records", "bring it back with: codeblue lab heal")
        # A page in the server's memory would be written over the damage: the server is down for a moment.
        parts.supervisor.stop(postgres_unit(primary))
        injection = self.strike(primary=primary, entered_after=0)
        with open(parts.layout.data_dir(primary) / row[0], "r+b") as stream:
            stream.seek(_DAMAGED_AT)
            stream.write(b"\xff" * _DAMAGED_BYTES)
        parts.supervisor.start(postgres_unit(primary))
        parts.postgresql.wait_for_role(primary, "primary")
        return injection


CORRUPTION_FAULTS: tuple[type[Fault], ...] = (
    RecordsOverwritten,
    RecordsDropped,
    RecordsDamagedSilently,
    RecordsPagesDamaged,
)


def _ensure_base_backup(parts: Parts, primary: str) -> None:
    """A lab that has no backup yet gets one, as production has from its schedule; about a second."""
    postgresql = parts.postgresql
    destination = parts.layout.snapshot_dir(primary) / "patient_db"
    if any(destination.glob("*/backup.json")):
        return
    login = Login(
        bin_dir=str(postgresql.bin_dir),
        os_user=postgresql.state.os_user if postgresql.owner is not None else None,
        host=str(parts.layout.postgresql_sockets),
        port=postgresql.port(primary),
        user="postgres",
        database=DATABASE,
        passfile=str(parts.layout.admin_passfile),
    )
    request = BackupRequest(login, str(destination), "lab-before-the-damage", FULL, replication_user="replicator")
    deadline = Deadline(_BACKUP_SECONDS)
    base_backup(request, plan_backup(request, deadline), deadline)
