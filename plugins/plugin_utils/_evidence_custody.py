# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The custody record of a run's evidence: who took it, who opened it, in a chain that only grows.

One file per run, `custody.jsonl`, one canonical JSON object (RFC 8785) per line. Each names the SHA-256 of the line
before it, and the digest of every line stands in the signed record of the run: neither can be changed alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import typing as t
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import rfc8785
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import write_error
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

FILE_NAME = "custody.jsonl"
TAKEN = "taken"
ACCESSED = "accessed"
# What the first line stands on.
NOTHING_BEFORE = "0" * 64
# A run that takes evidence of a thousand machines writes lines of some kilobytes each.
_LARGEST_FILE = 64 * 1024 * 1024


@dataclass(frozen=True)
class KeptPiece:
    """One piece of evidence: hashes and sizes, never its content.

    :param file: relative to the run's directory; None when nobody is named whom it could be encrypted to.
    """

    name: str
    sha256: str
    size_bytes: int
    file: str | None = None
    sealed_sha256: str | None = None
    sealed_bytes: int | None = None


@dataclass(frozen=True)
class CustodyEntry:
    """One line of the custody record.

    :param kind: `taken` or `accessed`.
    :param target: the service or machine that the evidence is about.
    :param origin: the machine that it was read from; for an access, the controller.
    :param by: who, as far as the operating system vouches for the name.
    :param digest: SHA-256 of the line; what the record of the run holds.
    """

    seq: int
    kind: str
    target: str
    name: str
    at: str
    by: str
    by_source: str
    verified: bool
    controller: str
    origin: str
    pieces: tuple[KeptPiece, ...]
    recipients: str | None
    summary: str
    purpose: str
    digest: str

    @property
    def sha256(self) -> str:
        """One digest over the plaintexts of all pieces, in their order."""
        return hashlib.sha256("".join(piece.sha256 for piece in self.pieces).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self.pieces)

    def as_record(self) -> dict[str, t.Any]:
        """As it stands in the record of the run."""
        fields: dict[str, t.Any] = {
            "target": self.target,
            "name": self.name,
            "by": self.by,
            "verified": self.verified,
            "machine": self.origin,
            "pieces": [
                {key: value for key, value in asdict(piece).items() if value is not None} for piece in self.pieces
            ],
            "custody_seq": self.seq,
            "custody_sha256": self.digest,
            "summary": self.summary,
        }
        if self.kind == ACCESSED:
            return {**fields, "purpose": self.purpose, "controller": self.controller}
        return {**fields, "sha256": self.sha256, "size_bytes": self.size_bytes, "recipients": self.recipients}


class CustodyDamaged(CodeblueError):
    """A line was changed, removed or put in another order."""


class CustodyRecord:
    """The file of one run.

    :param path: of the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[CustodyEntry]:
        """All entries in order.

        :raises CustodyDamaged: a line does not follow from the one before it; it is named.
        """
        try:
            with self.path.open("rb") as stream:
                content = stream.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CodeblueError(f"{self.path}: {error.strerror}", "check its owner and mode") from error
        if len(content) > _LARGEST_FILE:
            raise CodeblueError(f"{self.path} is larger than any custody record")
        # A line that was cut off by a crash was never acknowledged and counts for nothing.
        return list(_read(self.path, content.split(b"\n")[:-1]))

    def append(self, fields: Callable[[int], Mapping[str, t.Any]]) -> CustodyEntry:
        """Add a line at the end, flushed to disk before this returns.

        :param fields: called with the number of the line: what it says, without what this class fills in.
        """
        operator = current_operator()
        with self._alone() as descriptor:
            entries = self.entries()
            seq = len(entries)
            line = {
                "purpose": "",
                "recipients": None,
                **fields(seq),
                "seq": seq,
                "prev": entries[-1].digest if entries else NOTHING_BEFORE,
                "at": utc_now(),
                "by": operator.name,
                "by_source": operator.source,
                "verified": operator.verified,
                "controller": socket.gethostname(),
            }
            body = rfc8785.dumps(line)
            try:
                _end_at_whole_line(self.path, descriptor)
                _write_all(descriptor, body + b"\n")
                os.fsync(descriptor)
            except OSError as error:
                raise write_error(self.path, error) from error
            return _entry(line, hashlib.sha256(body).hexdigest())

    @contextmanager
    def _alone(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            # Held for one short write; it goes with the process.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _end_at_whole_line(path: Path, descriptor: int) -> None:
    """Cut what a crash left of a line that was never acknowledged."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.ftruncate(descriptor, path.read_bytes().rfind(b"\n") + 1)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _read(path: Path, lines: list[bytes]) -> Iterator[CustodyEntry]:
    before = NOTHING_BEFORE
    for seq, body in enumerate(lines):
        try:
            line = json.loads(body)
            whole = line["seq"] == seq and line["prev"] == before
            entry = _entry(line, hashlib.sha256(body).hexdigest())
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise CustodyDamaged(
                f"{path}: line {seq + 1} does not follow from the one before it",
                "the custody record was altered; the record of the run still has the digests of its lines",
            )
        before = entry.digest
        yield entry


def _entry(line: Mapping[str, t.Any], digest: str) -> CustodyEntry:
    values = {name: line[name] for name in CustodyEntry.__dataclass_fields__ if name not in ("pieces", "digest")}
    pieces = tuple(KeptPiece(**piece) for piece in line["pieces"])
    return CustodyEntry(**values, pieces=pieces, digest=digest)
