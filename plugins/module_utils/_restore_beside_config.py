# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration of a cluster that is restored beside the real one.

It is written anew rather than taken over, because nothing of the production's may take effect in a copy: not
its archive, not its upstream, not its addresses, not its preloaded libraries (a scheduler would run its jobs
twice), not its subscriptions (their workers would move the publisher's slots).
"""

from __future__ import annotations

import datetime
import re
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import format_lsn, parse_lsn

TARGET_KINDS = ("latest", "immediate", "time", "lsn", "xid", "name")
TARGET_ACTIONS = ("pause", "promote")

# Names that pg_controldata prints, the settings they are about, and a floor for each. A standby that accepts
# queries needs at least the primary's values, and those may have been raised after the backup.
_CONTROLLED = (
    ("max_connections setting", "max_connections", 200),
    ("max_worker_processes setting", "max_worker_processes", 32),
    ("max_wal_senders setting", "max_wal_senders", 32),
    ("max_prepared_xacts setting", "max_prepared_transactions", 0),
    ("max_locks_per_xact setting", "max_locks_per_transaction", 256),
)

# What a caller may not set: these keep the copy apart from the production.
_PROTECTED = re.compile(
    r"\A(archive_.*|restore_command|recovery_.*|primary_.*|listen_addresses|port|unix_socket_.*|hba_file|ident_file"
    r"|config_file|data_directory|include.*|hot_standby|max_logical_replication_workers|sync_replication_slots"
    r"|synchronous_standby_names|log_directory|logging_collector|external_pid_file)\Z"
)
_SETTING_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.]*\Z")

# Reached only through a directory that nobody but the cluster's own user and root can enter.
HBA = "local all all trust\n"


@dataclass(frozen=True)
class RecoveryTarget:
    """Where replay ends.

    :param kind: `latest` (all that is archived), `immediate` (as soon as consistent), `time`, `lsn`, `xid`, `name`.
    :param value: RFC 3339 with an offset for `time`; a position, a transaction or the name of a restore point.
    :param inclusive: replay what lies exactly at the target too (`time`, `lsn`, `xid`).
    :param timeline: `latest`, `current` (that of the backup) or a number.
    :param action: at the target `pause` (stays readable, cannot be written) or `promote`.
    """

    kind: str = "latest"
    value: t.Optional[str] = None
    inclusive: bool = True
    timeline: str = "latest"
    action: str = "pause"

    def __post_init__(self) -> None:
        if self.kind not in TARGET_KINDS:
            raise BadInput("target: %r is none of %s" % (self.kind, ", ".join(TARGET_KINDS)))
        if self.action not in TARGET_ACTIONS:
            raise BadInput("target action: %r is none of %s" % (self.action, ", ".join(TARGET_ACTIONS)))
        if (self.value is None) != (self.kind in ("latest", "immediate")):
            raise BadInput("target %s: a value is %s" % (self.kind, "missing" if self.value is None else "not allowed"))
        if self.timeline not in ("latest", "current") and not re.match(r"\A[1-9][0-9]{0,9}\Z", self.timeline):
            raise BadInput("target timeline: %r is neither latest, current nor a number" % self.timeline)
        self.settings()

    def as_dict(self) -> t.Dict[str, t.Any]:
        """As it was asked for."""
        return asdict(self)

    @property
    def utc(self) -> str:
        """A target time as records write times, so that it can be compared with them; empty for other kinds."""
        return self._time().strftime("%Y-%m-%dT%H:%M:%S.%fZ") if self.kind == "time" else ""

    def settings(self) -> t.Dict[str, str]:
        """As settings of PostgreSQL.

        :raises BadInput: the value is not of its kind.
        """
        settings = {"recovery_target_timeline": self.timeline}
        if self.kind == "latest":
            return settings
        settings["recovery_target_action"] = self.action
        if self.kind == "immediate":
            settings["recovery_target"] = "immediate"
            return settings
        value = str(self.value)
        if self.kind == "time":
            value = self._time().strftime("%Y-%m-%d %H:%M:%S.%f+00")
        elif self.kind == "lsn":
            value = format_lsn(parse_lsn(value, "target lsn"))
        elif self.kind == "xid" and not value.isdigit():
            raise BadInput("target xid: %r is not a number" % value)
        elif self.kind == "name" and not 0 < len(value.encode()) < 64:
            raise BadInput("target name: %r is no name of a restore point" % value)
        settings["recovery_target_" + self.kind] = value
        if self.kind != "name":
            settings["recovery_target_inclusive"] = "on" if self.inclusive else "off"
        return settings

    def _time(self) -> datetime.datetime:
        text = str(self.value)
        try:
            moment = datetime.datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", text))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise BadInput(
                "target time: %r is not a moment with its offset" % text, "write it like 2026-01-31T14:05:00+00:00"
            )
        return moment.astimezone(datetime.timezone.utc)


def render_configuration(
    target: RecoveryTarget,
    control: t.Mapping[str, str],
    restore_command: str,
    place: t.Mapping[str, str],
    extra: t.Mapping[str, str],
) -> str:
    """The whole postgresql.conf of the copy.

    :param control: what pg_controldata prints, by name.
    :param place: `port`, `unix_socket_directories`, `hba_file`, `ident_file`.
    :param extra: further settings, such as shared_buffers or shared_preload_libraries.
    :raises BadInput: a further setting would bind the copy to the production.
    """
    settings = {
        "cluster_name": "codeblue_beside",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "ssl": "off",
        "archive_mode": "off",
        "archive_command": "",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "synchronous_standby_names": "",
        "max_logical_replication_workers": "0",
        "hot_standby": "on",
        "restore_command": restore_command,
        "shared_buffers": "128MB",
        "max_wal_size": "4GB",
        "autovacuum": "off",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_min_messages": "warning",
        "logging_collector": "off",
        "log_destination": "stderr",
    }
    for label, setting, floor in _CONTROLLED:
        settings[setting] = str(max(floor, int(control.get(label, "0"))))
    if "track_commit_timestamp setting" in control:
        settings["track_commit_timestamp"] = control["track_commit_timestamp setting"]
    settings.update(place)
    settings.update(target.settings())
    for name, value in extra.items():
        if not _SETTING_NAME.match(name):
            raise BadInput("settings: %r is no name of a setting" % name)
        if _PROTECTED.match(name.lower()):
            raise BadInput("settings: %s is not open to choice in a copy" % name, "leave it out")
        settings[name] = str(value)
    return "".join("%s = %s\n" % (name, _quoted(name, value)) for name, value in settings.items())


def _quoted(name: str, value: str) -> str:
    if "\0" in value or "\n" in value:
        raise BadInput("setting %s: a line break is not possible" % name)
    return "'%s'" % value.replace("\\", "\\\\").replace("'", "''")
