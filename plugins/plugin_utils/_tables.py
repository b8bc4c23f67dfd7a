# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The tables of the state store. `migrations/` makes the same; a test holds the two together.

Times are UTC texts that sort, structures are JSON texts: both read the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

metadata = MetaData()

# BIGINT in PostgreSQL; SQLite numbers rows by itself only for INTEGER.
_ROW_ID = BigInteger().with_variant(Integer(), "sqlite")


def _holder_columns() -> list[Column[object]]:
    return [
        Column("holder_host", Text),
        Column("holder_boot_id", Text),
        Column("holder_pid", Integer),
        Column("holder_started", Text),
    ]


# As Alembic itself makes it.
alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False, index=True),
    Column("detected_at", Text, nullable=False),
    Column("acknowledged_at", Text),
    Column("investigating_at", Text),
    Column("identified_at", Text),
    Column("resolving_at", Text),
    Column("resolved_at", Text),
    Column("closed_at", Text),
)

changes = Table(
    "changes",
    metadata,
    Column("change_id", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.incident_id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("requester_verified", Boolean, nullable=False),
    Column("justification", Text, nullable=False),
    Column("targets", Text, nullable=False),
    Column("risk_score", Integer, nullable=False),
    Column("risk_level", Text, nullable=False),
    Column("risk_reasons", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("rollback", Text, nullable=False),
    Column("validation", Text),
    Column("outcome", Text),
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
    Column("review_due_at", Text),
    Column("reviewed_at", Text),
    Column("reviewed_by", Text),
    Column("review", Text),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("change_id", Text, ForeignKey("changes.change_id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("approver", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("approved_at", Text, nullable=False),
    UniqueConstraint("change_id", "kind", "approver", name="uq_approvals_once"),
)

acceptances = Table(
    "acceptances",
    metadata,
    Column("change_id", Text, ForeignKey("changes.change_id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("via", Text, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("runbook", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("status", Text, nullable=False, index=True),
    Column("outcome", Text),
    Column("exit_code", Integer),
    Column("operator", Text, nullable=False),
    Column("operator_source", Text, nullable=False),
    Column("operator_verified", Boolean, nullable=False),
    Column("because", Text),
    Column("accepts", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("collection_version", Text, nullable=False),
    Column("objectives", Text, nullable=False),
    Column("incident_id", Text, ForeignKey("incidents.incident_id"), nullable=False, index=True),
    Column("change_id", Text, ForeignKey("changes.change_id"), nullable=False, unique=True),
    *_holder_columns(),
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
    # The end of the run's chain, so that a record is appended without searching for it.
    Column("segment", BigInteger, nullable=False),
    Column("head_seq", Integer, nullable=False),
    Column("head_hash", Text, nullable=False),
)

run_targets = Table(
    "run_targets",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("target", Text, primary_key=True, index=True),
    Column("position", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("outcome", Text),
    Column("detail", Text, nullable=False),
    Column("closed_at", Text),
)

leases = Table(
    "leases",
    metadata,
    # The row stays after a release, so that the generation never falls.
    Column("target", Text, primary_key=True),
    Column("run_id", Text),
    Column("generation", BigInteger, nullable=False),
    *_holder_columns(),
    Column("acquired_at", Text, nullable=False),
    Column("heartbeat_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("ttl_seconds", Integer, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("target", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text),
    Column("changed", Boolean, nullable=False),
    Column("decision", Text, nullable=False),
    Column("result", Text),
    Column("attempts", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    *_holder_columns(),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
)

ledger = Table(
    "ledger",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("segment", BigInteger, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    # The canonical JSON that the hash is over, byte for byte.
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

bad_versions = Table(
    "bad_versions",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("run_id", Text),
    Column("reason", Text, nullable=False),
    Column("marked_at", Text, nullable=False),
    Column("cleared_at", Text),
    Column("cleared_by", Text),
    Column("cleared_because", Text),
    Index("ix_bad_versions_of", "target", "kind", "version"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("target", Text, nullable=False, index=True),
    Column("level", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_at", Text, nullable=False),
    Column("run_id", Text),
    Column("parent_id", Text),
    Column("meta", Text, nullable=False),
)

# Of protected health information; see `_breach_clock` for what follows from them.
breaches = Table(
    "breaches",
    metadata,
    Column("breach_id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("incident_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("status", Text, nullable=False, index=True),
    Column("discovered_at", Text, nullable=False),
    Column("exposure_began_at", Text),
    Column("exposure_ended_at", Text),
    Column("affected", Integer),
    Column("residents", Text, nullable=False),
    Column("delayed_until", Text),
    Column("facts", Text, nullable=False),
    Column("hold", Text),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decided_at", Text),
    Column("updated_at", Text, nullable=False),
)

breach_notices = Table(
    "breach_notices",
    metadata,
    Column("breach_id", Text, ForeignKey("breaches.breach_id"), primary_key=True),
    Column("duty", Text, primary_key=True),
    Column("sent_at", Text, nullable=False),
    Column("sent_by", Text, nullable=False),
    Column("reference", Text, nullable=False),
)

# Drills and exercises, for their trend and for those that are overdue; the oldest go when there are too many.
exercises = Table(
    "exercises",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_exercises_of", "kind", "subject", "at"),
)

# How long checks were answered while their service was well; the oldest go when there are too many.
answer_times = Table(
    "answer_times",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("check_id", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("p50_seconds", Float, nullable=False),
    Column("p95_seconds", Float, nullable=False),
    Column("slowest_seconds", Float, nullable=False),
    Column("source", Text, nullable=False),
    Index("ix_answer_times_of", "target", "check_id", "at"),
)

outbox = Table(
    "outbox",
    metadata,
    # Derived from the event, so that the same event is never queued or sent as two.
    Column("message_id", Text, primary_key=True),
    Column("run_id", Text),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("next_attempt_at", Text, nullable=False),
    Column("claimed_until", Text),
    Column("delivered_at", Text),
    Column("receipt", Text),
    Column("last_error", Text),
    Index("ix_outbox_due", "state", "next_attempt_at"),
)

# The record only grows. The chain proves it; these stop accidents and say so.
LEDGER_GUARDS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()",
    ),
}
for _dialect, _statements in LEDGER_GUARDS.items():
    for _statement in _statements:
        event.listen(ledger, "after_create", DDL(_statement).execute_if(dialect=_dialect))
