"""What a migration tool prints, as its status is read."""

from __future__ import annotations

import json

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._schema_status import read_status


def test_json_is_read_and_sorted_by_time() -> None:
    found = read_status(
        json.dumps(
            [
                {
                    "version": "2",
                    "applied_at": "2026-02-01T10:00:00+01:00",
                    "way_back": "clean",
                    "tables": ["a", "s.b"],
                },
                {"version": 1, "applied_at": "2026-01-01T09:00:00Z", "description": "first"},
            ]
        ),
        "data_loss",
    )
    assert [(each.version, each.way_back) for each in found] == [("1", "data_loss"), ("2", "clean")]
    assert found[1].applied_at == "2026-02-01T09:00:00.000000Z"
    assert (found[0].tables, found[1].tables) == (None, ("a", "s.b"))
    assert found[0].as_dict()["description"] == "first"
    assert read_status('{"applied": []}', "clean") == []


def test_lines_are_read() -> None:
    found = read_status("0001 2026-01-01T09:00:00Z\n0002 2026-02-01T09:00:00Z none it drops much\n", "clean")
    assert [(each.version, each.way_back) for each in found] == [("0001", "clean"), ("0002", "none")]
    assert read_status("", "clean") == []


def test_without_times_the_order_of_the_tool_counts() -> None:
    assert [each.version for each in read_status("b\na\n", "clean")] == ["b", "a"]
    assert read_status("b\n", "clean")[0].applied_at is None


@pytest.mark.parametrize(
    "printed",
    [
        "[",
        '{"secret": "hunter2"}',
        '[{"version": "1", "applied_at": "2026-01-01 09:00:00"}]',
        '[{"version": "--help", "applied_at": null}]',
        '[{"version": "1", "way_back": "perhaps"}]',
        '[{"version": "1", "tables": ["a; drop table b"]}]',
        '[{"version": true}]',
        "1 yesterday",
        "1\n1",
        "postgresql://admin:hunter2@db/clinic: connection refused",
    ],
)
def test_what_is_no_status_is_refused_without_repeating_it(printed: str) -> None:
    with pytest.raises(CodeblueError) as caught:
        read_status(printed, "clean")
    assert "hunter2" not in str(caught.value) and caught.value.hint
