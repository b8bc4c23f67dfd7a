"""Commits of the archived log, and which points a search asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._clean_point_search import (
    CLEAN,
    DAMAGED,
    UNKNOWN,
    Point,
    Search,
    points_around,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_commits import (
    Commits,
    Stretch,
    _at_the_end,
    stretches,
)


@pytest.mark.parametrize("number", [1, 2, 7, 100, 3000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_the_search_ends_at_the_boundary_with_few_passes(number: int, share: float) -> None:
    points = points_around(range(1000, 1000 + 10 * number, 10), 10_000_000)
    first_damaged = round(share * len(points))
    search = Search(points)
    passes = probes = 0
    while indexes := search.next_pass():
        passes += 1
        assert indexes == sorted(indexes)
        for index in indexes:
            probes += 1
            state = DAMAGED if index >= first_damaged else CLEAN
            search.note(index, state)
    assert search.best() == (first_damaged - 1 if first_damaged else None)
    assert passes <= 5 and probes <= 9 * passes


def test_an_earlier_damage_that_was_mended_is_not_gone_back_to() -> None:
    points = points_around(range(1000, 4000, 10), 10_000_000)
    search = Search(points)
    while indexes := search.next_pass():
        for index in indexes:
            search.note(index, DAMAGED if 40 <= index < 200 or index >= 555 else CLEAN)
    assert search.best() == 554


def test_a_point_that_nobody_could_look_at_is_left_open_and_taken_last() -> None:
    search = Search(points_around([10, 20], 30))
    for index, state in enumerate([CLEAN, CLEAN, UNKNOWN, DAMAGED]):
        search.note(index, state)
    assert search.next_pass() == []
    assert search.points[search.best() or 0] == Point(20, False)


def test_commits_are_chosen_by_transaction_subtransaction_and_structure() -> None:
    commits = Commits()
    for position, xid, structural in ((100, 7, 0), (200, 8, 1), (300, 9, 0)):
        commits.positions.append(position)
        commits.xids.append(xid)
        commits.structural.append(structural)
    commits.parents[10] = 9
    assert commits.of_transactions({10}) == [200, 300]
    assert commits.with_subtransactions(9) == [9, 10]
    assert commits.xid_at(300) == 9 and commits.xid_at(301) is None
    assert commits.between(100, 300) == [100, 200]


def test_the_way_leads_over_changes_of_the_timeline(tmp_path: Path) -> None:
    (tmp_path / "00000003.history").write_text("1\t0/3000000\tno recovery target\n2\t0/5000000\tbefore\n")
    way = stretches(str(tmp_path), 3, 1, 0x2000000, 0x6000000)
    assert way == [
        Stretch(1, 0x2000000, 0x3000000),
        Stretch(2, 0x3000000, 0x5000000),
        Stretch(3, 0x5000000, 0x6000000),
    ]
    assert stretches(str(tmp_path), 2, 2, 5, 9) == [Stretch(2, 5, 9)]
    with pytest.raises(CodeblueError, match="history"):
        stretches(str(tmp_path), 4, 1, 5, 9)


def test_a_stumble_at_the_end_is_no_damage_and_one_before_it_is() -> None:
    said = "pg_waldump: error: error in WAL record at 0/2C00120: record with incorrect prev-link 0/283C2E8 at 0/3000028"
    assert _at_the_end(said, 0x3000028)
    assert not _at_the_end(said, 0x3400028)
    assert not _at_the_end("pg_waldump: error: could not open directory", 0)
