"""Holds evidence against its custody record, and that against the signed record of the run."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import (
    TAKEN,
    CustodyDamaged,
    CustodyEntry,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity


def problems_of(evidence: EvidenceStore, identity: Identity | None) -> tuple[list[str], int]:
    """What is wrong, in words, and how many pieces were looked at.

    :param identity: also decrypts every piece and holds it against the hash of its plaintext; that is an access and
        is written down as one.
    """
    try:
        entries = evidence.custody.entries()
    except CustodyDamaged as error:
        return [error.message], 0
    problems = _custody_against_record(evidence, entries)
    pieces = 0
    for entry in entries:
        if entry.kind != TAKEN:
            continue
        kept = [piece for piece in entry.pieces if piece.file is not None]
        if identity is not None and kept:
            evidence.accessed(entry, kept, "verification", "decrypted in memory and compared with its hashes")
        for piece in kept:
            pieces += 1
            damage = evidence.damage(piece)
            if not damage and identity is not None:
                try:
                    evidence.read(piece, identity, lambda _block: None)
                except CodeblueError as error:
                    damage = error.message
            if damage:
                problems.append(damage)
    return problems, pieces


def _custody_against_record(evidence: EvidenceStore, entries: list[CustodyEntry]) -> list[str]:
    """Lines that the signed record does not know, and lines that it knows and that are gone."""
    recorded = evidence.recorded()
    here = {entry.digest for entry in entries}
    problems = [
        f"line {entry.seq + 1} of the custody record is not in the record of the run"
        for entry in entries
        if entry.digest not in recorded
    ]
    problems += [
        f"line {fields['custody_seq'] + 1} of the custody record is missing or was altered"
        for digest, fields in recorded.items()
        if digest not in here
    ]
    return problems
