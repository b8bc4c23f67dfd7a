"""Which bottleneck is named for what was seen, and that nothing else is blamed."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._bottleneck import (
    ActivityLook,
    BottleneckLook,
    FrontLook,
    MachineLook,
    judge_database,
    judge_service,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import Answered, InstanceProbe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import Candidate

BEFORE, AFTER = "2026-01-02T09:00:00.000000Z", "2026-01-02T10:00:00.000000Z"
NOW = 1767348000.0  # 2026-01-02T10:00:00Z
LATE = [CheckResult("records", "answer_time", "signals", "http", False, 0.7, "slow", "", NOW, "performance")]


@pytest.fixture(scope="module")
def records() -> Service:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "host",
        "codeblue_kind": "service",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_host": {
            "instances": {
                name: {
                    "address": "10.0.0.1",
                    "port": 8101,
                    "process": {"manager": "systemd", "unit": "records"},
                    "release_root": "/srv/records",
                }
                for name in ("app1", "app2")
            },
            "gateway": {
                "machine": "lb1",
                "socket": "/run/haproxy.sock",
                "backend": "records",
                "servers": {"app1": "app1", "app2": "app2"},
            },
        },
    }
    return load_service("records", variables, {"records", "app1", "app2", "lb1"})


def probes(app1: float, app2: float) -> dict[str, InstanceProbe]:
    return {
        name: InstanceProbe(name, {"health": Answered(3, 3, {}, seconds)})
        for name, seconds in (("app1", app1), ("app2", app2))
    }


def releases(deployed_at: str) -> dict[str, Candidate]:
    return {name: Candidate("records", "1.6.0", "1.1.0", deployed_at) for name in ("app1", "app2")}


def session(**changes: t.Any) -> dict[str, t.Any]:
    values: dict[str, t.Any] = {
        "pid": 4711,
        "backend_start": "2026-01-02 09:00:00+00",
        "user": "billing",
        "application_name": "export",
        "client": "10.0.0.9",
        "state": "idle in transaction",
        "backend_type": "client backend",
        "transaction_seconds": 300.0,
        "state_seconds": 299.0,
        "superuser": False,
        "replication": False,
        "service_role": False,
        "locks": ["records ShareRowExclusiveLock"],
        "waiting": 4,
        "waiting_roles": ["records_app"],
    }
    return {**values, **changes}


def hog(**changes: t.Any) -> MachineLook:
    group = {"pid": 99, "start_ticks": 5, "name": "report", "processes": 9, "processors": 0.97, "essential": None}
    return MachineLook("app1", changes.pop("owner", "records"), 0.99, 1, groups=({**group, **changes},))


def judged(service: Service, **look: t.Any) -> dict[str, t.Any]:
    values = {"probes": probes(0.7, 0.7), "releases": releases(AFTER), "last_well": BEFORE, "now": NOW, **look}
    return judge_service(service, BottleneckLook(**values), LATE)


def test_a_release_that_came_after_it_was_last_well(records: Service) -> None:
    found = judged(records)
    assert (found["cause"], found["treatment"], found["confidence"]) == ("slow_release", "rollback", 0.95)
    assert (found["release"], found["previous"]) == ("1.6.0", "1.1.0")


def test_a_release_is_not_to_blame_when_it_was_well_with_it(records: Service) -> None:
    assert judged(records, releases=releases(BEFORE), last_well=AFTER)["cause"] == "inconclusive"


def test_nobody_measured_before(records: Service) -> None:
    assert judged(records, last_well=None)["confidence"] == 0.8
    assert judged(records, last_well=None, now=NOW + 3 * 86400)["cause"] == "inconclusive"


@pytest.mark.parametrize(
    ("look", "cause", "treatment"),
    [
        ({"machines": {"app1": hog()}}, "cpu_hog", "limit_process"),
        ({"machines": {"app1": hog(owner="auth")}}, "waits_for_machine", "none"),
        ({"machines": {"app1": hog(essential="records")}}, "slow_release", "rollback"),
        ({"machines": {"app1": hog(processors=0.2)}}, "slow_release", "rollback"),
        ({"activity": [ActivityLook("db1", blockers=(session(),))]}, "waits_for_database", "none"),
    ],
)
def test_machine_and_database_are_looked_at_before_a_release(
    records: Service, look: dict[str, t.Any], cause: str, treatment: str
) -> None:
    found = judged(records, **look)
    assert (found["cause"], found["treatment"]) == (cause, treatment)


def test_a_stranger_at_the_gateway(records: Service) -> None:
    front = FrontLook("lb1", 200, {"192.0.2.77": 170}, can_refuse=True)
    found = judged(records, probes=probes(0.01, 0.01), front=front)
    assert (found["cause"], found["treatment"], found["source"]) == (
        "connection_storm",
        "refuse_source",
        "192.0.2.77",
    )
    by_hand = judged(records, probes=probes(0.01, 0.01), front=FrontLook("lb1", 200, {"192.0.2.77": 170}, False))
    assert by_hand["treatment"] == "person" and "192.0.2.77" in by_hand["next_step"]


@pytest.mark.parametrize("strangers", [{}, {"192.0.2.77": 19}, {"192.0.2.77": 90, "192.0.2.78": 60}])
def test_many_connections_are_no_storm_by_themselves(records: Service, strangers: dict[str, int]) -> None:
    front = FrontLook("lb1", 200, strangers, can_refuse=True)
    assert judged(records, probes=probes(0.01, 0.01), front=front)["cause"] == "inconclusive"


def test_a_storm_does_not_explain_instances_that_are_late_themselves(records: Service) -> None:
    front = FrontLook("lb1", 200, {"192.0.2.77": 170}, can_refuse=True)
    assert judged(records, front=front)["cause"] == "slow_release"


def test_one_late_instance_is_drained_and_never_the_last_one(records: Service) -> None:
    found = judged(records, probes=probes(0.7, 0.01), releases={})
    assert (found["cause"], found["treatment"], found["instances"]) == ("slow_instance", "drain", ["app1"])
    assert judged(records, releases={})["cause"] == "inconclusive"


def test_who_is_not_late_is_left_alone(records: Service) -> None:
    found = judge_service(records, BottleneckLook(machines={"app1": hog()}), [])
    assert (found["cause"], found["treatment"]) == ("healthy", "none")


def test_the_root_that_most_wait_for_is_ended(records: Service) -> None:
    looks = [ActivityLook("db1", blockers=(session(pid=1, waiting=1), session(pid=2, waiting=7)))]
    found = judge_database(records, looks, LATE)
    assert (found["cause"], found["treatment"], found["member"]) == ("blocking_session", "end_blocker", "db1")
    assert found["session"] == {
        "pid": 2,
        "backend_start": "2026-01-02 09:00:00+00",
        "user": "billing",
        "application_name": "export",
        "client": "10.0.0.9",
    }


@pytest.mark.parametrize(
    "protected",
    [{"superuser": True}, {"replication": True}, {"service_role": True}, {"backend_type": "autovacuum worker"}],
)
def test_protected_sessions_are_a_persons_business(records: Service, protected: dict[str, t.Any]) -> None:
    found = judge_database(records, [ActivityLook("db1", blockers=(session(**protected),))], LATE)
    assert (found["cause"], found["treatment"]) == ("protected_blocker", "person")
    assert found["next_step"]


def test_an_idle_holder_is_likely_and_no_more(records: Service) -> None:
    found = judge_database(records, [ActivityLook("db1", idle_holders=(session(),))], LATE)
    assert (found["cause"], found["confidence"]) == ("blocking_session", 0.8)
    protected = ActivityLook("db1", idle_holders=(session(superuser=True),))
    assert judge_database(records, [protected], LATE)["treatment"] != "end_blocker"


def test_a_lock_is_no_reason_to_act_while_nothing_is_late(records: Service) -> None:
    found = judge_database(records, [ActivityLook("db1", blockers=(session(),))], [])
    assert (found["cause"], found["treatment"]) == ("healthy", "none")


def test_a_database_that_cannot_be_asked_is_inconclusive(records: Service) -> None:
    found = judge_database(records, [ActivityLook("db1", unknown="no answer")], LATE)
    assert (found["cause"], found["treatment"]) == ("inconclusive", "person")
