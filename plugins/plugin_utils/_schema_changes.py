# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The schema of a database as a change of the services that use it: what is applied, and how the newest migration is
taken back. Pure but for the calls that it describes."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_migrations import Migrations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import Undo, WayBack

#: Under which kind a bad migration is marked in the state store.
KIND = "schema"
LOOK_SECONDS = 20.0
# Connection, start of Python and the looks at the status before and after, beside the tool itself.
_AROUND_SECONDS = 40.0
_BASE = "base"


@dataclass(frozen=True)
class Schema:
    """The schema of one database, as its tool tells.

    :param applied: the migrations, the newest first, as the module `schema_migration` returns them.
    """

    database: str
    applied: tuple[Mapping[str, t.Any], ...]

    def is_applied(self, version: str) -> bool:
        """Among those that were returned."""
        return any(each["version"] == version for each in self.applied)

    def needs_newest(self, need: str | None) -> bool:
        """Whether a release that needs this migration needs the newest one that is applied."""
        return bool(self.applied) and need == self.applied[0]["version"]


def migrations_of(service: Service) -> Migrations | None:
    """The migration tool of a database; None for everything else."""
    database = service.host.postgresql if service.host is not None else None
    return database.migrations if database is not None else None


def status_call(tool: Migrations) -> MachineCall:
    """Asks the tool what is applied."""
    return MachineCall(
        tool.machine,
        "codeblue.recovery.schema_migration",
        {**tool.as_arguments(), "mode": "status"},
        LOOK_SECONDS,
        check_mode=True,
    )


def schema_of(database: Service, seen: Mapping[str, t.Any]) -> Schema:
    """Out of the result of `status_call`."""
    return Schema(database.name, tuple(seen.get("applied") or ()))


def newest_migration(database: Service, schema: Schema, users: Sequence[str]) -> Undo | None:
    """Taking the newest migration back; None when there is none, or when nobody knows when it came."""
    tool = migrations_of(database)
    if tool is None or not schema.applied or not schema.applied[0].get("applied_at"):
        return None
    newest = schema.applied[0]
    before = schema.applied[1]["version"] if len(schema.applied) > 1 else _BASE
    details = {"way_back": newest["way_back"], "tables": newest.get("tables")}
    way = WayBack(tool.machine, newest["version"], before, str(newest["applied_at"]), details)
    return Undo(database.name, KIND, way.changed_at, (way,), tuple(users))


def copy_change(
    service: str, database: HostDatabase, primary: Member, directory: str, run_id: str, undo: Undo
) -> Change:
    """The emergency copy before a migration is taken back, on the machine of the primary."""
    way = undo.ways[0]
    tool = t.cast("Migrations", database.migrations)
    tables = way.details["tables"]
    return Change(
        action=f"copy_before_{way.bad}",
        machine=primary.machine,
        module="postgresql_safety_dump",
        arguments={
            **login_arguments(database, primary),
            "destination": f"{directory}/{service}.dumps",
            "name": f"{run_id}-before-{way.bad}",
            "most_bytes": tool.backup_most,
            "timeout": tool.backup_timeout,
            **({"tables": list(tables)} if tables is not None else {}),
        },
        decision={"migration": way.bad, "reason": "an emergency copy before the schema is changed back"},
        seconds=tool.backup_timeout + _AROUND_SECONDS,
        target=service,
    )


def down_change(service: str, tool: Migrations, undo: Undo, accepted: Sequence[str]) -> Change:
    """Takes the migration back."""
    way = undo.ways[0]
    return Change(
        action=f"schema_down_{way.bad}",
        machine=tool.machine,
        module="schema_migration",
        arguments={**tool.as_arguments(), "mode": "down", "version": way.bad, "accept": list(accepted)},
        decision={"from": way.bad, "to": way.good, "way_back": way.details["way_back"], "reason": undo.why},
        seconds=tool.timeout + _AROUND_SECONDS,
        target=service,
    )
