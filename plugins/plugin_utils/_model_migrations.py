# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The tool by which a database's schema is migrated, and what goes with the schema."""

from __future__ import annotations

import typing as t
from collections.abc import Collection
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

WAYS_BACK = ("clean", "data_loss", "none")
_LONGEST_SECONDS = 3600.0
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Migrations:
    """A migration tool on one machine.

    :param machine: the inventory name. The tool must not lie in a release: it is needed when that is rolled back.
    :param status_command: prints what is applied.
    :param down_command: takes one migration back; `{version}` and `{previous}` are filled in.
    :param up_command: applies one.
    :param os_user: the commands run as this user where the connection is root's.
    :param used_by: services that use the schema; all that depend on the database when it is empty.
    :param needs_file: in a release directory, names the newest migration that the release needs.
    :param way_back: of migrations of which the status does not say it.
    :param timeout: seconds for one migration, all in all.
    :param backup_timeout: seconds for the emergency copy.
    :param backup_most: bytes of data that the emergency copy may hold.
    """

    machine: str
    status_command: tuple[str, ...]
    down_command: tuple[str, ...] = ()
    up_command: tuple[str, ...] = ()
    os_user: str | None = None
    used_by: tuple[str, ...] = ()
    needs_file: str | None = None
    way_back: str = "data_loss"
    lock_timeout: float = 2.0
    statement_timeout: float = 10.0
    timeout: float = 30.0
    backup_timeout: float = 60.0
    backup_most: int = 1024 * _MEGABYTE

    def as_arguments(self) -> dict[str, t.Any]:
        """As the module `schema_migration` takes it."""
        return {
            "status_command": list(self.status_command),
            "way_back": self.way_back,
            "lock_timeout": self.lock_timeout,
            "statement_timeout": self.statement_timeout,
            "timeout": self.timeout,
            **({"down_command": list(self.down_command)} if self.down_command else {}),
            **({"up_command": list(self.up_command)} if self.up_command else {}),
            **({"os_user": self.os_user} if self.os_user else {}),
        }


def read_migrations(values: TypedMapping, inventory_names: Collection[str]) -> Migrations:
    """Read `codeblue_host.postgresql.migrations`; what is wrong goes to the problems of the mapping."""
    normal = Migrations("", ())
    found = Migrations(
        machine=values.text("machine"),
        status_command=values.texts("status_command", required=True),
        down_command=values.texts("down_command"),
        up_command=values.texts("up_command"),
        os_user=values.optional_text("os_user"),
        used_by=values.texts("used_by"),
        needs_file=values.optional_text("needs_file"),
        way_back=values.choice("way_back", WAYS_BACK, default=normal.way_back),
        lock_timeout=values.duration("lock_timeout", default=normal.lock_timeout, most=_LONGEST_SECONDS),
        statement_timeout=values.duration("statement_timeout", default=normal.statement_timeout, most=_LONGEST_SECONDS),
        timeout=values.duration("timeout", default=normal.timeout, most=_LONGEST_SECONDS),
        backup_timeout=values.duration("backup_timeout", default=normal.backup_timeout, most=_LONGEST_SECONDS),
        backup_most=_MEGABYTE * values.integer("backup_most_mb", default=normal.backup_most // _MEGABYTE, least=1),
    )
    for key, name in (("machine", found.machine), *(("used_by", each) for each in found.used_by)):
        if name and name not in inventory_names:
            values.problem(key, f"{name!r} is not in the inventory")
    for key, command in (
        ("status_command", found.status_command),
        ("down_command", found.down_command),
        ("up_command", found.up_command),
    ):
        if command and not command[0].startswith("/"):
            values.problem(key, f"must begin with an absolute path, not {command[0]!r}")
    # A way back may take the newest one without being told which; the module asks for no other.
    if found.up_command and not any("{version}" in part for part in found.up_command):
        values.problem("up_command", "names no migration: put {version} into one of its arguments")
    if found.needs_file is not None and found.needs_file.startswith(("/", "..")):
        values.problem("needs_file", "must be a path inside of a release")
    values.finish()
    return found
