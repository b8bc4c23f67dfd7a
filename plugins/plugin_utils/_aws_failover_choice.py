# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to do about a database in RDS that serves nobody: start it, let another instance write, or promote a replica.

The rules, in this order:

1. The replica is none any more. When a run has promoted it, consumers are led to it: `lead`. When somebody else has,
   nobody knows what it lacks: a person has to accept that, and while the primary serves it is left alone: `refuse`.
2. The database serves. Of an Aurora cluster the instance that writes may be the one that does not work; another one of
   the cluster has the same storage, so nothing is lost: `fail_over`. Or consumers are led elsewhere: `lead` them back.
3. It was stopped, and nobody fenced it: starting it loses nothing: `start`.
4. Of a global database whose primary serves, the roles are switched, which loses nothing. Otherwise a replica is
   promoted: `promote`. What was committed after the moment up to which it surely has everything may
   be lost. Beyond the RPO, or when nobody knows that moment, a person has to accept it: `data_loss`.
5. Without a replica there is only the last backup: `restore`.

Writes are possible up to now unless RDS says that the database serves nobody; then up to the first failed check. A
region that does not answer says nothing. It counts as led away from when every way of consumers to it is one that is
changed here; otherwise a person has to accept it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import AVAILABLE, STOPPED, DatabaseLook

LEAD, FAIL_OVER, START, PROMOTE, RESTORE, REFUSE = "lead", "fail_over", "start", "promote", "restore", "refuse"
#: Tag of a database that must take no writes any more: by which run, and what it was before.
FENCED_TAG = "codeblue:fenced"
#: Tag of a replica that a run has promoted, with the run.
PROMOTED_TAG = "codeblue:promoted"
# CloudWatch gives a figure for each minute.
LAG_TOLERANCE = 1.0


@dataclass(frozen=True)
class DatabaseState:
    """What is known when it is decided.

    :param primary: None when there is none, or its region does not answer.
    :param silent: why its region cannot be asked; empty when it can.
    :param replica: None when the inventory names none, or there is none.
    :param replicating: it is still a replica.
    :param replicated_until: Unix seconds until which the replica surely has everything; None when nobody knows.
    :param failing: the instance that writes in a cluster is known not to work.
    :param endpoints: consumers are led by what the inventory names.
    :param misled: what the inventory names leads them elsewhere than to the primary.
    """

    primary: DatabaseLook | None
    silent: str
    replica: DatabaseLook | None
    replicating: bool
    replicated_until: float | None
    endpoints: bool
    failing: bool = False
    misled: bool = False


@dataclass(frozen=True)
class DatabaseChoice:
    """The decision; nothing is decided anew by whoever carries it out.

    :param loss_seconds: upper bound of the time whose commits are given up; None when there is no bound.
    :param acceptances: what a person must accept first.
    :param must_fence: the old primary answers, and has to be closed before another one is promoted.
    :param back: consumers are led to the primary that is in its place, not to the replica.
    :param planned: both clusters of a global database work, and switch their roles.
    """

    path: str
    reason: str
    loss_seconds: float | None = 0.0
    acceptances: tuple[str, ...] = ()
    must_fence: bool = False
    planned: bool = False
    back: bool = False


def choose(state: DatabaseState, rpo: float, down_since: float | None, now: float) -> DatabaseChoice:
    """Decide by the rules of this module.

    :param rpo: seconds.
    :param down_since: Unix seconds of the first failed check; None when unknown.
    :param now: Unix seconds.
    """
    primary, replica = state.primary, state.replica
    fenced = primary is not None and FENCED_TAG in primary.tags
    if replica is not None and not state.replicating and replica.status == AVAILABLE:
        return _promoted(primary, replica, fenced)
    if primary is not None and not fenced:
        others = [each for each in primary.members if not each.writer]
        if primary.serves and others and (state.failing or not primary.writer):
            return DatabaseChoice(FAIL_OVER, f"{others[0].identifier} of {primary.place} has the same storage")
        if primary.serves and state.misled:
            return DatabaseChoice(LEAD, f"{primary.place} is {primary.status}, consumers are led elsewhere", back=True)
        if primary.status in STOPPED:
            return DatabaseChoice(START, f"{primary.place} is {primary.status}: nothing is lost when it is started")
    if replica is None:
        if state.silent:
            return DatabaseChoice(REFUSE, f"{state.silent}, and the inventory names no replica elsewhere")
        return DatabaseChoice(RESTORE, "there is no replica to promote: it has to be restored from its backups")
    if replica.status != AVAILABLE:
        return DatabaseChoice(REFUSE, f"{replica.place} is {replica.status} and cannot be promoted")
    return _promotion(state, replica, fenced, rpo, down_since, now)


def _promoted(primary: DatabaseLook | None, replica: DatabaseLook, fenced: bool) -> DatabaseChoice:
    if PROMOTED_TAG in replica.tags:
        return DatabaseChoice(LEAD, f"{replica.place} was promoted already")
    said = f"{replica.place} is no replica any more, and no run has promoted it"
    if primary is not None and primary.serves and not fenced:
        return DatabaseChoice(REFUSE, f"{said}, while {primary.place} is {primary.status}")
    return DatabaseChoice(LEAD, f"{said}: how much would be lost is not known", None, (DATA_LOSS,))


def _promotion(
    state: DatabaseState, replica: DatabaseLook, fenced: bool, rpo: float, down_since: float | None, now: float
) -> DatabaseChoice:
    primary = state.primary
    serves = primary is not None and primary.serves and not fenced
    if serves and replica.global_cluster:
        return DatabaseChoice(
            PROMOTE, f"{replica.place} and the primary switch their roles, nothing is lost", planned=True
        )
    # Of a region that is silent nobody knows since when nothing is written there.
    ended = down_since if down_since is not None and not serves and not state.silent else now
    loss = None
    if state.replicated_until is not None:
        loss = max(0.0, ended - state.replicated_until) + LAG_TOLERANCE
    within = loss is not None and loss <= rpo
    led_away = not state.silent or state.endpoints
    said = f"up to {loss:.0f} s of commits may be lost" if loss is not None else "how much would be lost is not known"
    limit = "within the RPO" if within else f"beyond the RPO of {rpo:g} s"
    why = state.silent or (f"{primary.place} is {primary.status}" if primary is not None else "there is no primary")
    if not led_away:
        limit += "; whether clients still write there is not known, and codeblue_aws.database.endpoints names no way"
    return DatabaseChoice(
        path=PROMOTE,
        reason=f"{why}; with {replica.place} {said}, {limit}",
        loss_seconds=loss,
        acceptances=() if within and led_away else (DATA_LOSS,),
        must_fence=serves,
    )
