"""Which change comes next: by time, over all kinds, and a migration never under a release that needs it."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._change_history import ChangeHistory, Choice
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._schema_changes import migrations_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import Undo, came_at

TOOL: dict[str, t.Any] = {
    "machine": "app1",
    "status_command": ["/srv/migrate", "status"],
    "down_command": ["/srv/migrate", "down", "{version}"],
    "used_by": ["auth", "records"],
    "needs_file": "SCHEMA",
}
MEMBER = {
    "role": "primary",
    "address": "127.0.0.1",
    "port": 5432,
    "data_dir": "/d",
    "process": {"manager": "systemd", "unit": "p"},
}
Answers = dict[str, dict[str, t.Any]]


def at(hour: int) -> str:
    return f"2026-03-01T{hour:02d}:00:00.000000Z"


def variables(kind: str, host: dict[str, t.Any], depends_on: Sequence[str] = ()) -> dict[str, t.Any]:
    return {
        "codeblue_environment": "lab",
        "codeblue_platform": "host",
        "codeblue_kind": kind,
        "codeblue_depends_on": list(depends_on),
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_host": host,
    }


def application(name: str) -> dict[str, t.Any]:
    instance = {
        "address": "127.0.0.1",
        "port": 80,
        "process": {"manager": "systemd", "unit": name},
        "release_root": f"/srv/{name}",
        "config_files": [f"/etc/{name}.json"],
        "config_repository": {"work_tree": "/etc"},
    }
    place = {"machine": "app1", "file": f"/flags/{name}.json", "history": {"file": f"/flags/{name}.jsonl"}}
    return variables("service", {"instances": {"app1": instance}, "flags": [place]}, ["patient_db"])


def clinic(**tool: t.Any) -> dict[str, Service]:
    postgresql = {
        "bin_dir": "/bin",
        "database": "clinic",
        "write_paths": ["gateway"],
        "members": {"db1": MEMBER},
        "migrations": {**TOOL, **tool},
    }
    hosts = {
        "patient_db": variables("database", {"postgresql": postgresql}),
        "auth": application("auth"),
        "records": application("records"),
    }
    return load_services(hosts, {*hosts, "app1", "db1"})


def releases(*history: tuple[str, int, str], needs: dict[str, str] | None = None) -> dict[str, t.Any]:
    """Newest first: version, hour, by whom."""
    return {
        "before": {"current": history[0][0]},
        "available": sorted({version for version, _hour, _by in history}),
        "history": [{"version": version, "deployed_at": at(hour), "by": by} for version, hour, by in history],
        "needs": needs or {},
    }


def configuration(*history: tuple[str, int]) -> dict[str, t.Any]:
    entries = [{"version": version, "commit": "c", "deployed_at": at(hour), "by": "ops"} for version, hour in history]
    return {"before": {"current": history[0][0]}, "history": entries}


def flags(*history: tuple[dict[str, t.Any], int]) -> dict[str, t.Any]:
    states = [
        {"version": f"f{position}", "changed_at": at(hour), "by": "ops", "flags": values}
        for position, (values, hour) in enumerate(history)
    ]
    return {"before": dict(history[0][0]), "history": states}


def schema(*applied: tuple[str, int | None, str]) -> dict[str, t.Any]:
    """Newest first: version, hour, way back."""
    return {
        "applied": [
            {"version": version, "applied_at": at(hour) if hour is not None else None, "way_back": way, "tables": ["r"]}
            for version, hour, way in applied
        ]
    }


def newest(
    answers: Answers,
    failing: Sequence[str] = ("auth", "records"),
    suspects: Sequence[str] | None = None,
    done: Sequence[Undo] = (),
    users: Sequence[str] = ("auth", "records"),
    marked: dict[tuple[str, str], set[str]] | None = None,
    services: dict[str, Service] | None = None,
) -> Choice:
    """What comes next, by what the machines answer: `schema`, `releases auth`, `flags records` and so on."""
    batches: list[int] = []

    def look(calls: Sequence[MachineCall]) -> list[MachineAnswer]:
        batches.append(len(calls))
        return [answer(call) for call in calls]

    def answer(call: MachineCall) -> MachineAnswer:
        where = str(call.arguments.get("release_root") or call.arguments.get("path") or call.arguments.get("files"))
        name = "auth" if "auth" in where else "records"
        kind = {
            "release_switch": "releases",
            "configuration_switch": "configuration",
            "feature_flag": "flags",
            "schema_migration": "schema",
        }[call.module.rpartition(".")[2]]
        assert call.check_mode
        found = answers.get(kind if kind == "schema" else f"{kind} {name}")
        if found is None:
            return MachineAnswer(call.machine, failure="broken")
        return MachineAnswer(call.machine, result=found)

    held = services or clinic()
    history = ChangeHistory(
        held, {"patient_db": list(users)}, look, lambda service, kind: (marked or {}).get((service, kind), set())
    )
    choice = history.newest(suspects or list(failing), failing, done)
    assert len(batches) == 1, "everything is asked at once"
    return choice


QUIET: Answers = {
    "schema": schema(("0002", 2, "clean"), ("0001", 1, "none")),
    "releases auth": releases(("1.1", 4, "ops"), ("1.0", 1, "ops")),
    "releases records": releases(("1.1", 5, "ops"), ("1.0", 1, "ops")),
    "configuration auth": configuration(("c2", 3), ("c1", 1)),
    "configuration records": configuration(("c2", 3), ("c1", 1)),
    "flags auth": flags(({"a": 1}, 3), ({"a": 0}, 1)),
    "flags records": flags(({"a": 1}, 3), ({"a": 0}, 1)),
}


@pytest.mark.parametrize(
    ("answers", "service", "kind", "good"),
    [
        ({}, "records", "release", "1.0"),
        ({"configuration auth": configuration(("c2", 9), ("c1", 1))}, "auth", "config", "c1"),
        ({"flags records": flags(({"a": 1}, 9), ({"a": 0}, 1))}, "records", "flags", "f1"),
        ({"schema": schema(("0003", 9, "clean"), ("0002", 2, "clean"))}, "patient_db", "schema", "0002"),
        ({"schema": schema(("0003", 9, "clean"))}, "patient_db", "schema", "base"),
    ],
)
def test_the_newest_change_comes_first_whatever_it_is(answers: Answers, service: str, kind: str, good: str) -> None:
    choice = newest({**QUIET, **answers})
    assert choice.undo is not None and choice.person is None and not choice.silent
    assert (choice.undo.service, choice.undo.kind, choice.undo.good) == (service, kind, good)
    assert Undo.of_record(choice.undo.as_record()) == choice.undo


def test_all_that_is_taken_back_is_passed_over_until_nothing_is_left() -> None:
    answers, done, seen = dict(QUIET), [], []
    while (choice := newest(answers, done=done)).undo is not None:
        done.append(choice.undo)
        seen.append((choice.undo.service, choice.undo.kind))
    assert seen[:2] == [("records", "release"), ("auth", "release")]
    assert seen[-1] == ("patient_db", "schema") and len(seen) == 7


def test_going_back_is_no_new_change() -> None:
    history = [
        {"version": "1.1", "at": at(9), "by": "codeblue"},
        {"version": "1.2", "at": at(8), "by": "ops"},
        {"version": "1.1", "at": at(3), "by": "ops"},
    ]
    assert came_at(history, "1.1", "at") == at(3)
    assert came_at(history, "1.2", "at") == at(8)
    assert came_at(history[:1], "1.1", "at") == at(9)
    assert came_at([], "1.1", "at") == ""
    back = releases(("1.1", 9, "codeblue"), ("1.2", 8, "ops"), ("1.1", 3, "ops"), ("1.0", 1, "ops"))
    choice = newest({**QUIET, "releases records": back, "schema": schema(("0003", 7, "clean"))})
    assert choice.undo is not None and choice.undo.kind == "schema"


def test_flags_are_set_as_they_were_and_what_was_added_goes() -> None:
    changed = flags(({"a": 1, "new": True, "same": 2}, 9), ({"a": 0, "same": 2, "old": "x"}, 1))
    choice = newest({**QUIET, "flags auth": changed})
    assert choice.undo is not None
    assert choice.undo.ways[0].details["flags"] == {"a": 0, "new": None, "old": "x"}
    assert choice.undo.ways[0].details["expect"] == {"a": 1, "new": True, "old": None}


def test_a_marked_state_is_passed_over() -> None:
    answers = {**QUIET, "flags auth": flags(({"a": 2}, 9), ({"a": 1}, 8), ({"a": 0}, 1))}
    choice = newest(answers, marked={("auth", "flags"): {"f1"}})
    assert choice.undo is not None and choice.undo.good == "f2"


# -- releases and the schema that they need ------------------------------------------------------------------------

NEEDS = {"1.0": "0002", "1.1": "0003"}
TOGETHER: Answers = {
    **QUIET,
    "schema": schema(("0003", 9, "clean"), ("0002", 2, "clean")),
    "releases records": releases(("1.1", 8, "ops"), ("1.0", 1, "ops"), needs=NEEDS),
}


def test_a_release_that_needs_the_migration_goes_first_though_it_is_older() -> None:
    choice = newest(TOGETHER)
    assert choice.undo is not None
    assert (choice.undo.service, choice.undo.kind, choice.undo.good) == ("records", "release", "1.0")
    assert "0003" in choice.undo.why


def test_a_service_that_only_suffers_is_taken_back_too_when_it_needs_the_migration() -> None:
    choice = newest(TOGETHER, suspects=["auth"])
    assert choice.undo is not None and choice.undo.service == "records"


def test_the_migration_goes_when_nothing_needs_it_any_more() -> None:
    back = releases(("1.0", 10, "codeblue"), ("1.1", 8, "ops"), ("1.0", 1, "ops"), needs=NEEDS)
    choice = newest({**TOGETHER, "releases records": back})
    assert choice.undo is not None and choice.undo.kind == "schema"
    assert choice.undo.restarts == ("auth", "records")


def test_only_what_fails_is_started_anew() -> None:
    answers = {**TOGETHER, "releases records": QUIET["releases records"]}
    choice = newest(answers, failing=["auth"])
    assert choice.undo is not None and choice.undo.restarts == ("auth",)


def test_a_release_whose_migration_is_not_applied_is_no_way_back() -> None:
    history = releases(("1.2", 9, "ops"), ("1.1", 8, "ops"), ("1.0", 1, "ops"), needs={"1.1": "0009", "1.0": "0002"})
    choice = newest({**QUIET, "releases records": history})
    assert choice.undo is not None and choice.undo.good == "1.0"


@pytest.mark.parametrize(
    ("answers", "changes", "said"),
    [
        ({"schema": schema(("0003", 9, "none"))}, {}, "no way back"),
        ({}, {"failing": ["auth"]}, "records works and needs it"),
        ({"releases records": releases(("1.1", 8, "ops"), needs=NEEDS)}, {}, "no earlier release"),
        ({}, {"users": ["auth", "records", "billing"]}, "billing uses it and is no target"),
    ],
)
def test_a_person_decides(answers: Answers, changes: dict[str, t.Any], said: str) -> None:
    choice = newest({**TOGETHER, **answers}, **changes)
    assert choice.undo is None and choice.person is not None and said in choice.person


def test_what_could_not_be_asked_is_told_and_holds_nothing_up() -> None:
    answers = {name: answer for name, answer in QUIET.items() if name != "schema"}
    choice = newest(answers)
    assert choice.undo is not None and choice.undo.kind == "release"
    assert choice.silent == ("the migrations of patient_db could not be asked on app1: broken",)


def test_a_migration_of_an_unknown_time_is_never_chosen() -> None:
    choice = newest({**QUIET, "schema": schema(("0003", None, "clean"))})
    assert choice.undo is not None and choice.undo.kind == "release"
    assert "nobody knows when" in choice.silent[0]


def test_the_schema_of_a_database_that_fails_is_left_alone() -> None:
    answers = {**QUIET, "schema": schema(("0003", 9, "clean"))}
    choice = newest(answers, failing=["auth", "records", "patient_db"], suspects=["auth", "records"])
    assert choice.undo is not None and choice.undo.kind == "release"


# -- the inventory -------------------------------------------------------------------------------------------------


def test_the_tool_is_read() -> None:
    found = clinic(lock_timeout="500ms", backup_most_mb=5, way_back="clean")["patient_db"]
    tool = migrations_of(found)
    assert tool is not None and tool.backup_most == 5 * 1024 * 1024 and tool.lock_timeout == 0.5
    assert tool.as_arguments()["way_back"] == "clean" and "app1" in found.require_host().machines()
    assert "os_user" not in tool.as_arguments()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine": "app9"}, "'app9' is not in the inventory"),
        ({"used_by": ["billing"]}, "'billing' is not in the inventory"),
        ({"status_command": ["migrate"]}, "absolute path"),
        ({"status_command": None}, "status_command: is missing"),
        ({"up_command": ["/srv/migrate", "up"]}, "names no migration"),
        ({"needs_file": "../SCHEMA"}, "inside of a release"),
        ({"way_back": "perhaps"}, "must be one of clean, data_loss, none"),
        ({"lock_timout": "1s"}, "did you mean lock_timeout?"),
    ],
)
def test_what_is_wrong_with_the_tool_is_said(changes: dict[str, t.Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        clinic(**changes)
    assert said in caught.value.message and "postgresql.migrations" in caught.value.message
