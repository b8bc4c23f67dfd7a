"""The analysis of probes: against examples, and against a slow and obvious second way of computing it."""

from __future__ import annotations

import random

import pytest
from codeblue.lab.measurement import Sample, analyse, find_outages


def series(pattern: str, endpoint: str = "records", first: float = 100.0) -> list[Sample]:
    """One sample each 0.1 s that takes 0.02 s: `.` works, `x` fails."""
    return [
        Sample(endpoint, first + 0.1 * at, first + 0.1 * at + 0.02, 0.0, mark == ".") for at, mark in enumerate(pattern)
    ]


def spans(pattern: str, stable: int = 5) -> list[tuple[int, int | None, int]]:
    """Outages as index of the first failed probe, index of the first stable success, failed probes."""
    return [
        (
            round((outage.began - 100.0) * 10),
            None if outage.ended is None else round((outage.ended - 0.02 - 100.0) * 10),
            outage.failed,
        )
        for outage in find_outages(series(pattern), stable)
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", []),
        (".....", []),
        ("..xxx.....", [(2, 5, 3)]),
        ("x.....", [(0, 1, 1)]),
        ("xxx", [(0, None, 3)]),
        ("xxx....", [(0, None, 3)]),
        ("xx....x.....", [(0, 7, 3)]),
        ("x.....x.....", [(0, 1, 1), (6, 7, 1)]),
        (".....x", [(5, None, 1)]),
    ],
)
def test_outages_by_example(pattern: str, expected: list[tuple[int, int | None, int]]) -> None:
    assert spans(pattern) == expected


def test_one_stable_success_is_enough_when_asked_for() -> None:
    assert spans("x.x.", stable=1) == [(0, 1, 1), (2, 3, 1)]


def test_zero_stable_successes_is_no_measure() -> None:
    with pytest.raises(ValueError, match="stable"):
        find_outages(series("x"), 0)


def second_way(pattern: str, stable: int) -> list[tuple[int, int | None, int]]:
    """By slices of text: an outage runs from an `x` to the next place where `stable` dots follow."""
    found: list[tuple[int, int | None, int]] = []
    at = pattern.find("x")
    while at != -1:
        end = pattern.find("." * stable, at)
        found.append((at, None if end == -1 else end, pattern[at : end if end != -1 else None].count("x")))
        at = -1 if end == -1 else pattern.find("x", end + stable)
    return found


def test_outages_equal_the_second_way_on_random_series() -> None:
    generator = random.Random(7)
    for _ in range(3000):
        stable = generator.randint(1, 6)
        pattern = "".join(generator.choices(".x", (generator.random(), 0.3), k=generator.randint(0, 40)))
        assert spans(pattern, stable) == second_way(pattern, stable), (pattern, stable)


def test_the_order_of_lines_does_not_matter() -> None:
    samples = series("..xxx.....x.....")
    shuffled = samples.copy()
    random.Random(3).shuffle(shuffled)
    assert find_outages(shuffled) == find_outages(samples)


def test_rto_is_the_longest_of_all_endpoints() -> None:
    found = analyse([*series("..xx......", "auth"), *series("..xxxx.....", "records"), *series("...........", "ai")])
    assert found.rto_seconds == pytest.approx(0.42)
    assert found.outage_seconds("auth") == pytest.approx(0.22)
    assert found.outage_seconds("ai") == 0.0
    assert found.recovered


def test_an_endpoint_that_fails_twice_is_away_from_first_to_last() -> None:
    assert analyse(series("x.......x.....")).rto_seconds == pytest.approx(0.92)


def test_one_endpoint_that_stays_away_leaves_the_rto_open() -> None:
    found = analyse([*series("x.....", "auth"), *series("x.x.x.", "records")])
    assert found.rto_seconds is None
    assert not found.recovered
    assert found.outage_seconds("auth") == pytest.approx(0.12)


def test_no_samples_prove_nothing() -> None:
    assert analyse([]).rto_seconds is None
    assert analyse(series("....."), since=1000.0).rto_seconds is None


def test_since_leaves_an_earlier_blip_out_and_keeps_a_probe_that_was_under_way() -> None:
    samples = series("x......xx.....")
    assert analyse(samples, since=100.3).rto_seconds == pytest.approx(0.22)
    under_way = Sample("records", 100.0, 101.0, 0.0, False)
    assert analyse([under_way, *series(".....", first=101.0)], since=100.5).rto_seconds == pytest.approx(1.02)


def test_until_leaves_later_trouble_out() -> None:
    assert analyse(series("xx.....xx"), until=100.65).rto_seconds == pytest.approx(0.22)


def test_sentinels_are_acknowledged_or_in_doubt_or_never_sent() -> None:
    samples = [
        Sample("patient_db", 1.0, 1.1, 0.0, True, n=11),
        Sample("patient_db", 1.1, 1.2, 0.0, False, "OperationalError", n=12),
        Sample("patient_db", 1.2, 1.3, 0.0, False, "OperationalError"),
        Sample("patient_db", 1.3, 1.4, 0.0, True, n=13),
    ]
    found = analyse(samples, stable=1)
    assert found.acknowledged == (11, 13)
    assert found.in_doubt == (12,)


def test_a_sample_survives_its_line() -> None:
    sample = Sample("ai", 1.25, 1.5, 1700000000.125, False, "503", 9223372036854775807)
    assert Sample.from_json(sample.to_json()) == sample
    assert "\n" not in sample.to_json()
