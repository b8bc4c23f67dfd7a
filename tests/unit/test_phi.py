"""Finding, masking and counting patient data, on synthetic texts only; about 1 s."""

from __future__ import annotations

import gzip
import json
import os
import stat
import time
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._access_log import (
    AccessExtract,
    network_of,
    read_access,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import Counter, PhiDetector, keyed_digest
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_files import files_of_log, scan_files, sha256_of
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_scrub import ProtectedLogs

KEY = b"0" * 32
CORPUS = Path(__file__).parent / "data" / "phi_corpus.jsonl"
SITE = PhiDetector({"patient_ref": r"\bsynthetic-[0-9]{4}\b"}, {"note": "clinical_text"}, [r"@clinic\.invalid\Z"])


def labelled() -> list[dict[str, object]]:
    return [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def test_the_corpus_is_told_apart_as_well_as_the_figures_say() -> None:
    """Lines with data of patients are found, lines without are left alone; what is not is named in the corpus."""
    lines = labelled()
    found = {index: bool(SITE.findings(str(each["text"]))) for index, each in enumerate(lines)}
    missed = [each for index, each in enumerate(lines) if each["phi"] and not found[index]]
    false = [each for index, each in enumerate(lines) if not each["phi"] and found[index]]
    positive = sum(bool(each["phi"]) for each in lines)
    print(
        f"{len(lines)} lines, {positive} with data of patients: recall {1 - len(missed) / positive:.3f}, "
        f"precision {(positive - len(missed)) / (positive - len(missed) + len(false)):.3f}; "
        f"{len(missed)} missed, {len(false)} false"
    )
    assert not false, false
    # Names in the middle of a sentence and identifiers without a form are known to be missed.
    assert all(each.get("hard") for each in missed), missed
    assert 1 - len(missed) / positive >= 0.9


def test_what_is_masked_holds_nothing_that_is_found_again() -> None:
    for each in labelled():
        masked = SITE.mask(str(each["text"]))
        assert not SITE.findings(masked), masked
        for secret in each.get("values", []):  # type: ignore[union-attr]
            assert str(secret) not in masked


def test_a_masked_json_line_stays_json() -> None:
    line = json.dumps({"message": "read", "patient_ref": "synthetic-0042", "note": 'said "it hurts", synthetic-0043'})
    masked = SITE.mask(line)
    assert json.loads(masked)["patient_ref"] == "[patient_ref]"
    assert "hurts" not in masked and "0043" not in masked
    assert not SITE.findings(masked)


def test_people_are_counted_once_however_they_are_written() -> None:
    counter = Counter(SITE, KEY)
    for text in (
        "synthetic-0001",
        "patient_ref=synthetic-0001",
        '{"note": "x synthetic-0002"}',
        "MRN: 00123456",
        "nobody",
    ):
        counter.line(text)
    assert len(counter.tally.people) == 3
    assert counter.tally.lines == 4 and counter.tally.lines_read == 5
    assert counter.tally.first_lines == [1, 2, 3, 4]
    assert keyed_digest(KEY, "patient", "synthetic-0001") in counter.tally.people
    assert keyed_digest(b"1" * 32, "patient", "synthetic-0001") not in counter.tally.people


def test_a_line_longer_than_a_piece_is_looked_at_whole() -> None:
    counter = Counter(SITE, KEY)
    text = "x " * 32_760 + "synthetic-0007" + " y" * 100_000 + " synthetic-0008"
    masked = counter.line(text)
    assert "synthetic" not in masked
    assert masked == text.replace("synthetic-0007", "[patient_ref]").replace("synthetic-0008", "[patient_ref]")
    assert len(counter.tally.people) == 2


def test_more_people_than_are_kept_is_said() -> None:
    counter = Counter(SITE, KEY, most_people=3)
    for number in range(5):
        counter.line(f"synthetic-{number:04d}")
    assert len(counter.tally.people) == 3 and counter.tally.truncated


@pytest.mark.parametrize("expression", ["(", "x" * 501, "a*"])
def test_a_wrong_pattern_is_named(expression: str) -> None:
    with pytest.raises(BadInput, match="pattern wrong"):
        PhiDetector({"wrong": expression})


def test_how_fast_it_reads() -> None:
    line = json.dumps(
        {"time": "2026-11-21T05:00:00.123Z", "level": "info", "message": "request", "path": "/records/12"}
    )
    counter = Counter(SITE, KEY)
    started = time.perf_counter()
    for _ in range(5000):
        counter.line(line)
    print(f"{5000 * len(line) / 1e6 / (time.perf_counter() - started):.1f} MB/s of clean log lines")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_scan_reads_what_rotation_put_aside_and_says_what_it_could_not(tmp_path: Path) -> None:
    log = tmp_path / "service.jsonl"
    log.write_text('{"version": "1.7.0", "patient_ref": "synthetic-0001"}\n{"version": "1.1.0"}\n')
    (tmp_path / "service.jsonl.1").write_text("synthetic-0002\n")
    (tmp_path / "service.jsonl.2.gz").write_bytes(gzip.compress(b"synthetic-0003\n"))
    (tmp_path / "service.jsonl.3.gz").write_bytes(b"no gzip")
    (tmp_path / "service.jsonl.txt").write_text("synthetic-0009\n")
    (tmp_path / "service.jsonl.4").symlink_to(tmp_path / "service.jsonl.txt")
    paths = [each.path for each in files_of_log(str(log))]
    assert paths[-1] == str(log) and len(paths) == 4
    found = scan_files(paths, SITE, KEY, Deadline(10.0), 100)
    assert len(found["people"]) == 3
    assert found["files"][str(log)]["versions"] == {"1.7.0": 1}
    assert found["files"][str(log)]["sha256"] == sha256_of(str(log))
    assert [each.split(":")[0] for each in found["left_out"]] == [str(tmp_path / "service.jsonl.3.gz")]
    assert "synthetic" not in json.dumps(found)


def test_a_closed_log_is_out_of_reach_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "service.jsonl"
    protected = tmp_path / ".protected"
    (tmp_path / "service.jsonl.1").write_text("old synthetic-0001\n")
    with open(log, "a", encoding="utf-8") as writer:
        log.chmod(0o640)
        writer.write("one synthetic-0002\n")
        writer.flush()
        logs = ProtectedLogs(str(protected))
        logs.close(logs.to_close([str(log)]))
        writer.write("two synthetic-0003\n")
        writer.flush()
    assert stat.S_IMODE(protected.stat().st_mode) == 0o700
    assert log.read_text() == "" and stat.S_IMODE(log.stat().st_mode) == 0o640
    assert not (tmp_path / "service.jsonl.1").exists()
    again = ProtectedLogs(str(protected))
    assert again.to_close([str(log)]) == [] and again.unfinished() == []
    assert len(again.kept_paths()) == 2
    log.write_text("three\n")
    assert len(again.stale({})) == 2
    evidence = {path: sha256_of(path) for path in again.kept_paths()}
    assert again.stale(evidence) == []
    told = again.scrub(SITE, Deadline(10.0))
    assert told == {str(log): {"lines": 3, "masked": 3}}
    assert (tmp_path / "service.jsonl.1").read_text() == "old [patient_ref]\none [patient_ref]\ntwo [patient_ref]\n"
    assert stat.S_IMODE((tmp_path / "service.jsonl.1").stat().st_mode) == 0o640
    assert log.read_text() == "three\n"
    assert not protected.exists()


@pytest.mark.parametrize("cut_off_at", ["rename", "unlink"])
def test_a_scrub_that_was_cut_off_does_nothing_twice(
    tmp_path: Path, cut_off_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "service.jsonl"
    log.write_text("one synthetic-0002\n")
    logs = ProtectedLogs(str(tmp_path / ".protected"))
    logs.close(logs.to_close([str(log)]))

    def cut_off(*_arguments: object) -> None:
        raise InterruptedError(cut_off_at)

    with monkeypatch.context() as patched:
        patched.setattr(os, cut_off_at, cut_off)
        with pytest.raises(InterruptedError):
            ProtectedLogs(str(tmp_path / ".protected")).scrub(SITE, Deadline(10.0))
    ProtectedLogs(str(tmp_path / ".protected")).scrub(SITE, Deadline(10.0))
    assert (tmp_path / "service.jsonl.1").read_text() == "one [patient_ref]\n"
    assert not (tmp_path / ".protected").exists()


def test_a_scrub_without_time_removes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "service.jsonl"
    log.write_text("one synthetic-0002\n")
    logs = ProtectedLogs(str(tmp_path / ".protected"))
    logs.close(logs.to_close([str(log)]))
    with pytest.raises(CodeblueError, match="in time"):
        logs.scrub(SITE, Deadline(0.0))
    assert len(logs.kept_paths()) == 1


# -- access logs -------------------------------------------------------------------------------------------------------


def test_an_extract_counts_callers_and_people_and_names_neither() -> None:
    extract = AccessExtract(KEY, 100)
    for second, client in ((1, "203.0.113.9"), (2, "203.0.113.9"), (3, "198.51.100.4")):
        line = json.dumps(
            {"time": f"2026-01-31T14:00:0{second}Z", "who": "", "client": client, "method": "GET",
             "path": "/patients/12?name=Doe", "status": 200, "patients": ["synthetic-0001", f"synthetic-000{second}"]}
        )  # fmt: skip
        access = read_access(line, "json", {"subject": "who"}, None)
        assert access is not None and access.disclosed
        extract.add(access)
    told = extract.as_dict()
    assert told["disclosures"] == 3 and len(told["people"]) == 3
    assert [(each["requests"], each["people"], each["network"]) for each in told["accessors"]] == [
        (2, 2, "203.0.113.0/24"),
        (1, 2, "198.51.100.0/24"),
    ]
    assert told["paths"] == {"/patients/{n}": 3}
    assert (told["first"], told["last"]) == ("2026-01-31T14:00:01Z", "2026-01-31T14:00:03Z")
    assert not any(word in json.dumps(told) for word in ("synthetic", "Doe", "203.0.113.9"))


def test_a_combined_log_tells_resources_by_their_path() -> None:
    import re

    line = '203.0.113.9 - - [31/Jan/2026:15:00:01 +0100] "GET /records/12 HTTP/1.1" 200 512 "-" "curl"'
    access = read_access(line, "combined", {}, re.compile(r"/records/(?P<resource>\d+)"))
    assert access is not None and access.disclosed and access.subject == ""
    assert access.patients == ("12",) and access.time == "2026-01-31T14:00:01Z"
    assert read_access("no access log", "combined", {}, None) is None
    assert network_of("2001:db8::1") == "2001:db8::/48" and network_of("unix") == "unknown"
