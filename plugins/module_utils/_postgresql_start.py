# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts a member through its process manager and waits until it answers."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import read_control_data
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, SqlUnavailable
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    RESTARTING,
    STOPPED,
    ProcessUnit,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._scrub import scrub_text

State = t.Dict[str, t.Any]

# A server that ends at once shows it within this time; one that only replays its log keeps running.
_SETTLE_SECONDS = 0.5
_LOG_BYTES = 4096


def look_at_server(member: Member, unit: ProcessUnit, deadline: Deadline) -> State:
    """State of the unit, whether SQL answers, and the control file's word."""
    status = unit.status(deadline.within(5.0))
    control = read_control_data(member, deadline)
    return {
        "process": status.state,
        "sql": _answers(member, deadline.within(3.0)) is not None,
        "cluster_state": control.state,
        "timeline": control.timeline,
    }


def sql_answers(member: Member, deadline: Deadline) -> bool:
    """Whether SQL answers; for a data directory that may hold nothing."""
    return _answers(member, deadline.within(3.0)) is not None


def start_and_wait(member: Member, unit: ProcessUnit, deadline: Deadline) -> State:
    """Start the unit, wait for SQL, and say how it came up.

    :returns: in_recovery and seconds until SQL answered.
    :raises CodeblueError: the server ends again or does not answer in time; with the end of its log.
    """
    started = deadline.elapsed()
    unit.request_start(deadline.within(5.0))
    settled = deadline.within(_SETTLE_SECONDS)
    answers: t.List[bool] = []

    def answered() -> bool:
        in_recovery = _answers(member, deadline.within(2.0))
        if in_recovery is not None:
            answers.append(in_recovery)
            return True
        if settled.expired and unit.status(deadline.within(5.0)).state in (FAILED, RESTARTING, STOPPED):
            raise CodeblueError(
                "%s does not stay up: %s" % (unit, last_log_line(unit, deadline)), "read the server's log"
            )
        return False

    if not deadline.wait_until(answered, 0.05):
        raise CodeblueError(
            "PostgreSQL at port %d did not answer within %.1f s of its start"
            % (member.port, deadline.elapsed() - started),
            "it may still replay its log; look at the server's log",
        )
    return {"in_recovery": answers[-1], "seconds": round(deadline.elapsed() - started, 3)}


def stop_and_wait(member: Member, unit: ProcessUnit, deadline: Deadline) -> None:
    """Stop the unit in order.

    :raises CodeblueError: it does not stop in time.
    """
    unit.request_stop(deadline.within(5.0))
    status = unit.wait_for((STOPPED, FAILED), deadline)
    if status.state not in (STOPPED, FAILED):
        raise CodeblueError(
            "%s did not stop within %.1f s: %s" % (unit, deadline.elapsed(), status.manager_state),
            "fence it with postgresql_fence",
        )


def last_log_line(unit: ProcessUnit, deadline: Deadline) -> str:
    """The most telling line of the unit's log: the last one that names a fatal error, else the last."""
    try:
        lines = unit.log_tail(_LOG_BYTES, deadline.within(2.0)).splitlines()
    except CodeblueError as error:
        return "its log cannot be had: %s" % error.message
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line] or [line for line in lines if line.strip()]
    return scrub_text(telling[-1].strip()[:300]) if telling else "it logged nothing"


def _answers(member: Member, deadline: Deadline) -> t.Optional[bool]:
    """in_recovery, or None while SQL does not answer.

    :raises CodeblueError: it answers that the login is wrong, which waiting does not mend.
    """
    try:
        with PsqlSession(member.login, deadline) as sql:
            return sql.flag("pg_is_in_recovery()")
    except SqlUnavailable as error:
        if error.kind in ("authentication", "no_database"):
            raise
        return None
