"""Reports on runs and drills: whole, self-contained, without secrets and patient data. About 3 s."""

from __future__ import annotations

import html.parser
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Operator, RunOpening, Store, open_store
from codeblue.drill.campaign import Campaign
from codeblue.drill.catalogue import Drill
from codeblue.drill.pages import drill_part, write_pages
from codeblue.drill.result import DrillResult
from codeblue.report.content import Report, collect
from codeblue.report.parts import Away
from codeblue.report.render import render_html, render_json, render_markdown
from codeblue.report.timeline import LABELS, ROW, WIDTH, timeline_of
from codeblue.report.words import clean, difference
from codeblue.runner.record import open_record

RUN = "01JD3V4T6R8Y0Q2M5N7P9S1W3X"
SECRETS = ("hunter2hunter2", "s3cr3t-of-the-house")
PHI = ("MRN: 12345678", "123-45-6789", "erin.mueller@example.com")
_VOID = ("meta", "br", "link", "img", "hr")


class Page(html.parser.HTMLParser):
    """Whether every element is closed, and what the page asks for from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: dict[str, int] = {}
        self.asked_for: list[str] = []
        self.unclosed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.asked_for += [str(value) for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.unclosed.append(tag)
            return
        self.open.pop()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    monkeypatch.delenv("CODEBLUE_ANCHORS", raising=False)
    opened = open_store()
    yield opened
    opened.close()


def recorded(store: Store, text: str = "db1 must take no writes any more", close: bool = True) -> None:
    """A run that fenced and promoted, as its actions record it."""
    holder = ProcessIdentity.current()
    opening = RunOpening(
        RUN,
        "database_connection_failure",
        "SEV1",
        "lab",
        ("patient_db",),
        Operator("erin", "os", True),
        None,
        (),
        {},
        "drill",
        "1",
        {"patient_db": {"rto_seconds": 300.0, "rpo_seconds": 300.0}},
        holder,
    )
    _run, leases = store.open_run(opening)
    criterion = {"id": "database_unusable", "fired": True, "targets": ["patient_db"], "evidence": text}
    store.record(RUN, "detection", {"targets": ["patient_db"], "fired": True, "criteria": [criterion]})
    diagnosis = {"target": "patient_db", "cause": "primary_dead", "confidence": 0.95, "evidence": [text]}
    store.record(RUN, "diagnosis", diagnosis)
    for action, machine in (("fence", "db1"), ("promote", "db2")):
        decision: dict[str, Any] = {"machine": machine, "reason": text, "choice": {"loss_seconds": 0.0}}
        generation = leases["patient_db"].generation
        step = store.begin_step(
            RUN, "patient_db", "failover", action, decision=decision, worker=holder, generation=generation
        )
        result = {"accepted_at": time.time(), "before": {"role": "standby"}, "after": {"role": "primary"}}
        store.finish_step(step, "ok", result, changed=True)
    validated = {
        "target": "patient_db",
        "level": "deep",
        "passed": True,
        "status": "HEALTHY",
        "checks": 3,
        "failed": [],
    }
    store.record(RUN, "validation", validated)
    evidence = {"target": "patient_db", "name": "logs", "sha256": "ab" * 32, "size_bytes": 4711, "custody_seq": 1}
    store.record(RUN, "evidence", {**evidence, "custody_sha256": "cd" * 32, "by": "erin", "machine": "db1"})
    if close:
        store.close_target(RUN, "patient_db", "recovered", {})
        store.close_run(RUN, "recovered", {})


def drill_result(**changes: Any) -> DrillResult:
    values: dict[str, Any] = {
        "detected": True,
        "detect_seconds": 0.4,
        "fired": ["database_unusable"],
        "first_action_seconds": 2.0,
        "recovered": True,
        "rto_seconds": 5.5,
        "writes_lost": 0,
        "rpo_seconds": 0.0,
        "control_silent": True,
        "undone": True,
        "run": RUN,
        "struck_at": time.time() - 3.0,
        "command_at": 0.5,
        "away": [Away("auth", 0.1, 1.0), Away("auth", 2.0, 5.5), Away("patient_db", 0.1, 4.0)],
        "phases": {"control": 1.0, "run": 4.0},
    }
    return DrillResult(Drill("database_connection_failure", "primary_dead", 15.0, 0.0), **(values | changes))


def report_of(result: DrillResult | None = None) -> Report:
    part = drill_part(Campaign(results=[result], profile="lab"), result) if result else None
    return collect(open_record(), RUN, part)


def sound(text: str) -> Page:
    page = Page(text)
    assert page.unclosed == [] and page.open == []
    assert "script" not in page.elements
    assert [each for each in page.asked_for if ":" in each or each.startswith("/")] == []
    assert "url(" not in text and "@import" not in text
    return page


def test_a_page_is_whole_and_needs_nothing_else(store: Store) -> None:
    recorded(store)
    text = render_html(report_of())
    page = sound(text)
    assert page.elements["h1"] == 1
    for said in ("Fence".lower(), "promote", "db2", "95 % sure", "role standby → primary", "ab" * 32, "line 1, "):
        assert said in text, said
    # Everything that the system knows is there: approvals, due dates with owners, the head, how to verify.
    for said in ("policy SEV1", "Database administrator", "codeblue audit verify", "no anchor holds this head"):
        assert said in text, said
    assert not re.search(r"[Tt]o be filled|TODO|TBD|N/A|>None<", text)


def test_the_picture_is_sound_and_named_for_those_who_cannot_see_it(store: Store) -> None:
    recorded(store)
    text = render_html(report_of(drill_result()))
    (picture,) = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    root = ET.fromstring(picture)
    named = root.get("aria-labelledby", "").split()
    assert {each.get("id") for each in root if each.get("id")} == set(named)
    assert {each.get("class") for each in root.iter("rect")} >= {"away", "changed"}


def test_all_of_the_picture_lies_inside_of_it(store: Store) -> None:
    recorded(store)
    timeline = timeline_of(report_of(drill_result()))
    for bar in timeline.bars:
        assert bar.x >= LABELS and bar.x + bar.width <= WIDTH
        assert timeline.top <= bar.y <= timeline.height - ROW
    # Two outages of one endpoint share a row.
    assert [bar.label for bar in timeline.bars if bar.kind == "away"] == ["auth away", "", "patient_db away"]
    kinds = [mark.kind for mark in timeline.marks]
    assert kinds[0] == "fault" and kinds[-1] == "rto" and "first" in kinds and "back" in kinds
    labels = [(mark.y, mark.text_x, mark.anchor, mark.label) for mark in timeline.marks]
    for one, (y, x, anchor, label) in enumerate(labels):
        for other_y, other_x, other_anchor, other in labels[one + 1 :]:
            if y == other_y and anchor == other_anchor == "start":
                assert abs(x - other_x) >= 6 * len(label if x < other_x else other)


def test_a_target_far_away_is_said_and_does_not_squeeze_the_picture(store: Store) -> None:
    recorded(store)
    timeline = timeline_of(report_of())
    assert "rto" not in [mark.kind for mark in timeline.marks]
    assert timeline.beyond is not None and "5 min" in timeline.beyond


def test_a_run_that_is_open_still_is_reported(store: Store) -> None:
    recorded(store, close=False)
    text = render_html(report_of())
    sound(text)
    assert "still open" in text


@pytest.mark.parametrize("hidden", [*(f"password={secret}" for secret in SECRETS), *PHI])
def test_neither_secrets_nor_patient_data_leave_the_house(
    store: Store, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The record cleans what it takes; a report does not rely on it.
    recorded(store)
    from codeblue.report import content

    real = open_record().ledger_records(RUN)
    for each in real:
        if each["kind"] in ("diagnosis", "detection"):
            fields = each["fields"]
            assert isinstance(fields, dict)
            fields["evidence"] = [f"seen: {hidden}"]
            for criterion in fields.get("criteria", []):
                criterion["evidence"] = f"seen: {hidden}"
    record = open_record()
    monkeypatch.setattr(record, "ledger_records", lambda _run: real)
    part = drill_part(Campaign(), drill_result(problems=[f"seen: {hidden}"]))
    report = content.collect(record, RUN, part)
    value = hidden.split("=")[-1].split(": ")[-1]
    for text in (render_html(report), render_markdown(report), render_json(report)):
        assert value not in text


def test_text_that_is_clean_stays_as_it_is() -> None:
    for text in ("db2 has everything that was committed on db1", "auth/health failed 3 times in a row (unavailable)"):
        assert clean(text) == text


def test_the_difference_of_two_states() -> None:
    before = {"process": {"state": "failed"}, "port_open": False, "same": 1, "list": [1]}
    after = {"process": {"state": "running"}, "port_open": True, "same": 1, "list": [2], "new": 3}
    assert difference(before, after) == "process.state failed → running; port_open no → yes; new 3"
    assert difference(None, None) == ""


def test_a_campaign_has_a_page_for_each_drill_and_an_index(store: Store, tmp_path: Path) -> None:
    recorded(store)
    undetected = drill_result(run=None, detected=False, fired=[], away=[], problems=["no criterion fired"])
    refused = drill_result(run="01JD3V4T6R8Y0Q2M5N7P9S1W3Y", problems=["the run ended as refused"])
    campaign = Campaign(
        results=[drill_result(), undetected, refused], runbooks=("database_connection_failure",), profile="lab"
    )
    directory = tmp_path / "pages"
    directory.mkdir()
    index = write_pages(campaign, open_record(), directory)
    names = sorted(path.name for path in directory.iterdir())
    assert len(names) == 8
    page = Page(index.read_text(encoding="utf-8"))
    assert [each for each in page.asked_for if each not in names] == []
    for name in names:
        text = (directory / name).read_text(encoding="utf-8")
        if name.endswith(".html"):
            sound(text)
        assert "http://" not in text and "https://" not in text
    assert "no criterion fired" in (directory / names[2]).read_text(encoding="utf-8")
