"""Whatever is done to an export, the verifier names the first bad record or the missing tail. About 3 s."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import codeblue.verify
import pytest
import rfc8785
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import head_message
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ledger_key_path, open_store
from codeblue.main import main
from codeblue.verify import Verdict, verify_export
from store_support import BOB, isolate, opening

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """An export, the pinned key, the copied heads, and an export of the same run from before it ended."""

    export: list[str]
    earlier: list[str]
    public_key: bytes
    heads: list[dict[str, Any]]
    anchor: Path
    other_key: LedgerKey

    @property
    def lines(self) -> Lines:
        return [json.loads(line) for line in self.export]

    def verify(self, lines: Lines, heads: list[dict[str, Any]] | None = None) -> Verdict:
        return verify_export(
            [json.dumps(line) for line in lines], [self.public_key], self.heads if heads is None else heads
        )


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Evidence:
    isolate(monkeypatch, tmp_path)
    anchor = tmp_path / "anchor.jsonl"
    monkeypatch.setenv("CODEBLUE_ANCHORS", f"file:{anchor}")
    store = open_store()
    me = ProcessIdentity.current()
    run, leases = store.open_run(opening("a", "b"))
    for number in range(3):
        step = store.begin_step(run.run_id, "a", "s", str(number), {"chosen": "db2"}, me, leases["a"].generation)
        store.finish_step(step, "ok", {"seconds": 1.5 * number, "version": "ä"}, changed=True)
    earlier = store.export(run.run_id)
    store.close_target(run.run_id, "a", "recovered", {})
    store.close_target(run.run_id, "b", "recovered", {})
    return Evidence(
        store.export(run.run_id),
        earlier,
        LedgerKey.at(ledger_key_path()).public_pem.encode(),
        [json.loads(line) for line in anchor.read_text().splitlines()],
        anchor,
        LedgerKey.at(tmp_path / "other" / "ledger.key"),
    )


def _position(lines: Lines, seq: int) -> int:
    return next(at for at, line in enumerate(lines) if line.get("record", {}).get("seq") == seq)


def _resign(lines: Lines, key: LedgerKey, start: int = 0) -> None:
    """Make the chain whole again from a record on, as somebody could who has another key."""
    previous = ""
    for line in lines:
        if "record" not in line:
            continue
        record = line["record"]
        if record["seq"] >= start:
            if record["seq"] > start or start == 0:
                record["prev"] = previous or record["prev"]
            line["hash"] = hashlib.sha256(rfc8785.dumps(record)).hexdigest()
            message = head_message(record["run"], record["segment"], record["seq"], line["hash"])
            line["key_id"], line["signature"] = key.key_id, key.sign(message)
        previous = line["hash"]
    head = lines[-1]
    last = next(line for line in reversed(lines) if "record" in line)
    head |= {
        "hash": last["hash"],
        "seq": last["record"]["seq"],
        "key_id": last["key_id"],
        "signature": last["signature"],
    }


def test_an_untouched_export_is_complete(evidence: Evidence) -> None:
    verdict = evidence.verify(evidence.lines)
    assert (verdict.exit_code, verdict.verdict) == (0, "complete"), verdict.message


def _edit(lines: Lines) -> None:
    lines[_position(lines, 5)]["record"]["fields"]["outcome"] = "failed"


def _edit_time(lines: Lines) -> None:
    lines[_position(lines, 5)]["record"]["at"] = "2020-01-01T00:00:00.000000Z"


def _edit_and_rehash(lines: Lines) -> None:
    line = lines[_position(lines, 5)]
    line["record"]["fields"]["outcome"] = "failed"
    line["hash"] = hashlib.sha256(rfc8785.dumps(line["record"])).hexdigest()


def _delete(lines: Lines) -> None:
    del lines[_position(lines, 5)]


def _delete_first(lines: Lines) -> None:
    del lines[_position(lines, 0)]


def _insert_copy(lines: Lines) -> None:
    at = _position(lines, 5)
    lines.insert(at + 1, copy.deepcopy(lines[at]))


def _reorder(lines: Lines) -> None:
    at = _position(lines, 5)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]


def _renumbered_delete(lines: Lines) -> None:
    at = _position(lines, 5)
    del lines[at]
    for line in lines[at:]:
        if "record" in line:
            line["record"]["seq"] -= 1


def _another_signature(lines: Lines) -> None:
    lines[_position(lines, 5)]["signature"] = lines[_position(lines, 6)]["signature"]


def _another_run(lines: Lines) -> None:
    lines[_position(lines, 5)]["record"]["run"] = "01OTHER"


@pytest.mark.parametrize(
    ("tamper", "seq", "said"),
    [
        (_edit, 5, "record 5 was edited"),
        (_edit_time, 5, "record 5 was edited"),
        (_edit_and_rehash, 5, "record 5 has a wrong signature"),
        (_delete, 5, "record 5 is missing"),
        (_delete_first, 0, "record 0 is missing"),
        (_insert_copy, 5, "record 5 stands there twice"),
        (_reorder, 5, "record 5 is missing or out of order"),
        (_renumbered_delete, 5, "record 5 was edited"),
        (_another_signature, 5, "record 5 has a wrong signature"),
        (_another_run, 5, "record 5 belongs to another run"),
    ],
)
@pytest.mark.parametrize("with_anchor", [True, False])
def test_the_first_bad_record_is_named(
    evidence: Evidence, tamper: Callable[[Lines], None], seq: int, said: str, with_anchor: bool
) -> None:
    lines = evidence.lines
    tamper(lines)
    verdict = evidence.verify(lines, None if with_anchor else [])
    assert (verdict.exit_code, verdict.segment, verdict.seq) == (1, 0, seq), verdict.message
    assert said in verdict.message


def test_every_single_changed_byte_is_found(evidence: Evidence) -> None:
    text = "\n".join(evidence.export)
    start = text.index('"record"')
    for at in range(start, len(text), 37):
        if text[at].isspace():
            continue
        changed = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
        assert verify_export(changed.splitlines(), [evidence.public_key], evidence.heads).exit_code == 1, text[
            at - 20 : at + 20
        ]


def test_a_cut_off_file_names_the_missing_tail(evidence: Evidence) -> None:
    lines = evidence.lines[:-4]
    last = lines[-1]["record"]["seq"]
    verdict = evidence.verify(lines, [])
    assert (verdict.exit_code, verdict.seq) == (1, last + 1)
    assert "cut off" in verdict.message


def test_a_tail_cut_off_with_a_fitting_head_is_found_by_the_copied_head(evidence: Evidence) -> None:
    lines = evidence.lines
    # Every record is signed: whoever cuts the tail off can present the last one that is left as the head.
    kept = lines[: _position(lines, 9) + 1]
    head = lines[-1] | {name: kept[-1][name] for name in ("hash", "key_id", "signature")} | {"seq": 9}
    head |= {name: kept[-1]["record"][name] for name in ("at", "kind")}
    verdict = evidence.verify([*kept, head])
    assert (verdict.exit_code, verdict.seq) == (1, 10)
    assert "record 10 and later are missing" in verdict.message
    assert evidence.verify([*kept, head], []).exit_code == 4


def test_an_older_valid_export_is_found_by_the_copied_head(evidence: Evidence) -> None:
    older = [json.loads(line) for line in evidence.earlier]
    verdict = evidence.verify(older)
    assert verdict.exit_code == 1
    assert "later are missing" in verdict.message
    assert evidence.verify(older, []).exit_code == 4
    # Only the head from the opening was copied: nothing proves how it went on.
    assert evidence.verify(older, evidence.heads[:1]).exit_code == 4


def test_a_chain_signed_anew_with_another_key_is_refused(evidence: Evidence) -> None:
    lines = evidence.lines
    _edit(lines)
    _resign(lines, evidence.other_key)
    verdict = evidence.verify(lines)
    assert (verdict.exit_code, verdict.seq) == (1, 0)
    assert "signed by another key" in verdict.message


def test_even_the_holder_of_the_key_cannot_rewrite_what_was_anchored(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = evidence.lines
    _edit(lines)
    _resign(lines, LedgerKey.at(ledger_key_path()), start=5)
    assert evidence.verify(lines, []).exit_code == 4
    verdict = evidence.verify(lines)
    assert verdict.exit_code == 1
    assert "is not the one that its head names" in verdict.message


def test_a_copied_head_of_another_key_is_refused(evidence: Evidence) -> None:
    head = dict(evidence.heads[-1])
    message = head_message(head["run_id"], head["segment"], head["seq"], head["hash"])
    head |= {"key_id": evidence.other_key.key_id, "signature": evidence.other_key.sign(message)}
    verdict = evidence.verify(evidence.lines, [head])
    assert verdict.exit_code == 1
    assert "signed by another key" in verdict.message


def test_without_a_head_of_this_run_completeness_is_unproven(evidence: Evidence) -> None:
    verdict = evidence.verify(evidence.lines, [])
    assert (verdict.exit_code, verdict.verdict) == (4, "completeness_unproven")
    other = [{**head, "run_id": "01OTHER"} for head in evidence.heads]
    assert evidence.verify(evidence.lines, other).exit_code == 4


def test_what_is_recorded_after_the_close_is_anchored_too(evidence: Evidence) -> None:
    store = open_store()
    run = store.runs()[0]
    store.review_change(run.change_id, BOB, "as planned")
    lines = [json.loads(line) for line in store.export(run.run_id)]
    assert evidence.verify(lines).exit_code == 4
    now = [json.loads(line) for line in evidence.anchor.read_text().splitlines()]
    assert evidence.verify(lines, now).exit_code == 0


def test_the_verifier_alone_needs_no_store(evidence: Evidence, tmp_path: Path) -> None:
    """The one file, in a directory of its own, in an interpreter that sees neither codeblue nor the collection."""
    place = tmp_path / "auditor"
    place.mkdir()
    (place / "verify.py").write_text(Path(codeblue.verify.__file__).read_text())
    (place / "run.jsonl").write_text("\n".join(evidence.export) + "\n")
    (place / "key.pub").write_bytes(evidence.public_key)
    (place / "heads").write_text("<85>codeblue[7]: " + evidence.anchor.read_text())
    probe = (
        "import runpy, sys\n"
        "sys.modules['codeblue'] = sys.modules['ansible_collections'] = sys.modules['sqlalchemy'] = None\n"
        "sys.argv = ['verify.py', 'run.jsonl', '--public-key', 'key.pub', *sys.argv[1:]]\n"
        "runpy.run_path('verify.py', run_name='__main__')\n"
    )
    for arguments, exit_code in (["--head", "heads"], 0), ([], 4):
        done = subprocess.run(
            [sys.executable, "-c", probe, *arguments],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == exit_code, done.stderr


def test_the_command(evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = evidence.lines[0]["run"]
    export, key = str(tmp_path / "run.jsonl"), str(tmp_path / "key.pub")
    assert main(["audit", "export", run_id, "-o", export]) == 0
    assert Path(export).stat().st_mode & 0o777 == 0o600
    Path(key).write_bytes(evidence.public_key)
    capsys.readouterr()
    verify = ["audit", "verify", export, "--public-key", key]
    assert main([*verify, "--head", str(evidence.anchor), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["message_type"], said["verdict"], said["exit_code"]) == ("summary", "complete", 0)
    assert main(verify) == 4
    text = Path(export).read_text()
    Path(export).write_text(text.replace('"recovered"', '"nothing_to_do"', 1))
    assert main([*verify, "--json"]) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["verdict"] == "damaged"
    assert said["seq"] is not None
    assert main(["audit", "verify", export, "--public-key", export]) == 2
    assert main(["audit", "verify", str(tmp_path / "none"), "--public-key", key]) == 2
    assert main(["audit", "show", run_id]) == 0
    assert "run_closed" in capsys.readouterr().out
    assert main(["audit", "show", "none"]) == 2
