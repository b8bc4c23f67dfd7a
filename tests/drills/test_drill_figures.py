"""How a drill's figures are made and judged, without a lab. Takes no time."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from codeblue.drill.catalogue import Drill
from codeblue.drill.outages import away_seconds, lost_span
from codeblue.drill.result import DrillResult
from codeblue.lab.measurement import Sample, analyse

DRILL = Drill("database_connection_failure", "primary_dead", 15.0, 0.0)


def good(**changes: object) -> DrillResult:
    result = DrillResult(
        DRILL,
        detected=True,
        detect_seconds=1.0,
        first_action_seconds=1.5,
        recovered=True,
        rto_seconds=6.0,
        writes_lost=0,
        rpo_seconds=0.0,
        control_silent=True,
        undone=True,
    )
    return dataclasses.replace(result, **changes)


def probes(endpoint: str, answers: str, first: float = 0.0) -> list[Sample]:
    """One probe every 100 ms, `+` for an answer and `-` for none; each takes 10 ms."""
    return [
        Sample(endpoint, first + number / 10, first + number / 10 + 0.01, 0.0, answer == "+")
        for number, answer in enumerate(answers)
    ]


def test_a_good_drill_passes() -> None:
    result = good()
    result.judge()
    assert result.passed
    assert result.problems == []


@pytest.mark.parametrize(
    "changes",
    [
        {"detected": False},
        {"first_action_seconds": None},
        {"recovered": False},
        {"rto_seconds": None},
        {"rto_seconds": 15.1},
        {"writes_lost": None},
        {"writes_lost": 1, "rpo_seconds": 0.0},
        {"writes_lost": 27, "rpo_seconds": 2.7},
        {"control_silent": False},
        {"undone": False},
        {"problems": ["the fault did not take auth away: nothing was proven"]},
    ],
)
def test_each_figure_alone_fails_it(changes: dict[str, object]) -> None:
    assert not good(**changes).passed


def test_a_loss_within_a_target_is_no_failure() -> None:
    result = good(writes_lost=27, rpo_seconds=2.7, drill=dataclasses.replace(DRILL, rpo_target_seconds=3.0))
    assert result.passed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rto_seconds": 16.04}, "away for 16.0 s, target 15 s"),
        ({"writes_lost": 2, "rpo_seconds": 0.2}, "2 acknowledged writes are lost"),
        ({"first_action_seconds": None}, "did not mend it"),
    ],
)
def test_a_miss_is_put_into_words(changes: dict[str, object], said: str) -> None:
    result = good(**changes)
    result.judge()
    assert said in result.problems[0]


def test_the_clinic_is_away_from_the_first_failure_of_any_to_the_return_of_the_last() -> None:
    samples = [*probes("auth", "++---+++++"), *probes("records", "+++++----+++++")]
    assert away_seconds(analyse(samples)) == pytest.approx(0.9 + 0.01 - 0.2)


@pytest.mark.parametrize(("answers", "expected"), [("++++++", 0.0), ("++--++++", None), ("++--", None)])
def test_what_never_failed_was_not_away_and_what_is_not_stable_is_not_back(
    answers: str, expected: float | None
) -> None:
    assert away_seconds(analyse([*probes("auth", answers), *probes("records", "+" * 9)])) == expected


@pytest.mark.parametrize(("lost", "expected"), [((), 0.0), ((7,), 0.99), ((7, 9), 0.99), ((9,), 0.79)])
def test_the_span_of_what_is_lost(lost: Sequence[int], expected: float) -> None:
    samples = [
        dataclasses.replace(sample, n=number, started=sample.started, finished=number / 10 + 0.01)
        for number, sample in enumerate(probes("patient_db", "+" * 12))
    ]
    assert lost_span(samples, tuple(lost), struck=1.7) == pytest.approx(expected)


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "soak")
    return importlib.import_module("drills")


def test_a_new_result_of_the_soak_replaces_the_old_one_and_nothing_else(soak: ModuleType, tmp_path: Path) -> None:
    kept = tmp_path / "soak.md"
    kept.write_text(f"# Soak tests\n\n## Kills\n\nnone\n\n{soak.HEADING}\n\nold\n\n## Last\n\nend\n", encoding="utf-8")
    soak.keep(kept, soak.HEADING, f"{soak.HEADING}\n\nnew\n")
    assert kept.read_text(encoding="utf-8") == (
        f"# Soak tests\n\n## Kills\n\nnone\n\n{soak.HEADING}\n\nnew\n\n## Last\n\nend\n"
    )


def round_of(passed: bool) -> list[dict[str, object]]:
    drill = good(rto_seconds=6.0 if passed else 16.0)
    drill.judge()
    message = drill.as_message()
    matrix = {"runbook": message["runbook"], "fault": message["fault"], "own_first": passed}
    problems = [
        {"runbook": message["runbook"], "fault": message["fault"], "problem": problem} for problem in drill.problems
    ]
    return [
        {"message_type": "drill_phase", "phase": "lab"},
        message,
        {"message_type": "detection_matrix", "control": [], "faults": [matrix]},
        {"message_type": "summary", "drills": 1, "seconds": 20.0, "problems": problems},
    ]


def test_the_soak_counts_rounds_failures_and_who_was_called_for(soak: ModuleType) -> None:
    found = soak.Soak()
    found.take(round_of(passed=True))
    assert found.passed
    found.take(round_of(passed=False))
    assert not found.passed
    text = soak.report(found, 40.0, ["--all"])
    assert "| 1 of 2 | 6.0 / 11.0 / 16.0 | 15 |" in text
    assert "| 1 of 2 | 0 |" in text
    assert "- primary_dead: away for 16.0 s, target 15 s" in text


def test_a_round_that_says_nothing_fails_the_soak(soak: ModuleType) -> None:
    found = soak.Soak()
    found.take([])
    assert not found.passed and found.rounds == []
