# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to do about a primary that is gone: start it again, or promote a standby, and at what loss.

The rules, in this order:

1. A cluster manager (Patroni, Pacemaker, …) decides by itself. A promotion behind its back makes two primaries,
   so it is left to it: `refuse`.
2. A standby that has everything the old primary has on its disk can be promoted: nothing is lost and nothing is
   waited for: `promote`. "Everything" means that the end of its log is not behind, or that no transaction was
   committed after it. The log ends of both disks are compared, never a lag that somebody measured earlier.
3. Otherwise starting the old primary again loses nothing, if its disk can be used: `start_primary`. When it does not
   come up, a standby is promoted at a loss that is known or bounded.
4. When it cannot be started, a standby is promoted if the loss is bounded and within the RPO.
5. A loss beyond the RPO, or one that nobody can bound, needs a person who accepts it: `data_loss`.
6. Without a standby there is only the old primary; when its disk is gone, a snapshot has to be restored, and that is
   another runbook: `refuse`.

An unknown loss counts as beyond the RPO. It is bounded by time when the standby knows when its last commit was made
and it is known until when the primary can have taken writes: up to the first failed check when its process is gone,
up to now when it is silent, because clients may still reach it on a way that is not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import MemberLook

#: The acceptance that a person must give before acknowledged writes are given up.
DATA_LOSS = "data_loss"

# Clocks of different machines, kept by NTP, and the time between the last commit and the first failed check.
CLOCK_TOLERANCE = 1.0


@dataclass(frozen=True)
class FailoverChoice:
    """The decision. Nothing is decided anew by whoever carries it out.

    :param path: `promote`, `start_primary` or `refuse`.
    :param if_that_fails: the path to go next, or None.
    :param primary: the member that is gone.
    :param standby: the member to promote, None when there is none.
    :param in_step: the standby has all that was committed; None when that cannot be told.
    :param loss_bytes: of log that a promotion gives up, None when unknown.
    :param loss_commits: committed transactions that a promotion gives up, None when unknown.
    :param loss_seconds: upper bound of the time span whose commits are given up, None when there is no bound.
    :param within_rpo: the bound is not beyond the RPO. False when there is no bound.
    :param acceptances: what a person must accept before a standby is promoted.
    :param must_fence: the old primary may still take writes, so every way to it is closed and probed first.
    """

    path: str
    if_that_fails: str | None
    primary: str
    standby: str | None
    in_step: bool | None
    loss_bytes: int | None
    loss_commits: int | None
    loss_seconds: float | None
    within_rpo: bool
    acceptances: tuple[str, ...]
    must_fence: bool
    managed_by: str | None
    reason: str


def choose_failover(
    primary: MemberLook,
    members: Mapping[str, MemberLook],
    rpo: float,
    first_failed_at: float | None,
    now: float,
) -> FailoverChoice:
    """Decide by the rules of this module.

    :param primary: the member that was the primary, and does not answer as one.
    :param members: all members, the primary among them.
    :param rpo: seconds.
    :param first_failed_at: Unix seconds; None when unknown, then writes are possible up to now.
    """
    managed_by = next((look.managed_by for look in members.values() if look.managed_by), None)
    standby = _best_standby(primary, members)
    loss = _loss(primary, standby, first_failed_at, now) if standby is not None else _UNKNOWN
    within_rpo = loss.in_step is True or (loss.seconds is not None and loss.seconds <= rpo)
    lost = all(look.unreachable is None and look.disk_usable is False for look in members.values())
    path, then, reason = _path(primary, standby, loss, within_rpo, managed_by, lost)
    return FailoverChoice(
        path=path,
        if_that_fails=then,
        primary=primary.machine,
        standby=standby.machine if standby is not None else None,
        in_step=loss.in_step,
        loss_bytes=loss.size,
        loss_commits=loss.commits,
        loss_seconds=loss.seconds,
        within_rpo=within_rpo,
        acceptances=(DATA_LOSS,) if "promote" in (path, then) and not within_rpo else (),
        # Only a process that was seen to be gone, and that nobody starts again, takes no writes.
        must_fence=not (primary.alive is False and primary.disk_usable is False),
        managed_by=managed_by,
        reason=reason,
    )


def choose_among_standbys(members: Mapping[str, MemberLook], set_up_as_primary: str) -> FailoverChoice:
    """Decide when every member answers and every one is a standby.

    Nobody has more than the one with the most, so promoting that one loses nothing that any member still has.
    Of equals the one that was set up as the primary.
    """
    managed_by = next((look.managed_by for look in members.values() if look.managed_by), None)
    best = max(members.values(), key=lambda look: (look.received or 0, look.machine == set_up_as_primary))
    path, reason = "promote", f"{best.machine} has the most of the log, and no member is a primary"
    if managed_by is not None:
        path, reason = "refuse", _left_to(managed_by)
    return FailoverChoice(
        path=path,
        if_that_fails=None,
        primary=set_up_as_primary,
        standby=best.machine,
        in_step=True,
        loss_bytes=0,
        loss_commits=0,
        loss_seconds=0.0,
        within_rpo=True,
        acceptances=(),
        must_fence=False,
        managed_by=managed_by,
        reason=reason,
    )


def _left_to(manager: str) -> str:
    return f"{manager} decides who is the primary here, let it, or take it out of service first"


@dataclass(frozen=True)
class _Loss:
    in_step: bool | None
    size: int | None
    commits: int | None
    seconds: float | None


_UNKNOWN = _Loss(None, None, None, None)


def _best_standby(primary: MemberLook, members: Mapping[str, MemberLook]) -> MemberLook | None:
    """The standby of the same cluster that has the most of the log; by name when two have the same."""
    candidates = [
        look
        for look in members.values()
        if look.machine != primary.machine and look.is_standby and look.received is not None and _kin(look, primary)
    ]
    return min(candidates, key=lambda look: (-(look.received or 0), look.machine), default=None)


def _kin(standby: MemberLook, primary: MemberLook) -> bool:
    """Of the same cluster, as far as both can be asked. A dead disk does not say which cluster it was."""
    if primary.system_identifier is None or standby.system_identifier is None:
        return True
    return primary.system_identifier == standby.system_identifier


def _loss(primary: MemberLook, standby: MemberLook, first_failed_at: float | None, now: float) -> _Loss:
    received = standby.received or 0
    # Positions on different timelines cannot be compared: after a switch the same number means another record.
    comparable = primary.timeline is None or standby.timeline is None or primary.timeline == standby.timeline
    if primary.log_end is not None and comparable and not primary.hung:
        size = max(0, primary.log_end - received)
        commits = 0 if size == 0 else primary.commits_after
        if size == 0 or commits == 0:
            return _Loss(True, size, 0, 0.0)
        return _Loss(False, size, commits, _seconds(primary, standby, first_failed_at, now))
    return _Loss(None, None, None, _seconds(primary, standby, first_failed_at, now))


def _seconds(primary: MemberLook, standby: MemberLook, first_failed_at: float | None, now: float) -> float | None:
    """Upper bound of the span of lost commits, or None."""
    if standby.last_commit_at is None:
        return None
    gone = primary.alive is False
    last_write = first_failed_at if gone and first_failed_at is not None else now
    return max(0.0, last_write - standby.last_commit_at) + CLOCK_TOLERANCE


def _path(
    primary: MemberLook,
    standby: MemberLook | None,
    loss: _Loss,
    within_rpo: bool,
    managed_by: str | None,
    lost: bool,
) -> tuple[str, str | None, str]:
    """Path, the next path when that fails, and why."""
    if managed_by is not None:
        return "refuse", None, _left_to(managed_by)
    if standby is None:
        if primary.disk_usable:
            return "start_primary", None, "no standby answers, and the old primary's disk can be used"
        if lost:
            return "restore", None, "no data directory of any member can be used: a snapshot has to be restored"
        # A member that is silent may have everything that was committed.
        return "refuse", None, "no standby answers, and whether a member's disk can be used is not known"
    if loss.in_step:
        return "promote", None, f"{standby.machine} has everything that was committed on {primary.machine}"
    extent = _extent(loss)
    if primary.disk_usable:
        reason = f"{extent} would be lost with {standby.machine}, nothing when {primary.machine} is started again"
        return "start_primary", "promote", reason
    limit = "within the RPO" if within_rpo else "beyond the RPO: a person must accept the loss"
    return "promote", None, f"{primary.machine} cannot be started; {extent} may be lost, {limit}"


def _extent(loss: _Loss) -> str:
    if loss.commits is not None:
        return f"{loss.commits} commits"
    if loss.seconds is not None:
        return f"up to {loss.seconds:.1f} s of commits"
    return "an unknown number of commits"
