"""Both database servers are lost: a snapshot that is whole brings it back, without one the run says so. About 60 s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from codeblue.lab import Lab
from codeblue.lab.layout import DATABASE_MEMBERS
from drill_support import Ended, codeblue

pytestmark = [pytest.mark.lab, pytest.mark.drill]

RUN = ("run", "database_connection_failure", "--json", "-i")


@pytest.fixture
def lost(lab: Lab) -> Iterator[Lab]:
    """A lab with two snapshots of its database and no member left."""
    for _snapshot in range(2):
        taken = codeblue(
            "snapshot", "create", "--json", "--full", "-i", str(lab.inventory_path), "--limit", "patient_db"
        )
        assert taken.exit_code == 0, taken.errors
        assert taken.summary["outcome"] == "completed"
    lab.break_("all_members_lost")
    yield lab
    lab.heal()


def backups(lab: Lab) -> list[Path]:
    """Directories of base backups, the oldest first; other tests' snapshots are among them."""
    found = [each for member in DATABASE_MEMBERS for each in lab.layout.snapshot_dir(member).glob("*/*/backup.json")]
    return [each.parent for each in sorted(found, key=lambda path: path.stat().st_mtime_ns)]


def damage(backup: Path) -> None:
    """A few bytes in a file of the database, as a bad block leaves them."""
    victim = max((backup / "data" / "base").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(victim.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = b"\xde\xad\xbe\xef" * 2
    victim.write_bytes(content)


def restored(ended: Ended) -> list[str]:
    return [str(each["summary"]) for each in ended.messages if each.get("stage") == "restore"]


def test_a_damaged_snapshot_is_passed_over_for_the_one_before_it(lost: Lab) -> None:
    damage(backups(lost)[-1])
    ended = codeblue(*RUN, str(lost.inventory_path))
    assert ended.exit_code == 0, ended.summary
    assert ended.summary["outcome"] == "recovered"
    assert "passed over as damaged: 1" in restored(ended)[0]
    # What was lost is kept.
    assert list(lost.layout.machine("db1").glob("data.lost-*"))


def test_with_nothing_left_it_says_so_and_touches_nothing(lost: Lab) -> None:
    for backup in backups(lost):
        damage(backup)
    before = {member: _listing(lost.layout.data_dir(member)) for member in DATABASE_MEMBERS}
    ended = codeblue(*RUN, str(lost.inventory_path))
    assert ended.exit_code == 5, ended.summary
    assert ended.summary["outcome"] == "failed_unsafe"
    assert "patient_db: all members are lost and no snapshot can be restored" in ended.summary["error"]
    assert "keep every data directory" in ended.summary["hint"]
    assert {member: _listing(lost.layout.data_dir(member)) for member in DATABASE_MEMBERS} == before


@pytest.mark.extended
def test_an_outage_with_nothing_left_names_what_is_lost_calls_a_person_and_leaves_evidence(lost: Lab) -> None:
    for backup in backups(lost):
        damage(backup)
    # Without the database three services in five fail; the gateway and ai go on, and that is no outage of everything.
    lost.break_("complete_outage")
    before = {member: _listing(lost.layout.data_dir(member)) for member in DATABASE_MEMBERS}
    ended = codeblue("run", "complete_system_outage", "--json", "-i", str(lost.inventory_path))
    assert ended.exit_code == 5, ended.summary
    assert ended.summary["outcome"] == "failed_unsafe"
    assert "patient_db: all members are lost and no snapshot can be restored" in ended.summary["error"]
    assert "keep every data directory" in ended.summary["hint"]
    assert {member: _listing(lost.layout.data_dir(member)) for member in DATABASE_MEMBERS} == before
    kept = codeblue("evidence", "list", str(ended.summary["run"]), "--json")
    assert kept.exit_code == 0 and len(kept.messages) > 1, kept


def _listing(directory: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    )
