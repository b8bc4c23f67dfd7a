"""What people see: plain lines, the live view in a real terminal, reports that escape everything. About 4 s."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from codeblue.doctor.finding import exit_code_of, failed, ok, warning
from codeblue.output.live import _State
from codeblue.output.messages import Budget, Started, Step, Summary
from codeblue.output.plain import PlainLines
from codeblue.output.style import against_budget, local_time

_STARTED = Started("01R", "recover", "run", ["hosts.yml"], None, "2026-01-31T12:00:00.000000+00:00")
_STEP = Step("failover", "patient_db", "changed", "promoted db2", 0.4, 1.2, 5.0)
_PROGRAM = """
import sys, time
from codeblue.output.choose import choose_output
from codeblue.output.messages import Budget, Started, Step, Summary, TaskStarted
output = choose_output(False)
output.emit(Started("01R", "recover", "run", ["hosts.yml"], None, "2026-01-31T12:00:00.000000+00:00"))
output.emit(TaskStarted("Promote the standby", 0.5))
output.emit(Budget(60.0, 12.0, 3))
time.sleep(0.8)
output.emit(Step("failover", "patient_db", "changed", "promoted db2", 0.4, 1.2, 5.0))
time.sleep(0.3)
output.emit(Summary("01R", "recover", "run", "recovered", 0, 2.0, 1.2, {"patient_db": "recovered"}))
output.close()
"""


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    stream = io.StringIO()
    output = PlainLines(stream)
    output.emit(_STARTED)
    output.emit(Budget(60.0, None, 0))
    output.emit(_STEP)
    output.emit(Summary("01R", "recover", "run", "recovered", 0, 2.0, 1.2, {"patient_db": "recovered"}))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "run recover · 01R · 2026-01-31 14:00:00 +02:00"
    assert lines[2] == "   1.20 s ✓ patient_db  failover: promoted db2  (0.40 s)"
    assert lines[4] == "recovered and validated · 2.00 s of 1 min 00 s (3%) · first change after 1.20 s"
    monkeypatch.delenv("TZ")
    time.tzset()
    assert local_time("2026-01-31T12:00:00.000000Z")[10] == " "


def _in_a_terminal(**variables: str) -> str:
    """What a terminal gets."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **variables},
    )
    os.close(slave)
    received = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            # The other side has closed the terminal.
            break
        if not chunk:
            break
        received += chunk
    os.close(master)
    assert process.wait(timeout=20) == 0
    return received.decode("utf-8")


def test_live_view_shows_now_the_objective_and_the_forecast() -> None:
    shown = _in_a_terminal()
    assert "Promote the standby" in shown
    assert "of 1 min 00 s" in shown
    assert "\x1b[32m" in shown
    assert "promoted db2" in shown
    assert shown.index("promoted db2") < shown.index("recovered and validated")
    assert "\x1b[?25h" in shown, "the cursor is given back"


def test_no_color_is_respected_on_a_terminal() -> None:
    shown = _in_a_terminal(NO_COLOR="1")
    assert "\x1b[32m" not in shown
    assert "\x1b[1;32m" not in shown


def test_forecast_names_a_miss() -> None:
    state = _State()
    assert state.forecast(1.0) is None
    state.take(Budget(60.0, 20.0, 5))
    assert state.forecast(5.0) == "about 15.0 s to go (median of 5 runs before)"
    assert state.forecast(25.0) == "longer than usual: 20.0 s is the median of 5 runs before"
    state.take(Budget(10.0, 20.0, 5))
    assert str(state.forecast(5.0)).endswith("this will miss the objective")


def test_against_budget() -> None:
    assert against_budget(30, 60) == "30.0 s of 1 min 00 s (50%)"
    assert against_budget(30, None) == "30.0 s"


def test_doctor_exit_codes() -> None:
    assert exit_code_of([ok("a", "")]) == 0
    assert exit_code_of([ok("a", ""), warning("b", "")]) == 4
    assert exit_code_of([failed("a", ""), warning("b", "")]) == 2


def test_report_escapes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import (
        Operator,
        RunOpening,
        open_store,
    )
    from codeblue.report.content import collect
    from codeblue.report.render import render_html, render_json, render_markdown
    from codeblue.runner.record import open_record

    evil = '<img src=x onerror="alert(1)"> | [x](javascript:1) & `a`'
    holder = ProcessIdentity.current()
    store = open_store()
    _run, leases = store.open_run(
        RunOpening(
            "01R",
            "recover",
            "SEV2",
            "lab",
            (evil,),
            Operator(evil, "os", True),
            evil,
            (),
            {},
            "cli",
            "1",
            {evil: {"rto_seconds": 1}},
            holder,
        )
    )
    step = store.begin_step(
        "01R", evil, "s", evil, decision={"reason": evil}, worker=holder, generation=leases[evil].generation
    )
    store.finish_step(step, "ok", {"accepted_at": time.time()}, changed=True)
    store.close_target("01R", evil, "recovered", {})
    store.close()
    report = collect(open_record(), "01R")
    html = render_html(report)
    assert "<img" not in html
    assert 'onerror="' not in html
    assert "&lt;img" in html
    assert "http" not in html.replace("http-equiv", ""), "needs nothing from elsewhere"
    markdown = render_markdown(report)
    assert "<img" not in markdown.replace("\\<", "")
    assert "](javascript" not in markdown.replace("\\]", "")
    assert '"run_id": "01R"' in render_json(report)
    assert report.first_action_seconds is not None
    assert report.targets[0].within is True
