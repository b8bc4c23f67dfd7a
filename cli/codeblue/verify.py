"""Verifies an exported record without the store, and without the rest of codeblue.

It needs the export, the pinned public key and a head that was copied elsewhere; of packages only cryptography and
rfc8785. It is written apart from what writes the record, so that one mistake does not hide in both. Run it from
the collection (`codeblue audit verify`) or copy this one file to the machine of an auditor:

    python3 verify.py run.jsonl --public-key ledger.key.pub --head heads.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

FORMAT = "codeblue-ledger-1"
NO_RECORD = "0" * 64
OK, BAD, BAD_INPUT, UNPROVEN = 0, 1, 2, 4
_HEAD_FIELDS = ("head", "run_id", "segment", "seq", "hash", "at", "kind", "key_id", "signature")
_ENTRY_FIELDS = ("record", "hash", "key_id", "signature")
_LARGEST_FILE = 256 * 1024 * 1024


class Damaged(Exception):
    """The record is not what was written.

    :ivar segment: of the chain where it shows.
    :ivar seq: of the first record that is bad or missing; None when it is the file as a whole.
    """

    def __init__(self, message: str, segment: int | None = None, seq: int | None = None) -> None:
        super().__init__(message)
        self.segment = segment
        self.seq = seq


class UnusableInput(Exception):
    """A file that cannot be used: nothing is said about the record."""


@dataclass(frozen=True)
class Verdict:
    """What verification found.

    :param exit_code: 0 whole and complete, 1 damaged, 4 whole as far as it goes but perhaps not complete.
    :param segment: of the first bad record, if there is one.
    :param seq: of the first bad or missing record.
    """

    exit_code: int
    message: str
    run: str | None = None
    records: int = 0
    segment: int | None = None
    seq: int | None = None

    @property
    def verdict(self) -> str:
        return {OK: "complete", BAD: "damaged", UNPROVEN: "completeness_unproven"}[self.exit_code]


@dataclass(frozen=True)
class _Record:
    segment: int
    seq: int
    at: str
    kind: str
    prev: str
    hash: str
    fields: Mapping[str, Any]


class _Keys:
    """The pinned public keys."""

    def __init__(self, pems: Iterable[bytes]) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        for pem in pems:
            try:
                key = load_pem_public_key(pem)
            except (ValueError, UnsupportedAlgorithm):
                raise UnusableInput("the public key is not in PEM format") from None
            if not isinstance(key, Ed25519PublicKey):
                raise UnusableInput("the public key is not an Ed25519 key")
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            self._keys[hashlib.sha256(raw).hexdigest()] = key

    def check(self, head: Mapping[str, Any], what: str) -> None:
        segment, seq = head["segment"], head["seq"]
        key = self._keys.get(str(head["key_id"]))
        if key is None:
            raise Damaged(f"{what} is signed by another key ({str(head['key_id'])[:16]}…)", segment, seq)
        message = f"{FORMAT} head {head['run_id']} {segment} {seq} {head['hash']}"
        try:
            signature = bytes.fromhex(str(head["signature"]))
            if signature.hex() != head["signature"]:
                raise ValueError("not as it was written")
            key.verify(signature, message.encode("utf-8"))
        except (InvalidSignature, ValueError):
            raise Damaged(f"{what} has a wrong signature", segment, seq) from None


def verify_export(lines: Sequence[str], public_keys: Iterable[bytes], heads: Iterable[Mapping[str, Any]]) -> Verdict:
    """Hold an export against pinned keys and copied heads.

    :param lines: of the export.
    :param public_keys: in PEM format.
    :param heads: copied heads; those of other runs are left out.
    :raises UnusableInput: a key or the export cannot be read at all.
    """
    keys = _Keys(public_keys)
    run: str | None = None
    try:
        run, entries, own_heads = _parse(lines)
        segments = _check_records(run, entries, keys)
        _check_branches(segments)
        _check_own_end(run, segments, own_heads, keys)
        anchored = _check_anchors(run, segments, heads, keys)
    except Damaged as damage:
        return Verdict(BAD, str(damage), run, max(0, len(lines) - 1), damage.segment, damage.seq)
    count = sum(len(records) for records in segments.values())
    gap = _unproven(segments, anchored)
    if gap is not None:
        return Verdict(UNPROVEN, f"the chain of {count} records is whole, but {gap}", run, count)
    return Verdict(OK, f"{count} records, whole and complete", run, count)


def read_heads(text: str) -> list[Mapping[str, Any]]:
    """The heads in a file of copied heads: JSON, JSON lines, or log lines that end with the JSON.

    :raises UnusableInput: there is none in it.
    """
    try:
        whole = json.loads(text)
        candidates = [whole] if isinstance(whole, dict) else []
    except ValueError:
        candidates = []
        for line in text.splitlines():
            start = line.find("{")
            if start >= 0:
                try:
                    candidates.append(json.loads(line[start:]))
                except ValueError:
                    continue
    found: list[Mapping[str, Any]] = [
        item for item in candidates if item.get("head") == FORMAT and all(name in item for name in _HEAD_FIELDS)
    ]
    if not found:
        raise UnusableInput("there is no head in the head file")
    return found


def _parse(lines: Sequence[str]) -> tuple[str, list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    parsed: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line, object_pairs_hook=_no_duplicates)
        except ValueError as error:
            raise Damaged(f"line {number} of the export cannot be read: {error}") from None
        if not isinstance(item, dict):
            raise Damaged(f"line {number} of the export is not an object")
        parsed.append(item)
    if not parsed or parsed[0].get("header") != FORMAT or not isinstance(parsed[0].get("run"), str):
        raise UnusableInput("this is no export of a codeblue record")
    entries = [item for item in parsed[1:] if "record" in item]
    own_heads = [item for item in parsed[1:] if "head" in item]
    exact = {frozenset(_ENTRY_FIELDS), frozenset(_HEAD_FIELDS)}
    if any(frozenset(item) not in exact or item.get("head", FORMAT) != FORMAT for item in parsed[1:]):
        raise Damaged("the export holds a line that is neither a record nor a head")
    if not entries:
        raise Damaged("the export holds no record", 0, 0)
    return str(parsed[0]["run"]), entries, own_heads


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) != len(pairs):
        raise ValueError("a name stands there twice")
    return item


def _check_records(run: str, entries: Sequence[Mapping[str, Any]], keys: _Keys) -> dict[int, list[_Record]]:
    segments: dict[int, list[_Record]] = {}
    for entry in entries:
        record = _record(entry)
        chain = segments.setdefault(record.segment, [])
        where = (record.segment, len(chain))
        if entry["record"].get("run") != run:
            raise Damaged(f"{_name(*where)} belongs to another run", *where)
        if record.seq != len(chain):
            what = "is missing or out of order" if record.seq > len(chain) else "stands there twice or out of order"
            at = len(chain) if record.seq > len(chain) else record.seq
            raise Damaged(f"{_name(record.segment, at)} {what}", record.segment, at)
        try:
            actual = hashlib.sha256(rfc8785.dumps(entry["record"])).hexdigest()
        except rfc8785.CanonicalizationError:
            raise Damaged(f"{_name(*where)} was edited", *where) from None
        if actual != record.hash:
            raise Damaged(f"{_name(*where)} was edited", *where)
        if chain and record.prev != chain[-1].hash:
            raise Damaged(f"{_name(*where)} does not follow from the one before it", *where)
        keys.check({"run_id": run, "segment": where[0], "seq": where[1], **_signed(entry)}, _name(*where))
        chain.append(record)
    return segments


def _record(entry: Mapping[str, Any]) -> _Record:
    body = entry["record"]
    try:
        segment, seq = body["segment"], body["seq"]
        if type(segment) is not int or type(seq) is not int or not isinstance(body["fields"], dict):
            raise TypeError
        _signed(entry)
        return _Record(
            segment, seq, str(body["at"]), str(body["kind"]), str(body["prev"]), str(entry["hash"]), body["fields"]
        )
    except (KeyError, TypeError):
        raise Damaged("a record of the export is not made as records are") from None


def _signed(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("hash", "key_id", "signature")}


def _check_branches(segments: Mapping[int, list[_Record]]) -> None:
    """A chain begins from nothing, or, in a spool, from the last head that was known."""
    if 0 not in segments:
        raise Damaged(f"{_name(0, 0)} is missing, and all of its chain", 0, 0)
    for segment, records in segments.items():
        first = records[0]
        if segment == 0:
            if first.prev != NO_RECORD:
                raise Damaged(f"{_name(0, 0)} is not the first of its chain", 0, 0)
            continue
        if first.kind != "segment_opened":
            raise Damaged(f"{_name(segment, 0)} does not say what it continues", segment, 0)
        continued = first.fields.get("continues_hash", NO_RECORD)
        if first.prev != continued:
            raise Damaged(f"{_name(segment, 0)} does not follow from what it continues", segment, 0)
        if continued != NO_RECORD:
            _must_hold(segments, first.fields, "continues_segment", "continues_seq", "continues_hash")
    for record in segments[0]:
        if record.kind == "segment_taken_in":
            _must_hold(segments, record.fields, "taken_segment", "last_seq", "last_hash")


def _must_hold(
    segments: Mapping[int, list[_Record]], fields: Mapping[str, Any], segment_name: str, seq_name: str, hash_name: str
) -> None:
    segment, seq = fields.get(segment_name), fields.get(seq_name)
    if type(segment) is not int or type(seq) is not int:
        raise Damaged("a record that joins two chains lacks its parts")
    records = segments.get(segment, [])
    if seq >= len(records):
        raise Damaged(f"{_name(segment, len(records))} and later are missing", segment, len(records))
    if records[seq].hash != fields.get(hash_name):
        raise Damaged(f"{_name(segment, seq)} is not the one that another chain names", segment, seq)


def _check_own_end(
    run: str, segments: Mapping[int, list[_Record]], own_heads: Sequence[Mapping[str, Any]], keys: _Keys
) -> None:
    """The export ends with a head per chain: without it the file was cut off."""
    ends = {head.get("segment"): head for head in own_heads}
    for segment, records in segments.items():
        head = ends.get(segment)
        if head is None:
            raise Damaged(
                f"the export is cut off after {_name(segment, len(records) - 1)}: its head is missing",
                segment,
                len(records),
            )
        keys.check(head, f"the export's head of segment {segment}")
        _compare(run, head, records)
    if len(own_heads) != len(segments):
        raise Damaged("the export holds heads of chains that are missing")


def _check_anchors(
    run: str, segments: Mapping[int, list[_Record]], heads: Iterable[Mapping[str, Any]], keys: _Keys
) -> dict[int, int]:
    """Segment -> the last record that a copied head proves."""
    proven: dict[int, int] = {}
    for head in heads:
        if head.get("run_id") != run:
            continue
        segment, seq = head["segment"], head["seq"]
        if type(segment) is not int or type(seq) is not int:
            raise Damaged("a copied head lacks its parts")
        keys.check(head, f"the copied head {seq} of segment {segment}")
        _compare(run, head, segments.get(segment, []))
        proven[segment] = max(seq, proven.get(segment, -1))
    return proven


def _compare(run: str, head: Mapping[str, Any], records: Sequence[_Record]) -> None:
    segment, seq = int(head["segment"]), int(head["seq"])
    if head["run_id"] != run:
        raise Damaged("a head of the export belongs to another run")
    if seq >= len(records):
        missing = f"{seq - len(records) + 1} missing at the end" if records else "all of its chain is missing"
        raise Damaged(f"{_name(segment, len(records))} and later are missing: {missing}", segment, len(records))
    record = records[seq]
    if (record.hash, record.at, record.kind) != (head["hash"], head["at"], head["kind"]):
        raise Damaged(f"{_name(segment, seq)} is not the one that its head names", segment, seq)


def _unproven(segments: Mapping[int, list[_Record]], anchored: Mapping[int, int]) -> str | None:
    """What keeps the record from being provably complete, or None."""
    if not anchored:
        return "without a copied head nothing proves that it is complete"
    taken = {record.fields["taken_segment"] for record in segments[0] if record.kind == "segment_taken_in"}
    for segment, records in sorted(segments.items()):
        last = len(records) - 1
        if segment not in taken and anchored.get(segment, -1) < last:
            after = anchored.get(segment)
            known = f"after {_name(segment, after)}" if after is not None else f"of segment {segment}"
            return f"no copied head covers the records {known}"
    if not any(record.kind == "run_closed" for records in segments.values() for record in records):
        return "the run was not closed when the head was copied: later records may be missing"
    return None


def _name(segment: int, seq: int) -> str:
    return f"record {seq}" if segment == 0 else f"record {seq} of segment {segment}"


def read_text(path: Path) -> str:
    """The file's text.

    :raises UnusableInput: it cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UnusableInput(f"{path} is larger than {_LARGEST_FILE} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UnusableInput(f"{path} is not UTF-8 text") from None


def verify_files(export: Path, public_keys: Sequence[Path], heads: Sequence[Path]) -> Verdict:
    """`verify_export` on files.

    :raises UnusableInput: one of them cannot be used.
    """
    copied = [head for path in heads for head in read_heads(read_text(path))]
    return verify_export(
        read_text(export).splitlines(), [read_text(path).encode("utf-8") for path in public_keys], copied
    )


def main() -> NoReturn:
    parser = argparse.ArgumentParser(
        description="Verify an exported codeblue record.",
        epilog="Exit codes: 0 whole and complete, 1 damaged, 2 unusable input, 4 whole but completeness unproven.",
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("--public-key", type=Path, action="append", required=True, help="pinned; may be repeated")
    parser.add_argument("--head", type=Path, action="append", default=[], help="copied heads; may be repeated")
    given = parser.parse_args()
    try:
        verdict = verify_files(given.export, given.public_key, given.head)
    except UnusableInput as error:
        print(f"verify: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    print(verdict.message)
    sys.exit(verdict.exit_code)


if __name__ == "__main__":
    main()
