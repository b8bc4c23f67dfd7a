"""The table of faults by runbooks, and what it makes of a drill. Takes no time."""

from __future__ import annotations

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CriterionResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_order import CalledFor
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import Survey
from codeblue.drill.matrix import DetectionMatrix, MatrixRow


def row(runbook: str, fault: str, *fired: str) -> MatrixRow:
    criterion = CriterionResult("any", True, ("one",), "one failed", 1.0, "lab")
    called = tuple(CalledFor(name, (criterion,), ("one",), "service: one") for name in fired)
    return MatrixRow(runbook, fault, Survey(called, {}, (), 21, 0.3))


def test_its_own_runbook_first_is_what_is_wanted() -> None:
    found = row("outage", "power_cut", "outage", "database")
    assert found.own_first and found.problem is None


@pytest.mark.parametrize(
    ("fired", "said"),
    [((), "no criterion of outage"), (("database", "outage"), "before outage"), (("database",), "is not called for")],
)
def test_anything_else_is_a_problem(fired: tuple[str, ...], said: str) -> None:
    found = row("outage", "power_cut", *fired)
    assert not found.own_first
    assert found.problem is not None and said in found.problem


def test_a_drill_that_never_broke_anything_has_no_problem_of_its_own() -> None:
    found = MatrixRow("outage", "power_cut", None)
    assert found.problem is None and not found.own_first


MATRIX = DetectionMatrix(
    ("outage", "database", "ai"),
    (
        row("outage", "power_cut", "outage", "database"),
        row("outage", "bad_release", "outage"),
        row("database", "primary_dead", "database"),
        row("ai", "bad_model", "database"),
    ),
    (),
)


def test_the_message_has_rows_and_the_square() -> None:
    message = MATRIX.as_message()
    assert message["message_type"] == "detection_matrix"
    assert [each["fired"] for each in message["faults"]] == [
        ["outage", "database"],
        ["outage"],
        ["database"],
        ["database"],
    ]
    assert message["by_runbook"] == {
        "outage": {"outage": 2, "database": 1, "ai": 0},
        "database": {"outage": 0, "database": 1, "ai": 0},
        "ai": {"outage": 0, "database": 1, "ai": 0},
    }
    assert message["passed"] is False
    assert message["faults"][0]["checks"] == 21


def test_what_fires_on_the_healthy_clinic_fails_the_table() -> None:
    good = DetectionMatrix(("outage",), (row("outage", "power_cut", "outage"),), ())
    assert good.as_message()["passed"] is True
    assert DetectionMatrix(("outage",), good.rows, ("outage",)).as_message()["passed"] is False


def test_the_table_fits_eighty_columns_and_marks_its_own() -> None:
    lines = list(MATRIX.plain_lines())
    assert max(map(len, lines)) <= 100
    assert lines[2].split() == ["power_cut", "[1]", "2", "."]
    assert lines[5].split() == ["bad_model", ".", "1", "[-]", "WRONG"]
    eight = DetectionMatrix(tuple(f"r{n}" for n in range(8)), (row("r7", "x" * 28, "r7"),), ())
    assert max(len(line) for line in list(eight.plain_lines())[:3]) <= 80
