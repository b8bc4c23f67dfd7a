# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a diagnosis of a PostgreSQL service is made from: looks at its members, its gateway and its logins."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult


@dataclass(frozen=True)
class SessionGroup:
    """Client sessions of one user, application and state, counted."""

    user: str
    application_name: str
    state: str
    count: int
    service_role: bool


@dataclass(frozen=True)
class MemberLook:
    """One member as the module `postgresql_status` saw it. None means that it could not be seen.

    :param unreachable: why the machine itself did not answer; then nothing else is known.
    :param answers: SQL answers.
    :param sql_kind: why it does not: refused, timeout, stopped, authentication, too_many_connections, starting_up …
    :param alive: the postmaster's process exists.
    :param received: end of the log that a standby has on its disk, bytes.
    :param last_commit_at: Unix seconds, on the primary's clock, of the last commit that a standby has replayed.
    :param receiver_status: `streaming` while a standby takes its log from a primary.
    :param receiver_heard_ago: seconds since it last heard from that primary.
    :param read_only: some or all databases take no writes by default.
    :param disk_usable: the control file can be read, so that the server can be started again.
    :param log_end: end of the log on the disk of a server that does not answer, bytes.
    :param commits_after: committed transactions on that disk after the position that was asked about.
    :param free_for_services: sessions that roles without privileges could still open.
    """

    machine: str
    unreachable: str | None = None
    answers: bool = False
    sql_kind: str | None = None
    in_recovery: bool | None = None
    role: str = "unknown"
    alive: bool | None = None
    system_identifier: str | None = None
    timeline: int | None = None
    received: int | None = None
    last_commit_at: float | None = None
    receiver_status: str | None = None
    receiver_heard_ago: float | None = None
    read_only: bool = False
    disk_usable: bool | None = None
    log_end: int | None = None
    commits_after: int | None = None
    sessions: tuple[SessionGroup, ...] = ()
    free_for_services: int | None = None
    maximum_connections: int | None = None
    managed_by: str | None = None

    @property
    def is_primary(self) -> bool:
        """It says so itself, now."""
        return self.answers and self.in_recovery is False

    @property
    def is_standby(self) -> bool:
        """It says so itself, now."""
        return self.answers and self.in_recovery is True

    @property
    def hung(self) -> bool:
        """The process is there, and nothing answers. It can wake up and take writes at any time."""
        return self.alive is True and not self.answers and self.sql_kind in ("timeout", "stopped")


@dataclass(frozen=True)
class GatewayLook:
    """The gateway in front of the database.

    :param answers: its runtime socket answers; None when nobody looked.
    :param servers: member to `up`, `down`, `maint` or `drain`, as the gateway has it.
    """

    answers: bool | None
    servers: Mapping[str, str]


@dataclass(frozen=True)
class LoginLook:
    """Whether a consumer's own credential is taken, tried from its machine.

    :param accepted: None when it could not be tried.
    """

    role: str
    machine: str
    accepted: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that was seen of one database service.

    :param results: the last results of its checks, and of the checks of services that depend on it.
    :param first_failed_at: Unix seconds of the first failure in a row that is still going on.
    :param now: Unix seconds of the diagnosis.
    """

    results: Sequence[CheckResult]
    members: Mapping[str, MemberLook]
    gateway: GatewayLook | None
    logins: Sequence[LoginLook]
    first_failed_at: float | None
    now: float


def member_look(machine: str, status: Mapping[str, t.Any] | None, unreachable: str | None = None) -> MemberLook:
    """Out of the result of `postgresql_status`, or of the reason why there is none."""
    if status is None:
        return MemberLook(machine, unreachable=unreachable or "no answer")
    sql = _mapping(status, "sql")
    log = _mapping(status, "wal")
    disk = _mapping(status, "wal_on_disk")
    connections = _mapping(status, "connections")
    control = status.get("control")
    return MemberLook(
        machine=machine,
        answers=bool(sql.get("answers")),
        sql_kind=sql.get("kind"),
        in_recovery=status.get("in_recovery"),
        role=status.get("role") or "unknown",
        alive=_mapping(status, "postmaster").get("alive"),
        system_identifier=status.get("system_identifier"),
        timeline=status.get("timeline"),
        received=_position(log.get("received_lsn")),
        last_commit_at=_number(log.get("last_replayed_commit_at")),
        receiver_status=log.get("receiver_status"),
        receiver_heard_ago=_number(log.get("receiver_heard_ago_seconds")),
        read_only=bool(status.get("default_read_only") or status.get("read_only_databases")),
        # A server that answers SQL has a usable disk; its control file is not looked at.
        disk_usable=True if sql.get("answers") else None if control is None else bool(control.get("readable")),
        log_end=_position(disk.get("lsn")),
        commits_after=disk.get("commits_after"),
        sessions=tuple(_session(group) for group in status.get("sessions") or ()),
        free_for_services=connections.get("free_for_services"),
        maximum_connections=connections.get("maximum"),
        managed_by=status.get("managed_by"),
    )


def _mapping(status: Mapping[str, t.Any], key: str) -> Mapping[str, t.Any]:
    value = status.get(key)
    return value if isinstance(value, Mapping) else {}


def _position(text: str | None) -> int | None:
    return parse_lsn(text) if text else None


def _number(value: t.Any) -> float | None:
    # psql's JSON gives numeric as a number, some versions as text.
    return None if value is None else float(value)


def _session(group: Mapping[str, t.Any]) -> SessionGroup:
    return SessionGroup(
        user=group.get("user") or "",
        application_name=group.get("application_name") or "",
        state=group.get("state") or "unknown",
        count=int(group.get("count") or 0),
        service_role=bool(group.get("service_role")),
    )
