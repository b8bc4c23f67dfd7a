# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a planned switchover of a database can be done without losing a write, and to which member.

Nothing is wrong yet, so whatever would make it lose a write or take long is a reason to refuse: a cluster manager that
decides by itself, a standby that is behind or does not replay, work that a stop would cut off, a standby of a later
primary without which its commits would hang.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import Members

Status = Mapping[str, t.Any]

_SLOT_KEEPS_LOG = (None, "reserved", "extended")
_WAITED_FOR = re.compile(r"^\s*(?:(?:first|any)\s+)?(\d+)\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class SwitchoverLimits:
    """What is still taken for in step and in quiet.

    :param lag_bytes: of log that a standby has not replayed.
    :param transaction_seconds: age of a transaction that the stop may cut off.
    """

    lag_bytes: int
    transaction_seconds: float


@dataclass(frozen=True)
class SwitchoverChoice:
    """From which member to which.

    :param lag_bytes: of log that the new primary had not replayed when it was looked at.
    :param followers: members that stream now and are to follow the new primary, the old primary among them.
    :param left_behind: members that do not stream now; they are left to the operation `database_rejoin`.
    """

    old: str
    new: str
    system_identifier: str
    lag_bytes: int
    followers: tuple[str, ...]
    left_behind: tuple[str, ...]


def choose_switchover(service: str, members: Members, wanted: str | None, limits: SwitchoverLimits) -> SwitchoverChoice:
    """Decide.

    :param wanted: the member that is to be the primary; the standby with the smallest lag when it is None.
    :raises BadInput: `wanted` is no standby of this database.
    :raises Refused: it cannot be done safely now.
    """
    old = members.primary.machine
    standbys = [name for name in members.database.members if name != old]
    if wanted is not None and wanted not in standbys:
        raise BadInput(f"{service}: {wanted!r} is no standby of it", f"known: {', '.join(standbys) or 'none'}")
    _require_nobody_else_decides(service, members)
    _require_quiet(service, old, members.status(old), limits)
    lags = _lags(service, old, members.status(old), limits)
    reasons = {name: _unfit(members, name, lags) for name in ([wanted] if wanted else standbys)}
    fit = [name for name, reason in reasons.items() if reason is None]
    if not fit:
        said = "; ".join(f"{name} {reason}" for name, reason in reasons.items()) or "it has no standby"
        raise Refused(f"{service}: no standby can take over from {old}: {said}", "bring the standby in step first")
    new = min(fit, key=lambda name: (lags[name], name))
    followers = (old, *(name for name in standbys if name != new and members.streams(name)))
    _require_enough_followers(service, new, members.status(new), followers)
    return SwitchoverChoice(
        old=old,
        new=new,
        system_identifier=str(members.status(old)["system_identifier"]),
        lag_bytes=lags[new],
        followers=followers,
        left_behind=tuple(name for name in standbys if name not in (new, *followers)),
    )


def _require_nobody_else_decides(service: str, members: Members) -> None:
    for name in members.database.members:
        manager = members.status(name).get("managed_by")
        if manager:
            raise Refused(
                f"{service}: {manager} decides on {name} who is the primary", f"switch over by the tool of {manager}"
            )


def _require_quiet(service: str, old: str, status: Status, limits: SwitchoverLimits) -> None:
    """Nothing is under way that the stop would cut off or that would be gone afterwards."""
    for session in status.get("sessions") or []:
        age = session.get("longest_transaction_seconds")
        if age is not None and float(age) > limits.transaction_seconds:
            raise Refused(
                f"{service}: a transaction of {session.get('user')} ({session.get('application_name') or 'no name'}) "
                f"is {float(age):.0f} s old and would be rolled back",
                "wait for it or end it; -e codeblue_switchover_transactions=SECONDS allows older ones",
            )
    for row in status.get("replication") or []:
        if row.get("state") == "backup":
            raise Refused(f"{service}: a base backup of {old} is being taken ({row.get('name')})", "wait for it")


def _lags(service: str, old: str, status: Status, limits: SwitchoverLimits) -> dict[str, int]:
    """Bytes of log that each streaming standby has not replayed.

    A primary that is shut down waits until everybody who streams has all of its log, so that one who is far behind
    makes the stop long, whoever is promoted.
    """
    end = parse_lsn(str((status.get("wal") or {})["current_lsn"]))
    lags = {}
    for row in status.get("replication") or []:
        if row.get("state") not in ("streaming", "catchup") or not row.get("replay_lsn"):
            continue
        name = str(row.get("name"))
        lags[name] = max(0, end - parse_lsn(str(row["replay_lsn"])))
        if lags[name] > limits.lag_bytes:
            raise Refused(
                f"{service}: {name} is {_size(lags[name])} behind {old}, {_size(limits.lag_bytes)} are allowed",
                "wait until it is in step; -e codeblue_switchover_lag=BYTES allows more",
            )
    return lags


def _unfit(members: Members, name: str, lags: Mapping[str, int]) -> str | None:
    """Why this standby cannot be promoted, or None."""
    answer, status, primary = members.answers[name], members.status(name), members.status(members.primary.machine)
    if answer.result is None:
        return f"cannot be asked ({answer.unreachable or answer.failure})"
    if not (status.get("sql") or {}).get("answers"):
        return "does not answer"
    if not members.streams(name) or name not in lags:
        return "does not stream"
    if status.get("system_identifier") != primary.get("system_identifier"):
        return "belongs to another cluster"
    if status.get("timeline") != primary.get("timeline"):
        return f"is on timeline {status.get('timeline')} and the primary on {primary.get('timeline')}"
    log = status.get("wal") or {}
    if log.get("replay_paused"):
        return "does not replay (paused)"
    slots = {str(slot.get("name")): slot for slot in primary.get("slots") or []}
    named = log.get("slot_name")
    if named and (slots.get(named) or {}).get("wal_status") not in _SLOT_KEEPS_LOG:
        return f"has the slot {named}, which does not keep the log"
    if primary.get("archive_mode") != "off" and status.get("archive_mode") == "off":
        return "does not archive its log, and the primary does"
    lost = _logical(primary) - _logical(status)
    if lost:
        return f"lacks the logical replication slot {min(lost)}, whose subscriber would miss changes"
    return None


def _logical(status: Status) -> set[str]:
    return {str(slot.get("name")) for slot in status.get("slots") or [] if slot.get("type") == "logical"}


def _require_enough_followers(service: str, new: str, status: Status, followers: tuple[str, ...]) -> None:
    """Commits on the new primary would hang when too few of the standbys that they wait for follow it."""
    setting = str(status.get("synchronous_standby_names") or "")
    number, names = waited_for(setting)
    there = len(followers) if "*" in names else len(names & {name.lower() for name in followers})
    if there < number:
        raise Refused(
            f"{service}: commits on {new} would hang: synchronous_standby_names is {setting!r}, and only "
            f"{', '.join(followers)} will follow it",
            f"set it on {new} to names of its standbys first",
        )


def waited_for(setting: str) -> tuple[int, set[str]]:
    """How many standbys a commit waits for, and which may be among them.

    :param setting: `synchronous_standby_names`: `a, b`, `FIRST 2 (a, b)`, `ANY 1 (*)`, `2 (a, b)` or nothing.
    """
    if not setting.strip():
        return 0, set()
    match = _WAITED_FOR.match(setting)
    number, listed = (int(match.group(1)), match.group(2)) if match else (1, setting)
    return number, {name.strip().strip('"').lower() for name in listed.split(",")}


def _size(size: int) -> str:
    return f"{size / 1048576:.1f} MB" if size >= 1048576 else f"{size} bytes"
