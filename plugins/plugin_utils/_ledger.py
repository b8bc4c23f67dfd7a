# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The record of a run: a chain of signed records that only grows.

Each record is canonical JSON (RFC 8785) and names the SHA-256 of the one before it. The hash of every record
is signed, so every record is a signed head: whoever has a later one can tell that earlier ones were not touched.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import rfc8785
import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import ledger_fields
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import ledger, runs
from sqlalchemy.engine import Connection

EXPORT_FORMAT = "codeblue-ledger-1"
# What the hash of the first record of a chain stands on.
NO_RECORD = "0" * 64
# Keeps a signature over a head from being taken for a signature over anything else.
_SIGNED_AS = b"codeblue-ledger-1 head "


@dataclass(frozen=True)
class Head:
    """The end of a chain, signed: what is copied to a place that the operator cannot rewrite."""

    run_id: str
    segment: int
    seq: int
    hash: str
    at: str
    kind: str
    key_id: str
    signature: str

    def as_dict(self) -> dict[str, t.Any]:
        return {"head": EXPORT_FORMAT, **self.__dict__}


def canonical(value: t.Any) -> bytes:
    """RFC 8785 canonical JSON."""
    return rfc8785.dumps(value)


def digest(value: t.Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def head_message(run_id: str, segment: int, seq: int, record_hash: str) -> bytes:
    """What is signed."""
    return _SIGNED_AS + f"{run_id} {segment} {seq} {record_hash}".encode("ascii")


class Ledger:
    """Appends to the chains of one store.

    :param key: gives the key; called when the first record is written, not before.
    """

    def __init__(self, key: t.Callable[[], LedgerKey]) -> None:
        self._make_key = key
        self._key: LedgerKey | None = None

    @property
    def key(self) -> LedgerKey:
        if self._key is None:
            self._key = self._make_key()
        return self._key

    def append(
        self,
        connection: Connection,
        run_id: str,
        kind: str,
        fields: Mapping[str, t.Any],
        *,
        replace_secrets: bool = False,
    ) -> Head:
        """Add a record at the end of the run's chain, in the caller's transaction.

        :raises LedgerRefused: a field is not allowed or looks like a credential.
        """
        row = connection.execute(
            sa.select(runs.c.segment, runs.c.head_seq, runs.c.head_hash)
            .where(runs.c.run_id == run_id)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise BadInput(f"there is no run {run_id}", "codeblue audit list shows the runs")
        record = {
            "run": run_id,
            "segment": row.segment,
            "seq": row.head_seq + 1,
            "at": utc_now(),
            "kind": kind,
            "fields": ledger_fields(kind, fields, replace_secrets=replace_secrets),
            "prev": row.head_hash,
        }
        body = canonical(record)
        record_hash = hashlib.sha256(body).hexdigest()
        signature = self.key.sign(head_message(run_id, row.segment, record["seq"], record_hash))
        connection.execute(
            ledger.insert().values(
                run_id=run_id,
                segment=row.segment,
                seq=record["seq"],
                kind=kind,
                body=body.decode("utf-8"),
                hash=record_hash,
                key_id=self.key.key_id,
                signature=signature,
            )
        )
        connection.execute(
            runs.update().where(runs.c.run_id == run_id).values(head_seq=record["seq"], head_hash=record_hash)
        )
        return Head(run_id, row.segment, record["seq"], record_hash, record["at"], kind, self.key.key_id, signature)


def head_of(connection: Connection, run_id: str) -> Head:
    """The latest head of a run."""
    row = connection.execute(
        sa.select(ledger)
        .where(ledger.c.run_id == run_id)
        .order_by(ledger.c.segment.desc(), ledger.c.seq.desc())
        .limit(1)
    ).one()
    return Head(run_id, row.segment, row.seq, row.hash, json.loads(row.body)["at"], row.kind, row.key_id, row.signature)


def ledger_rows(connection: Connection, run_id: str) -> Iterator[sa.Row[t.Any]]:
    """The rows of a run in order."""
    yield from connection.execute(
        sa.select(ledger).where(ledger.c.run_id == run_id).order_by(ledger.c.segment, ledger.c.seq)
    )


def export_lines(connection: Connection, run_id: str, public_keys: Mapping[str, str]) -> Iterator[str]:
    """An export as JSON lines: a header, every record with its hash and signature, the head of each segment.

    :param public_keys: key id -> PEM, for convenience; whoever verifies uses a pinned copy instead.
    """
    yield json.dumps({"header": EXPORT_FORMAT, "run": run_id, "exported_at": utc_now(), "public_keys": public_keys})
    heads: dict[int, Head] = {}
    for row in ledger_rows(connection, run_id):
        record = json.loads(row.body)
        yield json.dumps(
            {"record": record, "hash": row.hash, "key_id": row.key_id, "signature": row.signature}, ensure_ascii=False
        )
        heads[row.segment] = Head(
            run_id, row.segment, row.seq, row.hash, record["at"], row.kind, row.key_id, row.signature
        )
    for _segment, head in sorted(heads.items()):
        yield json.dumps(head.as_dict())
