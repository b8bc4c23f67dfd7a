# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal: what was decided is on disk before the first change, how it ended right after."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._leases import (
    check_in_transaction,
    holder_fields,
    holder_of,
    holder_values,
    lock_run,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger, digest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_incidents import advance_incident
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import Step, parse_time, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import changes, journal, run_targets, runs
from sqlalchemy.engine import Connection

# The parts of a decision or result that the record shows; the rest is there as a digest of the whole. They say
# what was chosen and what came of it, in values that hold neither secrets nor patient data.
_FACT_NAMES = """
    machine machines summary cause action method module from to version previous_version chosen candidates
    primary old_primary new_primary standby member members server servers backend weights state role roles
    instance instances timeline lsn lag_bytes lag_seconds lost_bytes replayed sessions ended count unit units
    release releases snapshot_id sha256 fenced write_paths changed already_done accepted_at before after error
    exit_code seconds irreversible undo reason outcome passed failed checks level expected
"""
FACTS = frozenset(_FACT_NAMES.split())
#: Begins the name of a step that proves a version; its result has `kind` and `version`.
PROOF = "prove_"
_MOST_PROOFS = 50
# Observations of the run that tell how far the incident is.
_INCIDENT_STATUS = {"detection": "investigating", "diagnosis": "identified"}


def step_key(run_id: str, target: str, stage: str, action: str) -> str:
    """What names one step of one run, whoever does it and however often."""
    return f"{run_id}/{target}/{stage}/{action}"


class JournalStore:
    """The part of the store that keeps the journal."""

    database: Database
    ledger: Ledger

    def begin_step(
        self,
        run_id: str,
        target: str,
        stage: str,
        action: str,
        decision: Mapping[str, t.Any],
        worker: ProcessIdentity,
        generation: int,
    ) -> Step:
        """Write the intent, after proving the lease, in one transaction.

        A step that failed is in doubt as well as one that never ended: either may have changed something.

        :param decision: what will be done and why; no secrets. On a later attempt the first one's stands.
        :param worker: the process that will do it.
        :param generation: of the lease that it is done under.
        :raises LeaseLost: somebody else holds the target.
        :raises Refused: the run or target is closed, or another process is still at this step.
        :raises LedgerRefused: the decision looks like it holds a credential.
        """
        key = step_key(run_id, target, stage, action)
        with self.database.write() as transaction:
            connection = transaction.connection
            lock_run(connection, run_id)
            now = self.database.now(connection)
            check_in_transaction(connection, now, target, run_id, generation)
            _open_gate(connection, run_id, target)
            row = connection.execute(sa.select(journal).where(journal.c.key == key).with_for_update()).one_or_none()
            if row is not None and row.outcome == "ok":
                return _step(row, "done")
            if row is None:
                state = "new"
                kept = bounded(dict(decision), f"{stage}/{action} decision")
                values = {
                    "key": key,
                    "run_id": run_id,
                    "target": target,
                    "stage": stage,
                    "action": action,
                    "changed": False,
                    "decision": json.dumps(kept, sort_keys=True),
                    "attempts": 1,
                    "generation": generation,
                    **holder_values(worker),
                    "started_at": now,
                }
                connection.execute(journal.insert().values(**values))
            else:
                state = "in_doubt"
                earlier = holder_of(row)
                if row.finished_at is None and earlier != worker and earlier.is_alive():
                    raise Refused(
                        f"step {key} is being done by process {earlier.pid}",
                        f"wait for it, or codeblue resume {run_id}",
                    )
                kept = json.loads(row.decision)
                connection.execute(
                    journal.update()
                    .where(journal.c.key == key)
                    .values(
                        attempts=row.attempts + 1,
                        generation=generation,
                        **holder_values(worker),
                        started_at=now,
                        finished_at=None,
                    )
                )
            self.ledger.append(
                connection,
                run_id,
                "step_intent",
                {
                    "key": key,
                    "target": target,
                    "stage": stage,
                    "action": action,
                    "decision": facts(kept),
                    "decision_sha256": digest(kept),
                    "generation": generation,
                    "attempt": 1 if row is None else row.attempts + 1,
                    "worker": holder_fields(worker),
                },
            )
            advance_incident(connection, run_id, "resolving", now)
            after = connection.execute(sa.select(journal).where(journal.c.key == key)).one()
            return _step(after, state)

    def finish_step(self, step: Step, outcome: str, result: Mapping[str, t.Any], changed: bool) -> Step:
        """Write how it ended, in one transaction.

        What looks like a credential in the result is replaced rather than refused: the change has happened and
        must be recorded.

        :param outcome: `ok` or `failed`.
        :raises Refused: a later attempt has taken the step over.
        """
        if outcome not in ("ok", "failed"):
            raise BadInput(f"step outcome {outcome!r} is unknown", "ok or failed")
        kept = bounded(dict(result), "result", replace_secrets=True)
        with self.database.write() as transaction:
            connection = transaction.connection
            now = self.database.now(connection)
            row = connection.execute(
                sa.select(journal).where(journal.c.key == step.key).with_for_update()
            ).one_or_none()
            if row is None:
                raise BadInput(f"step {step.key} was never begun")
            if row.outcome == "ok" and row.finished_at is not None:
                return _step(row, "done")
            if row.attempts != step.attempts:
                raise Refused(f"step {step.key} was taken over by process {row.holder_pid}", "its result counts")
            connection.execute(
                journal.update()
                .where(journal.c.key == step.key)
                .values(outcome=outcome, changed=changed, result=json.dumps(kept, sort_keys=True), finished_at=now)
            )
            self.ledger.append(
                connection,
                step.run_id,
                "step_result",
                {
                    "key": step.key,
                    "target": step.target,
                    "stage": step.stage,
                    "action": step.action,
                    "outcome": outcome,
                    "changed": changed,
                    "result": facts(kept),
                    "result_sha256": digest(kept),
                    "seconds": round((parse_time(now) - parse_time(row.started_at)).total_seconds(), 6),
                    "attempt": row.attempts,
                },
                replace_secrets=True,
            )
            after = connection.execute(sa.select(journal).where(journal.c.key == step.key)).one()
            return _step(after, "done" if outcome == "ok" else "in_doubt")

    def adopt_step(self, step: Step) -> None:
        """Take over a step that was begun in a store that is lost now, unless it is known here."""
        with self.database.write() as transaction:
            connection = transaction.connection
            if connection.scalar(sa.select(journal.c.id).where(journal.c.key == step.key)) is not None:
                return
            connection.execute(
                journal.insert().values(
                    key=step.key,
                    run_id=step.run_id,
                    target=step.target,
                    stage=step.stage,
                    action=step.action,
                    changed=False,
                    decision=json.dumps(dict(step.decision), sort_keys=True),
                    attempts=step.attempts,
                    generation=step.generation,
                    **holder_values(step.worker),
                    started_at=step.started_at,
                )
            )

    def record(self, run_id: str, kind: str, fields: Mapping[str, t.Any]) -> None:
        """An observation, for the record only. The kinds and their fields are in `_ledger_fields.KINDS`.

        :raises LedgerRefused: unknown kind or field, or something that looks like a credential.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            self.ledger.append(connection, run_id, kind, fields)
            if kind in _INCIDENT_STATUS:
                advance_incident(connection, run_id, _INCIDENT_STATUS[kind], utc_now())

    def steps(self, run_id: str) -> list[Step]:
        """The steps of a run in the order in which they were first begun."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(journal).where(journal.c.run_id == run_id).order_by(journal.c.id)).all()
        return [_step(row, "done" if row.outcome == "ok" else "in_doubt") for row in rows]

    def proven_versions(self, target: str, kind: str) -> list[str]:
        """The versions of a target that runs have seen working after they brought them back, the latest first."""
        query = (
            sa.select(journal.c.result)
            .where(journal.c.target == target, journal.c.outcome == "ok", journal.c.action.like(f"{PROOF}%"))
            .order_by(journal.c.id.desc())
            .limit(_MOST_PROOFS)
        )
        with self.database.read() as connection:
            results = [json.loads(row.result or "{}") for row in connection.execute(query)]
        return list(dict.fromkeys(str(each["version"]) for each in results if each.get("kind") == kind))

    def open_intents(self, run_id: str) -> list[Step]:
        """Steps that were begun and have no result; `worker` is the process that may still be at it."""
        return [step for step in self.steps(run_id) if step.finished_at is None]


def facts(values: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The part of a decision or result that the record shows."""
    return {name: value for name, value in values.items() if name in FACTS}


def _open_gate(connection: Connection, run_id: str, target: str) -> None:
    """The run, its target and its change allow a step; from here on the change is being carried out."""
    row = connection.execute(
        sa.select(
            runs.c.status,
            runs.c.change_id,
            run_targets.c.status.label("target_status"),
            changes.c.status.label("change_status"),
        )
        .join(run_targets, run_targets.c.run_id == runs.c.run_id)
        .join(changes, changes.c.change_id == runs.c.change_id)
        .where(runs.c.run_id == run_id, run_targets.c.target == target)
    ).one_or_none()
    if row is None:
        raise Refused(f"{target} is no target of run {run_id}", f"codeblue audit show {run_id}")
    if row.status == "closed" or row.target_status == "closed":
        raise Refused(f"run {run_id} is closed for {target}", "start a new run")
    if row.change_status == "submitted":
        raise Refused(f"{row.change_id} waits for an approval", f"codeblue change approve {row.change_id}")
    if row.change_status == "approved":
        connection.execute(changes.update().where(changes.c.change_id == row.change_id).values(status="implementing"))


def _step(row: sa.Row[t.Any], state: str) -> Step:
    return Step(
        id=row.id,
        key=row.key,
        run_id=row.run_id,
        target=row.target,
        stage=row.stage,
        action=row.action,
        state=state,
        decision=json.loads(row.decision),
        result=json.loads(row.result) if row.result is not None else None,
        attempts=row.attempts,
        worker=holder_of(row),
        generation=row.generation,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=row.outcome,
        changed=bool(row.changed),
    )
