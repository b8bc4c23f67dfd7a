"""When a planned switchover may begin, and to which member; by what members say of themselves."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_follow import switch_points
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member, Process
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import Members
from ansible_collections.codeblue.recovery.plugins.plugin_utils._switchover_choice import (
    SwitchoverChoice,
    SwitchoverLimits,
    choose_switchover,
    waited_for,
)

Statuses = dict[str, dict[str, t.Any]]

LIMITS = SwitchoverLimits(lag_bytes=1000, transaction_seconds=30.0)


def standby(name: str) -> dict[str, t.Any]:
    return {
        "sql": {"answers": True},
        "in_recovery": True,
        "system_identifier": "7",
        "timeline": 1,
        "archive_mode": "on",
        "wal": {"replay_paused": False, "slot_name": f"standby_{name}"},
        "slots": [],
        "synchronous_standby_names": "",
    }


def statuses() -> Statuses:
    """db1 is the primary, db2 lacks 80 bytes and db3 none."""
    return {
        "db1": {
            "sql": {"answers": True},
            "in_recovery": False,
            "system_identifier": "7",
            "timeline": 1,
            "archive_mode": "on",
            "wal": {"current_lsn": "0/5000000"},
            "replication": [
                {"name": "db2", "state": "streaming", "replay_lsn": "0/4FFFFB0"},
                {"name": "db3", "state": "streaming", "replay_lsn": "0/5000000"},
            ],
            "slots": [
                {"name": "standby_db2", "type": "physical", "wal_status": "reserved"},
                {"name": "standby_db3", "type": "physical", "wal_status": "reserved"},
            ],
            "sessions": [{"user": "records_app", "application_name": "records", "longest_transaction_seconds": 0.1}],
        },
        "db2": standby("db2"),
        "db3": standby("db3"),
    }


def members(found: t.Mapping[str, dict[str, t.Any] | None]) -> Members:
    database = HostDatabase(
        bin_dir="/bin",
        os_user="postgres",
        database="clinic",
        admin_user="postgres",
        admin_passfile=None,
        socket_dir=None,
        service_roles=(),
        archive_dir=None,
        replication_user="replicator",
        write_paths=("gateway",),
        members={
            name: Member(
                machine=name,
                role="primary" if name == "db1" else "standby",
                address="127.0.0.1",
                port=5432,
                data_dir="/data",
                process=Process("systemd", "postgresql"),
            )
            for name in found
        },
    )
    answers = {
        name: MachineAnswer(name, result=status) if status is not None else MachineAnswer(name, unreachable="no route")
        for name, status in found.items()
    }
    return Members(database, database.members["db1"], answers)


def choose(found: t.Mapping[str, dict[str, t.Any] | None], wanted: str | None = None) -> SwitchoverChoice:
    return choose_switchover("patient_db", members(found), wanted, LIMITS)


def test_the_standby_with_the_smallest_lag_is_chosen_and_the_others_follow() -> None:
    choice = choose(statuses())
    assert (choice.old, choice.new, choice.lag_bytes) == ("db1", "db3", 0)
    assert choice.followers == ("db1", "db2") and choice.left_behind == ()


def test_the_wanted_one_is_chosen() -> None:
    choice = choose(statuses(), "db2")
    assert (choice.new, choice.lag_bytes, choice.followers) == ("db2", 80, ("db1", "db3"))


def test_one_that_is_away_is_left_behind() -> None:
    found: dict[str, dict[str, t.Any] | None] = {**statuses(), "db2": None}
    primary = found["db1"]
    assert primary is not None
    primary["replication"].pop(0)
    choice = choose(found)
    assert choice.new == "db3" and choice.left_behind == ("db2",)
    with pytest.raises(Refused, match="db2 cannot be asked \\(no route\\)"):
        choose(found, "db2")


@pytest.mark.parametrize("wanted", ["db1", "db9"])
def test_what_is_no_standby_is_bad_input(wanted: str) -> None:
    with pytest.raises(BadInput, match="no standby of it"):
        choose(statuses(), wanted)


def _set(path: str, value: t.Any) -> t.Callable[[Statuses], None]:
    def change(found: Statuses) -> None:
        *parents, last = path.split(".")
        place: t.Any = found
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("db2.managed_by", "patroni"), "patroni decides on db2"),
        (_set("db1.sessions.0.longest_transaction_seconds", 31), "a transaction of records_app .records. is 31 s old"),
        (_set("db1.replication.1.state", "backup"), "a base backup of db1"),
        # It is not chosen, and the shutdown would wait for it all the same.
        (_set("db1.replication.1.replay_lsn", "0/4000000"), "db3 is 16.0 MB behind db1, 1000 bytes are allowed"),
        (_set("db1.replication.0.replay_lsn", "0/4FFFB00"), "db2 is 1280 bytes behind"),
        (_set("db1.replication.0.state", "catchup"), "db2 does not stream"),
        (_set("db2.in_recovery", None), "db2 does not stream"),
        (_set("db2.sql", {"answers": False}), "db2 does not answer"),
        (_set("db2.system_identifier", "8"), "another cluster"),
        (_set("db2.timeline", 2), "is on timeline 2 and the primary on 1"),
        (_set("db2.wal.replay_paused", True), "does not replay"),
        (_set("db1.slots.0.wal_status", "lost"), "has the slot standby_db2, which does not keep the log"),
        (_set("db2.archive_mode", "off"), "does not archive"),
        (_set("db1.slots.1", {"name": "cdc", "type": "logical"}), "lacks the logical replication slot cdc"),
        (_set("db2.synchronous_standby_names", "ANY 1 (db4, db5)"), "commits on db2 would hang"),
        (_set("db2.synchronous_standby_names", "FIRST 3 (*)"), "commits on db2 would hang"),
    ],
)
def test_what_stands_against_it_is_named(change: t.Callable[[Statuses], None], words: str) -> None:
    found = copy.deepcopy(statuses())
    change(found)
    with pytest.raises(Refused, match=words):
        choose(found, "db2")


def test_a_logical_slot_that_the_standby_has_too_is_kept() -> None:
    found = statuses()
    slot = {"name": "cdc", "type": "logical"}
    found["db1"]["slots"].append(slot)
    found["db2"]["slots"].append(slot)
    assert choose(found, "db2").new == "db2"


@pytest.mark.parametrize(
    ("setting", "number", "names"),
    [
        ("", 0, set()),
        ("db1, db2", 1, {"db1", "db2"}),
        ("*", 1, {"*"}),
        ("2 (db1, db2)", 2, {"db1", "db2"}),
        ('ANY 1 ("DB1", db2)', 1, {"db1", "db2"}),
        ("first 2 (*)", 2, {"*"}),
    ],
)
def test_synchronous_standby_names(setting: str, number: int, names: set[str]) -> None:
    assert waited_for(setting) == (number, names)


def test_where_earlier_timelines_were_left() -> None:
    history = "1\t0/5000148\tno recovery target specified\n\n# a comment\n2\t1/0\tbefore transaction 7\n"
    assert switch_points(history) == {1: parse_lsn("0/5000148"), 2: 1 << 32}
    assert switch_points("") == {}
