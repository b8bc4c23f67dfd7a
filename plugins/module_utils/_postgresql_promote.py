# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Promotion of a standby, with everything that must hold before and after it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, literal

State = t.Dict[str, t.Any]

_STATE = """
  SELECT pg_is_in_recovery() AS in_recovery,
         (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
         CASE WHEN pg_is_in_recovery() THEN
           greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text
         ELSE pg_current_wal_insert_lsn()::text END AS lsn,
         CASE WHEN pg_is_in_recovery() THEN
           coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
         ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline
"""
_FOLLOWER_SETTINGS = ("primary_conninfo", "primary_slot_name")


@dataclass(frozen=True)
class PromotionLimits:
    """What has to hold before the promotion; None asks for nothing.

    :param system_identifier: of the cluster that is meant.
    :param minimum_lsn: the standby has received at least so much.
    :param primary_lsn: end of the log of the lost primary; with `maximum_loss_bytes` it bounds the loss.
    """

    system_identifier: t.Optional[str] = None
    minimum_lsn: t.Optional[str] = None
    primary_lsn: t.Optional[str] = None
    maximum_loss_bytes: t.Optional[int] = None


def look_at_candidate(sql: PsqlSession) -> State:
    """in_recovery, system_identifier, lsn (received or written) and timeline."""
    return sql.row(_STATE)


def check_limits(found: State, limits: PromotionLimits) -> t.Optional[int]:
    """Bytes of log that the promotion loses, as far as `primary_lsn` tells.

    :raises Refused: a limit is not kept.
    :raises BadInput: a position is written wrongly.
    """
    if limits.system_identifier and found["system_identifier"] != limits.system_identifier:
        raise Refused(
            "this standby belongs to cluster %s, not to %s" % (found["system_identifier"], limits.system_identifier),
            "check address, port and data_dir of the member",
        )
    if not found["lsn"]:
        raise CodeblueError("the standby has received nothing yet", "wait until it has replayed its first records")
    received = parse_lsn(found["lsn"])
    if limits.minimum_lsn and received < parse_lsn(limits.minimum_lsn, "minimum_lsn"):
        raise Refused(
            "the standby received up to %s, and at least %s is asked for" % (found["lsn"], limits.minimum_lsn),
            "promote another standby, or accept the loss in the plan",
        )
    if limits.primary_lsn is None:
        if limits.maximum_loss_bytes is not None:
            raise BadInput("maximum_loss_bytes needs primary_lsn", "give the end of the lost primary's log")
        return None
    lost = max(0, parse_lsn(limits.primary_lsn, "primary_lsn") - received)
    if limits.maximum_loss_bytes is not None and lost > limits.maximum_loss_bytes:
        raise Refused(
            "promotion would lose %d bytes of log, %d are accepted" % (lost, limits.maximum_loss_bytes),
            "promote another standby, or accept the loss in the plan",
        )
    return lost


def promote(sql: PsqlSession, deadline: Deadline) -> None:
    """Promote and wait until the server has left recovery.

    :raises CodeblueError: it stays in recovery.
    """
    # Without waiting inside: pg_promote looks ten times a second only.
    if not sql.flag("pg_promote(false)"):
        raise CodeblueError("PostgreSQL could not signal its own promotion", "look at the server's log")
    if not deadline.wait_until(lambda: not sql.flag("pg_is_in_recovery()"), 0.02):
        raise CodeblueError(
            "the standby did not leave recovery within %.1f s" % deadline.elapsed(),
            "it may still replay what it received; look at pg_last_wal_replay_lsn() and the server's log",
        )


def prove_write(sql: PsqlSession) -> str:
    """Commit a record to the log and wait until it is on disk; the position after it.

    A message in the log is a real write that needs no table. A commit that waits for a synchronous standby which
    is gone would hang, hence the local commit; `synchronous_standby_names` is reported beside it.

    :raises CodeblueError: the write is refused.
    """
    sql.execute(
        "BEGIN READ WRITE",
        "SET LOCAL synchronous_commit = local",
        "SELECT pg_logical_emit_message(true, 'codeblue', 'promoted')",
        "COMMIT",
    )
    return sql.value("pg_current_wal_flush_lsn()")


def ensure_slots(sql: PsqlSession, names: t.Sequence[str]) -> t.List[str]:
    """Make the physical replication slots that are missing; the names of those made.

    They hold the log from now on, so that a member which is rejoined later still finds it.
    """
    made = []
    for name in missing_slots(sql, names):
        sql.execute("SELECT pg_create_physical_replication_slot(%s, true)" % literal(name))
        made.append(name)
    return made


def missing_slots(sql: PsqlSession, names: t.Sequence[str]) -> t.List[str]:
    """Those of the names for which there is no slot.

    :raises CodeblueError: a slot of that name is a logical one.
    """
    existing = {
        row["slot_name"]: row["slot_type"] for row in sql.rows("SELECT slot_name, slot_type FROM pg_replication_slots")
    }
    for name in names:
        if existing.get(name, "physical") != "physical":
            raise CodeblueError(
                "the replication slot %s is a logical one" % name, "choose another name for the standby"
            )
    return [name for name in names if name not in existing]


def forget_old_primary(sql: PsqlSession) -> t.List[str]:
    """Remove the settings of a standby that ALTER SYSTEM or pg_basebackup had written; the names removed.

    A primary ignores them, yet a later restart as a standby would follow a server that is a standby itself.
    """
    listed = ", ".join(literal(name) for name in _FOLLOWER_SETTINGS)
    written = sql.rows(
        "SELECT DISTINCT name FROM pg_file_settings WHERE name IN (%s) AND setting <> ''"
        " AND sourcefile LIKE '%%postgresql.auto.conf'" % listed
    )
    names = sorted(row["name"] for row in written)
    for name in names:
        sql.execute("ALTER SYSTEM RESET " + name)
    if names:
        sql.execute("SELECT pg_reload_conf()")
    return names
