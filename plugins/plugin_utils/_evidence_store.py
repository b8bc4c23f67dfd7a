# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evidence on the controller: pieces encrypted to named recipients, and a custody record of who took and opened them.

    <directory>/<run>/custody.jsonl         see `_evidence_custody`
    <directory>/<run>/<target>/<piece>.age  an age file; a person without this program reads it by
                                            `age -d -i IDENTITY PIECE.age`

Evidence may hold secrets and patient data: its content exists in memory and under encryption only. What is taken is
never overwritten. Results, reports and the record of the run hold names, sizes, counts and hashes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyrage
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import sync_directory, write_error
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import (
    ACCESSED,
    FILE_NAME,
    TAKEN,
    CustodyEntry,
    CustodyRecord,
    KeptPiece,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients

# One piece; a larger one is cut there and says so. Evidence must not fill the controller's disk in an emergency.
LARGEST_PIECE = 256 * 1024 * 1024
_BLOCK = 1024 * 1024
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 80


class RunRecord(t.Protocol):
    """What evidence needs of the state store: the signed record of the run."""

    def record(self, run_id: str, kind: str, fields: Mapping[str, t.Any]) -> None:
        """Append to the record of the run."""

    def ledger_records(self, run_id: str) -> list[dict[str, object]]:
        """The record of the run, in order."""


@dataclass(frozen=True)
class Piece:
    """Something to keep.

    :param name: for people; it becomes part of a file name.
    :param content: bytes, or a stream that is read once, piece by piece, and never held whole.
    """

    name: str
    content: bytes | t.BinaryIO


def evidence_directory(given: str | None = None) -> Path:
    """Where evidence lies: `codeblue_evidence_directory`, else beside the state."""
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "codeblue" / "evidence"


class EvidenceStore:
    """The evidence of one run.

    :param directory: of all runs.
    :param run_id: whose evidence.
    :param record: the state store.
    :param recipients: to whom pieces are encrypted; None keeps hashes and sizes only.
    """

    def __init__(self, directory: Path, run_id: str, record: RunRecord, recipients: Recipients | None = None) -> None:
        self.directory = directory / run_id
        self.run_id = run_id
        self._record = record
        self._recipients = recipients
        self.custody = CustodyRecord(self.directory / FILE_NAME)

    def taken(self, target: str, name: str) -> CustodyEntry | None:
        """What was taken of this target under this name, by this or an earlier attempt of the run."""
        found = [
            each for each in self.custody.entries() if (each.kind, each.target, each.name) == (TAKEN, target, name)
        ]
        if not found:
            return None
        # An attempt that was cut off between the custody record and the record of the run.
        self._into_the_record(found[-1])
        return found[-1]

    def keep(self, target: str, name: str, pieces: Iterable[Piece], origin: str, summary: str = "") -> CustodyEntry:
        """Encrypt the pieces and write down who took them. What was taken before stands and is returned.

        :param target: the service or machine that it is about.
        :param name: of the whole, unique for the target within the run, such as `machine` or `access_extract`.
        :param origin: the machine that it was read from.
        :param summary: one line for people, without secrets and patient data.
        :raises CodeblueError: it cannot be written.
        """
        earlier = self.taken(target, name)
        if earlier is not None:
            return earlier
        prefix = f"{_plain_name(target)}/{_plain_name(name)}"
        kept = tuple(self._keep_one(prefix, position, piece) for position, piece in enumerate(pieces))
        entry = self.custody.append(
            lambda _seq: {
                "kind": TAKEN,
                "target": target,
                "name": name,
                "origin": origin,
                "pieces": [vars(piece) for piece in kept],
                "recipients": self._recipients.fingerprint if self._recipients else None,
                "summary": summary,
            }
        )
        self._into_the_record(entry)
        return entry

    def accessed(self, entry: CustodyEntry, pieces: Sequence[KeptPiece], purpose: str, summary: str) -> CustodyEntry:
        """Write down that somebody opened pieces, before they get to see them.

        :param purpose: why, in the words of whoever opened them.
        """
        opened = self.custody.append(
            lambda _seq: {
                "kind": ACCESSED,
                "target": entry.target,
                "name": entry.name,
                "origin": os.uname().nodename,
                "pieces": [vars(piece) for piece in pieces],
                "summary": summary,
                "purpose": purpose,
            }
        )
        self._into_the_record(opened)
        return opened

    def read(self, piece: KeptPiece, identity: Identity, write: Callable[[bytes], object]) -> None:
        """Decrypt a piece, block by block, and hold it against its hash.

        :raises CodeblueError: it is missing, altered, or meant for others. What was written until then is worthless.
        """
        path = self._path(piece)
        sink = _Sink(write, LARGEST_PIECE)
        try:
            with path.open("rb") as sealed:
                identity.decrypt_stream(sealed, sink)
        except OSError as error:
            raise CodeblueError(f"{path}: {error.strerror or 'was altered'}") from error
        if (sink.digest.hexdigest(), sink.size) != (piece.sha256, piece.size_bytes):
            raise CodeblueError(f"{path} holds something else than was taken")

    def damage(self, piece: KeptPiece) -> str:
        """What is wrong with the stored form of a piece; empty when nothing is. Needs no key."""
        if piece.file is None:
            return ""
        path = self._path(piece)
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as sealed:
                for block in iter(lambda: sealed.read(_BLOCK), b""):
                    digest.update(block)
                    size += len(block)
        except FileNotFoundError:
            return f"{piece.file} is missing"
        except OSError as error:
            return f"{piece.file} cannot be read: {error.strerror}"
        whole = (digest.hexdigest(), size) == (piece.sealed_sha256, piece.sealed_bytes)
        return "" if whole else f"{piece.file} was altered"

    def recorded(self) -> dict[str, dict[str, t.Any]]:
        """What the record of the run says of its custody record, by the digest of the line."""
        found = {}
        for record in self._record.ledger_records(self.run_id):
            fields = t.cast("dict[str, t.Any]", record["fields"])
            if record["kind"] in ("evidence", "evidence_access") and "custody_sha256" in fields:
                found[str(fields["custody_sha256"])] = fields
        return found

    def _path(self, piece: KeptPiece) -> Path:
        if piece.file is None:
            raise BadInput(f"{piece.name}: only its hash was kept", "nobody was named whom it could be encrypted to")
        path = (self.directory / piece.file).resolve()
        if self.directory.resolve() not in path.parents:
            raise CodeblueError(f"the custody record names a file outside of {self.directory}")
        return path

    def _into_the_record(self, entry: CustodyEntry) -> None:
        if entry.digest in self.recorded():
            return
        fields = entry.as_record()
        if entry.kind == TAKEN and self._recipients is not None:
            fields["location"] = str(self.directory)
        self._record.record(self.run_id, "evidence" if entry.kind == TAKEN else "evidence_access", fields)

    def _keep_one(self, prefix: str, position: int, piece: Piece) -> KeptPiece:
        source = _Source(io.BytesIO(piece.content) if isinstance(piece.content, bytes) else piece.content)
        if self._recipients is None:
            for _block in iter(lambda: source.read(_BLOCK), b""):
                pass
            return KeptPiece(piece.name, source.digest.hexdigest(), source.size)
        file = f"{prefix}-{position:03d}-{_plain_name(piece.name)}.age"
        path = self.directory / file
        with _new_file(path) as stream:
            sink = _Sink(stream.write, LARGEST_PIECE * 2)
            self._recipients.encrypt_stream(source, sink)
        return KeptPiece(piece.name, source.digest.hexdigest(), source.size, file, sink.digest.hexdigest(), sink.size)


class _Source(io.RawIOBase):
    """Reads a stream up to the bound and hashes what was read."""

    def __init__(self, stream: t.BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = LARGEST_PIECE - self.size
        block = self._stream.read(min(wanted, size if size >= 0 else _BLOCK)) if wanted else b""
        self.digest.update(block)
        self.size += len(block)
        return block


class _Sink(io.RawIOBase):
    """Hashes and counts what is written."""

    def __init__(self, write: Callable[[bytes], object], most: int) -> None:
        self._write = write
        self._most = most
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, block: t.Any) -> int:
        content = bytes(block)
        self.size += len(content)
        if self.size > self._most:
            raise OSError("it is larger than any piece of evidence")
        self.digest.update(content)
        self._write(content)
        return len(content)


@contextmanager
def _new_file(path: Path) -> Iterator[t.BinaryIO]:
    """A file that appears whole or not at all, for this account alone, and is not written to again."""
    staged = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, staged = tempfile.mkstemp(prefix=".taking-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o400)
            os.fsync(stream.fileno())
        # An attempt that was cut off before its custody record may have left one; it was never evidence.
        Path(staged).replace(path)
        sync_directory(path.parent)
    except (OSError, pyrage.EncryptError) as error:
        if staged:
            # Whatever keeps it from being removed, what is to be told is why it was not written.
            with suppress(OSError):
                Path(staged).unlink()
        raise write_error(
            path, error if isinstance(error, OSError) else OSError(0, "it cannot be encrypted")
        ) from error


def _plain_name(name: str) -> str:
    plain = _NOT_IN_A_NAME.sub("_", name).strip("._")[-_LONGEST_NAME:]
    # Two names that look alike as files stay two.
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
