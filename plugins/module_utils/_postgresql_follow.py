# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A standby that follows its primary: looking, preparing the primary, starting and waiting."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import Upstream, follow
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login, Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import (
    read_postmaster_file,
    server_processes,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_promote import ensure_slots
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    SqlUnavailable,
    literal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_start import start_and_wait
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import ZOMBIE, read_process
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import ProcessUnit

State = t.Dict[str, t.Any]

# A standby asks its primary every wal_retrieve_retry_interval, 5 s by default; two of these without a step forward
# mean that it will not get any further.
_STALLED_SECONDS = 12.0


@dataclass(frozen=True)
class Rejoin:
    """One rejoin.

    :param source: administrative login at the new primary.
    :param pass_fds: the lock of the step, held by the long tools as well.
    """

    member: Member
    unit: ProcessUnit
    source: Login
    upstream: Upstream
    pass_fds: t.Tuple[int, ...] = ()


def look_at_follower(member: Member, deadline: Deadline) -> State:
    """Whether the member runs, as a standby, and from whom it streams."""
    state: State = {"running": bool(server_processes(member.data_dir)), "in_recovery": None, "streaming_from": None}
    if not state["running"]:
        return state
    try:
        with PsqlSession(member.login, deadline.within(3.0)) as sql:
            state["in_recovery"] = sql.flag("pg_is_in_recovery()")
            receivers = sql.rows("SELECT status, sender_host, sender_port FROM pg_stat_wal_receiver")
    except SqlUnavailable as error:
        state["sql"] = error.kind
        return state
    if receivers and receivers[0]["status"] == "streaming":
        state["streaming_from"] = "%(sender_host)s:%(sender_port)d" % receivers[0]
    return state


def follows(state: State, upstream: Upstream) -> bool:
    """The member is where it should be."""
    return bool(state["in_recovery"] and state["streaming_from"] == "%s:%d" % (upstream.address, upstream.port))


def prepare_source(job: Rejoin, deadline: Deadline) -> State:
    """Check the new primary, make the slot, and have its control file name the new timeline.

    :returns: system_identifier, timeline, size in bytes, and the position at which each earlier timeline was left.
    :raises Refused: it is no primary.
    """
    with PsqlSession(job.source, deadline) as sql:
        if sql.flag("pg_is_in_recovery()"):
            raise Refused(
                "the server at %s:%d is a standby itself" % (job.upstream.address, job.upstream.port),
                "promote it first, or name the primary",
            )
        ensure_slots(sql, [job.upstream.slot])
        let_primary_summarize(sql)
        # pg_rewind reads the timeline from the source's control file, which a fresh promotion has not written yet.
        sql.execute("CHECKPOINT")
        source = sql.row(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,"
            " (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,"
            " (SELECT sum(pg_database_size(oid))::bigint FROM pg_database) AS bytes"
        )
        history = sql.value("pg_read_file('pg_wal/%08X.history', 0, 65536, true)" % source["timeline"])
        return {**source, "switch_points": switch_points(history)}


def switch_points(history: str) -> t.Dict[int, int]:
    """Where each earlier timeline was left, in bytes from the start of the log.

    :param history: the text of a timeline's history file; empty for the first timeline, which has none.
    """
    fields = [line.split() for line in history.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {int(each[0]): parse_lsn(each[1]) for each in fields if len(each) >= 2 and each[0].isdigit()}


def unused_slots(member: Member, names: t.Sequence[str], deadline: Deadline) -> t.List[str]:
    """Those of these physical slots that the member has and nobody streams by."""
    if not names:
        return []
    with PsqlSession(member.login, deadline.within(5.0)) as sql:
        listed = ", ".join(literal(name) for name in names)
        rows = sql.rows(
            "SELECT slot_name AS name FROM pg_replication_slots"
            " WHERE slot_type = 'physical' AND NOT active AND slot_name IN (%s) ORDER BY 1" % listed
        )
    return [row["name"] for row in rows]


def drop_slots(member: Member, names: t.Sequence[str], deadline: Deadline) -> None:
    """Drop slots of the member, which would keep its log for ever.

    :raises CodeblueError: one is in use again.
    """
    if not names:
        return
    with PsqlSession(member.login, deadline.within(5.0)) as sql:
        for name in names:
            sql.execute("SELECT pg_drop_replication_slot(%s)" % literal(name))


def let_primary_summarize(sql: PsqlSession) -> bool:
    """Take back that a former standby makes no summaries of its log; True when that was so.

    Only the setting that `follow` writes is removed: what postgresql.conf says holds again, and incremental backups
    are possible again where it says `summarize_wal = on`.
    """
    # A comparison inside SQL: whoever may not see sourcefile gets NULL, and nothing is changed.
    if not sql.flag(
        "EXISTS (SELECT FROM pg_settings WHERE name = 'summarize_wal' AND setting = 'off'"
        " AND sourcefile LIKE '%/postgresql.auto.conf')"
    ):
        return False
    sql.execute("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")
    return True


def require_stopped(member: Member, deadline: Deadline) -> None:
    """No process works on the data directory, and a stale postmaster.pid is out of the way.

    :raises Refused: the server runs.
    :raises CodeblueError: the dead postmaster is not reaped by its parent.
    """
    running = server_processes(member.data_dir)
    if running:
        raise Refused(
            "%s is in use by process %d" % (member.data_dir, running[0].pid), "fence the member with postgresql_fence"
        )
    named = read_postmaster_file(member.data_dir)
    if named is None:
        return
    # PostgreSQL refuses a directory whose pid file names a living process, and a zombie counts as one. The number
    # may also belong to a stranger by now; no server works here, so the file says nothing any more.
    entry = read_process(named.pid)
    if entry is not None and entry.state == ZOMBIE and not deadline.within(5.0).wait_until(lambda: entry.gone_for_good):
        raise CodeblueError(
            "the dead postmaster %d was not reaped by its parent %d" % (named.pid, entry.ppid), "restart that parent"
        )
    os.unlink(member.path("postmaster.pid"))


def start_following(job: Rejoin, deadline: Deadline) -> State:
    """Start the member and wait until it streams from the new primary.

    :raises CodeblueError: it does not stay up, gets no further, or the time is over.
    """
    follow(job.member, job.upstream)
    start_and_wait(job.member, job.unit, deadline)
    progress = _Progress(job.member)
    state: State = {}

    def settled() -> bool:
        state.update(look_at_follower(job.member, deadline))
        return follows(state, job.upstream) or progress.stalled(deadline)

    deadline.wait_until(settled, 0.05)
    if not follows(state, job.upstream):
        raise CodeblueError(
            "the member runs and does not stream from %s:%d" % (job.upstream.address, job.upstream.port),
            "look at its log; the replication login or a missing part of the log are the usual reasons",
        )
    return state


class _Progress:
    """Whether a standby that does not stream still replays something, from an archive for instance."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._replayed = ""
        self._since = Deadline(_STALLED_SECONDS)

    def stalled(self, deadline: Deadline) -> bool:
        try:
            with PsqlSession(self._member.login, deadline.within(3.0)) as sql:
                replayed = sql.value("pg_last_wal_replay_lsn()")
        except SqlUnavailable:
            replayed = self._replayed
        if replayed != self._replayed:
            self._replayed = replayed
            self._since = Deadline(_STALLED_SECONDS)
        return self._since.expired
