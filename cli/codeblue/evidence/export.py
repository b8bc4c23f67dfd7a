"""Gives pieces of evidence out, decrypted, and writes down who got them."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import TAKEN, CustodyEntry, KeptPiece
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity


def export(
    evidence: EvidenceStore, destination: Path, identity: Identity, because: str, target: str | None, name: str | None
) -> list[Path]:
    """Write pieces as plain files for this account alone.

    The access is in the custody record and in the record of the run before the first byte is decrypted.

    :param target: only what is about it.
    :param name: only pieces whose name holds this text.
    :raises CodeblueError: a piece is missing, altered or meant for others; the pieces before it are there.
    """
    chosen = _chosen(evidence, target, name)
    if not chosen:
        raise BadInput("no piece of evidence fits", "codeblue evidence list RUN names the pieces")
    try:
        destination.mkdir(parents=True, mode=0o700, exist_ok=True)
        if any(destination.iterdir()):
            raise BadInput(f"{destination} is not empty", "give a missing or empty directory")
    except OSError as error:
        raise BadInput(f"{destination}: {error.strerror}", "give a missing or empty directory") from error
    for entry, pieces in chosen:
        evidence.accessed(entry, pieces, because, f"{len(pieces)} pieces exported in plain")
    return [_write(evidence, piece, destination, identity) for _entry, pieces in chosen for piece in pieces]


def _chosen(
    evidence: EvidenceStore, target: str | None, name: str | None
) -> list[tuple[CustodyEntry, list[KeptPiece]]]:
    found = []
    for entry in evidence.custody.entries():
        if entry.kind != TAKEN or (target is not None and entry.target != target):
            continue
        pieces = [piece for piece in entry.pieces if piece.file is not None and (name is None or name in piece.name)]
        if pieces:
            found.append((entry, pieces))
    return found


def _write(evidence: EvidenceStore, piece: KeptPiece, destination: Path, identity: Identity) -> Path:
    path = destination / str(piece.file).removesuffix(".age")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            try:
                evidence.read(piece, identity, stream.write)
            except CodeblueError:
                # What cannot be held against its hash must not be taken for evidence.
                path.unlink()
                raise
    except OSError as error:
        raise CodeblueError(f"{path}: {error.strerror}", "free space, or choose another directory") from error
    return path
