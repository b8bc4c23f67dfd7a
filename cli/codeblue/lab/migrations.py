"""The clinic's schema migrations: SQL files and a small tool on one application machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.database import CLINIC_TABLES
from codeblue.lab.files import make_directory, write_text
from codeblue.lab.gateway import DATABASE_BACKEND, front_port_name
from codeblue.lab.layout import APPLICATION_MACHINES, Layout
from codeblue.lab.patient_records import RECORDS_TABLE
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.state import LabState

if TYPE_CHECKING:
    import psycopg

MACHINE = APPLICATION_MACHINES[0]
# What a release of the clinic needs to work is in this file of it.
NEEDS_FILE = "SCHEMA"
BASE_SCHEMA, SERVICE_RIGHTS, NEW_COLUMNS = "0001", "0002", "0003"
_SECONDS = 15.0


@dataclass(frozen=True)
class Migration:
    """One migration.

    :param down: None when there is no way back.
    :param way_back: what the way back costs: `clean` or `data_loss`.
    :param tables: whose rows are touched.
    """

    version: str
    name: str
    description: str
    up: str
    down: str | None = None
    way_back: str = "clean"
    tables: tuple[str, ...] = ()

    def files(self) -> dict[str, str]:
        """Name to content."""
        header = (
            f"-- description: {self.description}\n-- way_back: {self.way_back}\n-- tables: {', '.join(self.tables)}\n"
        )
        stem = f"{self.version}_{self.name}"
        found = {f"{stem}.up.sql": header + self.up}
        return {**found, f"{stem}.down.sql": self.down} if self.down is not None else found


_DIGEST_TRIGGER = """\
create or replace function keep_record_digest() returns trigger
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        delete from record_digests where id = old.id;
        return old;
    end if;
    insert into record_digests values (new.id, record_digest(new.patient_ref, new.{note}, new.triage, new.created_by))
        on conflict (id) do update set digest = excluded.digest;
    return new;
end $$;
"""
MIGRATIONS = (
    Migration(BASE_SCHEMA, "clinic", "Tables of the clinic", CLINIC_TABLES + RECORDS_TABLE),
    # Bad: the services' own rights are taken before anybody made them members of the new role.
    Migration(
        SERVICE_RIGHTS,
        "service_rights",
        "Services have their rights by a role",
        """\
create role clinic_services nologin;
grant select on accounts to clinic_services;
grant select, insert on records to clinic_services;
revoke select on accounts from auth_app;
revoke select, insert on records from records_app;
""",
        """\
grant select on accounts to auth_app;
grant select, insert on records to records_app;
drop owned by clinic_services;
drop role clinic_services;
""",
    ),
    # Delivered together with release 1.2.0, which works with it, and nothing before does.
    Migration(
        NEW_COLUMNS,
        "new_columns",
        "Columns note_text and password_digest",
        "alter table records rename column note to note_text;\n"
        "alter table accounts rename column password_hash to password_digest;\n"
        + _DIGEST_TRIGGER.format(note="note_text"),
        "alter table records rename column note_text to note;\n"
        "alter table accounts rename column password_digest to password_hash;\n" + _DIGEST_TRIGGER.format(note="note"),
        tables=("accounts", "records"),
    ),
)


class SchemaMigrations:
    """The migration tool of one lab."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state

    def install(self) -> None:
        """Put tool, migrations and configuration on the machine, outside of all releases."""
        make_directory(self._directory)
        shutil.copyfile(Path(__file__).parent / "clinic" / "migrate.py", self._directory / "migrate.py")
        for migration in MIGRATIONS:
            for name, content in migration.files().items():
                write_text(self._directory / name, content)
        config = {
            "host": "127.0.0.1",
            "port": self.state.ports[front_port_name(DATABASE_BACKEND)],
            "dbname": DATABASE,
            "user": "postgres",
            "passfile": str(self.layout.admin_passfile),
        }
        write_text(self._directory / "config.json", json.dumps(config, indent=1) + "\n", 0o600)

    def command(self, *arguments: str) -> list[str]:
        """As the inventory names it."""
        if self.state.binaries is None:
            raise CodeblueError(f"{self.layout.state_file} names no programs", "clean up with: codeblue lab down")
        directory = self._directory
        return [self.state.binaries.python, str(directory / "migrate.py"), str(directory / "config.json"), *arguments]

    def up(self, version: str) -> None:
        """Apply a migration."""
        self._run("up", version)

    def restore_base(self, connection: psycopg.Connection) -> bool:
        """Take back whatever was applied after the tables were made; False when nothing was.

        :param connection: to the clinic's database on the primary.
        """
        rows = connection.execute(
            "select version from schema_migrations where version <> %s order by applied_at desc", (BASE_SCHEMA,)
        ).fetchall()
        for (version,) in rows:
            self._run("down", str(version))
        return bool(rows)

    @property
    def _directory(self) -> Path:
        return self.layout.machine(MACHINE) / "migrations"

    def _run(self, *arguments: str) -> None:
        try:
            subprocess.run(
                self.command(*arguments),
                env={"PATH": os.environ.get("PATH", os.defpath)},
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines()
            what = f"migrate {' '.join(arguments)}: {said[-1] if said else error.returncode}"
            raise CodeblueError(what, "look at the database: codeblue lab status") from error
        except subprocess.TimeoutExpired as error:
            raise CodeblueError(f"migrate {' '.join(arguments)} did not end within {_SECONDS:g} s") from error
