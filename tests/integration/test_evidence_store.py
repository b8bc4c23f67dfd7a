"""The evidence store: encryption, custody record, verification, export (about 2 s)."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import CustodyDamaged
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
    EvidenceStore,
    Piece,
    evidence_directory,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store
from click.testing import CliRunner
from codeblue.commands.evidence import command
from store_support import isolate, opening

SECRET = b"canary of a patient"


class Case:
    """A run with evidence of one machine."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        key = pyrage.x25519.Identity.generate()
        self.identity = directory / "evidence.agekey"
        self.identity.write_text(str(key))
        self.identity.chmod(0o600)
        self.recipients = Recipients.parse([str(key.to_public())])
        run, _leases = store.open_run(opening("records"))
        self.run_id = run.run_id
        self.evidence = EvidenceStore(evidence_directory(), run.run_id, store, self.recipients)
        self.entry = self.evidence.keep(
            "app1", "machine", [Piece("log:/var/log/a", SECRET * 1000), Piece("connections", b"[]")], "app1"
        )

    def path(self, position: int = 0) -> Path:
        return self.evidence.directory / str(self.entry.pieces[position].file)

    def call(self, *arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        return done.exit_code, done.output


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Case]:
    isolate(monkeypatch, tmp_path)
    store = open_store()
    yield Case(store, tmp_path)
    store.close()


def test_what_is_kept_is_encrypted_and_for_this_account_alone(case: Case) -> None:
    for path in case.evidence.directory.rglob("*"):
        if path.is_file():
            assert SECRET not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    read = io.BytesIO()
    case.evidence.read(case.entry.pieces[0], Identity(case.identity), read.write)
    assert read.getvalue() == SECRET * 1000


def test_the_record_of_the_run_has_hashes_and_nothing_else(case: Case) -> None:
    record = next(each for each in case.store.ledger_records(case.run_id) if each["kind"] == "evidence")
    fields = record["fields"]
    assert isinstance(fields, dict)
    assert fields["custody_sha256"] == case.entry.digest
    assert fields["pieces"][0]["sha256"] == case.entry.pieces[0].sha256
    assert SECRET.decode() not in json.dumps(record)


def test_what_was_taken_stands(case: Case) -> None:
    before = case.path().read_bytes()
    again = case.evidence.keep("app1", "machine", [Piece("log:/var/log/a", b"cleaned by the intruder")], "app1")
    assert again.digest == case.entry.digest
    assert case.path().read_bytes() == before
    assert len(case.evidence.custody.entries()) == 1


def test_a_stream_is_never_held_whole_and_gets_the_same_hash(case: Case) -> None:
    entry = case.evidence.keep("app1", "dump", [Piece("stream", io.BytesIO(SECRET * 500_000))], "app1")
    read = io.BytesIO()
    case.evidence.read(entry.pieces[0], Identity(case.identity), read.write)
    assert read.getvalue() == SECRET * 500_000


def test_without_recipients_only_hashes_are_kept(case: Case) -> None:
    bare = EvidenceStore(evidence_directory(), case.run_id, case.store)
    entry = bare.keep("app2", "machine", [Piece("connections", SECRET)], "app2")
    assert entry.pieces[0].file is None
    assert not (bare.directory / "app2").exists()
    with pytest.raises(BadInput, match="only its hash"):
        bare.read(entry.pieces[0], Identity(case.identity), io.BytesIO().write)


def test_an_attempt_cut_off_before_the_record_of_the_run_is_completed(case: Case) -> None:
    class Lost(EvidenceStore):
        def _into_the_record(self, entry: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lost(evidence_directory(), case.run_id, case.store, case.recipients).keep("db1", "m", [Piece("a", b"1")], "db1")
    entry = case.evidence.keep("db1", "m", [Piece("a", b"2")], "db1")
    assert entry.digest in case.evidence.recorded()
    assert len([each for each in case.evidence.custody.entries() if each.target == "db1"]) == 1


def test_verify_finds_a_flipped_byte_a_missing_piece_and_a_changed_line(case: Case) -> None:
    assert case.call("verify", case.run_id)[0] == 0
    whole = case.path().read_bytes()
    case.path().chmod(0o600)
    case.path().write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    code, said = case.call("verify", case.run_id)
    assert code == 1
    assert "was altered" in said
    case.path().unlink()
    assert "is missing" in case.call("verify", case.run_id)[1]
    case.path().write_bytes(whole)
    custody = case.evidence.custody.path
    lines = custody.read_bytes()
    custody.write_bytes(lines.replace(b'"origin":"app1"', b'"origin":"app9"'))
    code, said = case.call("verify", case.run_id)
    assert code == 1
    assert "not in the record of the run" in said
    custody.write_bytes(b"")
    assert "is missing or was altered" in case.call("verify", case.run_id)[1]


def test_a_line_in_the_middle_cannot_be_changed(case: Case) -> None:
    case.evidence.keep("db1", "machine", [Piece("a", b"1")], "db1")
    custody = case.evidence.custody.path
    custody.write_bytes(custody.read_bytes().replace(b'"origin":"app1"', b'"origin":"app9"'))
    with pytest.raises(CustodyDamaged, match="line 2"):
        case.evidence.custody.entries()


def test_a_torn_last_line_counts_for_nothing(case: Case) -> None:
    custody = case.evidence.custody.path
    with custody.open("ab") as stream:
        stream.write(b'{"seq": 1, "torn')
    assert len(case.evidence.custody.entries()) == 1
    case.evidence.keep("db1", "machine", [Piece("a", b"1")], "db1")
    assert len(case.evidence.custody.entries()) == 2


def test_an_export_is_recorded_with_who_and_why(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "out"
    arguments = ("export", case.run_id, "--to", str(target), "--identity", str(case.identity), "--because", "case 17")
    code, _said = case.call(*arguments, "--piece", "log:")
    assert code == 0
    written = [path for path in target.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in written] == [SECRET * 1000]
    assert stat.S_IMODE(written[0].stat().st_mode) == 0o600
    opened = case.evidence.custody.entries()[-1]
    assert (opened.kind, opened.purpose, len(opened.pieces)) == ("accessed", "case 17", 1)
    record = case.store.ledger_records(case.run_id)[-1]
    assert record["kind"] == "evidence_access"
    assert case.call("verify", case.run_id)[0] == 0
    assert "case 17" in case.call("list")[1]


def test_the_wrong_identity_gets_nothing_and_the_attempt_is_recorded(case: Case, tmp_path: Path) -> None:
    other = tmp_path / "other.agekey"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    other.chmod(0o600)
    target = tmp_path / "out"
    with pytest.raises(CodeblueError, match="cannot be decrypted"):
        case.call("export", case.run_id, "--to", str(target), "--identity", str(other), "--because", "curiosity")
    assert [path for path in target.rglob("*") if path.is_file()] == []
    assert case.evidence.custody.entries()[-1].purpose == "curiosity"


def test_verify_with_identity_reads_everything_back_and_is_an_access(case: Case) -> None:
    code, said = case.call("verify", case.run_id, "--identity", str(case.identity), "--json")
    assert code == 0
    assert json.loads(said.splitlines()[0])["pieces"] == 2
    assert case.evidence.custody.entries()[-1].kind == "accessed"
