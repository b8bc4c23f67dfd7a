# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the state store takes and gives: plain, frozen values, without a connection behind them."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity

# Outcome -> exit code, from the best to the worst: a run is as good as its worst target. An interrupted target
# stands above a failed one, because nobody has looked at how it was left.
EXIT_CODES: dict[str, int] = {
    "nothing_to_do": 0,
    "completed": 0,
    "recovered": 0,
    "degraded": 4,
    "bad_input": 2,
    "refused": 3,
    "failed_safe": 1,
    "interrupted": 130,
    "failed_unsafe": 5,
}
_RANK = {outcome: rank for rank, outcome in enumerate(EXIT_CODES)}


def worst_outcome(outcomes: t.Iterable[str]) -> str:
    """The worst of at least one outcome."""
    return max(outcomes, key=lambda outcome: _RANK[outcome])


def utc_now() -> str:
    """Now, as all records write times: UTC, RFC 3339, microseconds. Such texts sort by time."""
    return format_time(datetime.now(UTC))


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


class StoreUnavailable(CodeblueError):
    """The state store cannot be read or written.

    :ivar disk_failure: the disk is full or broken; what else is on this host may well go on.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str | None = None, *, disk_failure: bool = False) -> None:
        super().__init__(message, hint)
        self.disk_failure = disk_failure


class StateWouldBeLost(Refused):
    """The state of a run that changes something would be gone with this container."""


class LeaseHeld(Refused):
    """Another run holds the target."""

    def __init__(self, lease: Lease, runbook: str, operator: str, holder_alive: bool | None) -> None:
        state = {True: "is still running", False: "has ended", None: "cannot be seen from this host"}[holder_alive]
        holder = lease.holder
        super().__init__(
            f"{lease.target}: held by run {lease.run_id} ({runbook}) of {operator} since {lease.acquired_at}; "
            f"its process {holder.pid} on {holder.host} {state}",
            "wait for it to end"
            if holder_alive
            else f"codeblue resume {lease.run_id}, or wait until its lease ends at {lease.expires_at}",
        )
        self.lease = lease
        self.runbook = runbook
        self.operator = operator
        self.holder_alive = holder_alive


class LeaseLost(Refused):
    """The target is no longer held by this run, or by a later holder of it."""


@dataclass(frozen=True)
class RunOpening:
    """All that a run starts from.

    :param run_id: a ULID.
    :param accepts: what was accepted explicitly, such as `data_loss`.
    :param fingerprint: name -> digest of what must be the same on a resume: card, inventory, variables, version.
    :param origin: `cli`, `ansible-playbook`, `awx` or `drill`.
    :param objectives: target -> {rto_seconds, rpo_seconds}.
    :param holder: the process that will hold the leases: ansible-playbook itself, not a worker of it.
    :param plan: what will be done, for the change ticket.
    :param rollback: how it is undone, for the change ticket.
    :param pre_approved: the card of an operation says that it is a standard change, approved beforehand.
    """

    run_id: str
    runbook: str
    severity: str
    environment: str
    targets: tuple[str, ...]
    operator: Operator
    because: str | None
    accepts: tuple[str, ...]
    fingerprint: Mapping[str, str]
    origin: str
    collection_version: str
    objectives: Mapping[str, t.Any]
    holder: ProcessIdentity
    plan: str = ""
    rollback: str = ""
    pre_approved: bool = False


@dataclass(frozen=True)
class TargetState:
    """How far one target of a run is: `open` or `closed`, then with an outcome."""

    target: str
    status: str
    outcome: str | None = None
    detail: Mapping[str, t.Any] = field(default_factory=dict)
    closed_at: str | None = None


@dataclass(frozen=True)
class Run:
    """One execution of a runbook on its targets; `status` is `open` or `closed`."""

    run_id: str
    runbook: str
    severity: str
    environment: str
    status: str
    outcome: str | None
    exit_code: int | None
    opened_at: str
    closed_at: str | None
    targets: Mapping[str, TargetState]
    operator: Operator
    because: str | None
    accepts: tuple[str, ...]
    fingerprint: Mapping[str, str]
    origin: str
    collection_version: str
    objectives: Mapping[str, t.Any]
    incident_id: str
    change_id: str
    segment: int = 0

    @property
    def open_targets(self) -> tuple[str, ...]:
        return tuple(name for name, state in self.targets.items() if state.status == "open")


@dataclass(frozen=True)
class Lease:
    """The right to change one target; the generation tells one holder from the next."""

    target: str
    run_id: str
    generation: int
    holder: ProcessIdentity
    acquired_at: str
    heartbeat_at: str
    expires_at: str


@dataclass(frozen=True)
class Step:
    """One journalled change.

    :param state: `new` (do it), `done` (`result` is what it returned) or `in_doubt` (an earlier attempt has no
        result or failed: look at the target first; `decision` is what that attempt had decided).
    :param attempts: how often it was begun, this time included.
    :param outcome: `ok` or `failed` of the last attempt that ended.
    """

    id: int
    key: str
    run_id: str
    target: str
    stage: str
    action: str
    state: str
    decision: Mapping[str, t.Any]
    result: Mapping[str, t.Any] | None
    attempts: int
    worker: ProcessIdentity
    generation: int
    started_at: str
    finished_at: str | None = None
    outcome: str | None = None
    changed: bool = False


@dataclass(frozen=True)
class BadVersion:
    """A version that was rolled away from; it stays bad until a person clears it."""

    target: str
    kind: str
    version: str
    run_id: str | None
    reason: str
    marked_at: str


@dataclass(frozen=True)
class Snapshot:
    """One snapshot in the catalog.

    :param level: `database`, `code`, `configuration` or `data`; several of one moment are joined by `+`.
    :param state: `taken`, `verified`, `proven`, `corrupt` or `deleted`.
    :param location: where it is, without credentials.
    :param manifest_sha256: digest of its manifest.
    :param size_bytes: what it takes up.
    """

    snapshot_id: str
    target: str
    level: str
    kind: str
    created_at: str
    location: str
    manifest_sha256: str
    size_bytes: int = 0
    state: str = "taken"
    run_id: str | None = None
    parent_id: str | None = None
    meta: Mapping[str, t.Any] = field(default_factory=dict)
