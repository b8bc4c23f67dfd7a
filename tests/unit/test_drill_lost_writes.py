"""Which lost writes a drill forgives: those that the standby did not have when the primary died."""

from __future__ import annotations

from codeblue.drill.catalogue import Drill
from codeblue.drill.outages import not_on_standby
from codeblue.drill.result import DrillResult
from codeblue.lab.faults import Injection
from codeblue.lab.measurement import Sample


def write(n: int, at: float, ok: bool = True) -> Sample:
    return Sample("patient_db", at, at + 0.01, at, ok, "", n)


def struck(**facts: object) -> Injection:
    return Injection("primary_dead", 100.0, 100.0, facts=facts)


def result(lost: int | None, not_there: int = 0, rpo: float = 0.0, age: float = 0.0) -> DrillResult:
    drill = Drill("database_connection_failure", "primary_dead", 15.0, rpo)
    return DrillResult(drill, writes_lost=lost, writes_not_on_standby=not_there, rpo_seconds=age)


def test_a_write_in_the_last_moment_is_known_and_later_ones_are_not_meant() -> None:
    samples = [write(1, 99.9), write(2, 100.01), write(3, 100.1, ok=False), write(4, 104.0)]
    assert not_on_standby(samples, struck(standby_last_sentinel=1)) == [2]
    assert not_on_standby(samples, struck(standby_last_sentinel=2)) == []
    assert not_on_standby(samples, struck()) == []


def test_what_the_standby_had_must_not_be_lost() -> None:
    assert result(0).kept_enough
    assert not result(None).kept_enough
    assert not result(1).kept_enough
    assert result(1, not_there=1).kept_enough
    assert not result(2, not_there=1).kept_enough
    assert result(12, rpo=300.0, age=8.0).kept_enough
    assert not result(12, rpo=5.0, age=8.0).kept_enough


def test_it_is_said_which_ones_could_have_been_kept() -> None:
    lost = result(2, not_there=1)
    lost.judge()
    assert "2 acknowledged writes are lost, 1 of them were not on the standby" in lost.problems
