"""From what was seen to one cause: every cause, every way to decide a failover, and what contradicts itself."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import (
    Findings,
    GatewayLook,
    LoginLook,
    MemberLook,
    member_look,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_postgresql import (
    CAUSES,
    LIKELY,
    PROVEN,
    Diagnosis,
    diagnose,
)

NOW = 1_800_000_000.0
FAILED_AT = NOW - 3
RPO = 300.0
END = 0x5000148


def check(id: str, error_class: str | None = None, target: str = "patient_db", type: str = "postgresql") -> CheckResult:
    return CheckResult(target, id, "deep", type, error_class is None, 0.01, error_class, "", NOW - 1)


def primary(**changes: t.Any) -> MemberLook:
    values: dict[str, t.Any] = {
        "answers": True, "in_recovery": False, "role": "primary", "alive": True, "disk_usable": True,
        "system_identifier": "7", "timeline": 1, "free_for_services": 80, "maximum_connections": 100,
    }  # fmt: skip
    return MemberLook("db1", **{**values, **changes})


def standby(machine: str = "db2", **changes: t.Any) -> MemberLook:
    values: dict[str, t.Any] = {
        "answers": True, "in_recovery": True, "role": "standby", "alive": True, "disk_usable": True,
        "system_identifier": "7", "timeline": 1, "received": END, "last_commit_at": FAILED_AT - 0.2,
    }  # fmt: skip
    return MemberLook(machine, **{**values, **changes})


def dead(**changes: t.Any) -> MemberLook:
    """Its process is gone, its disk is fine and its log ends where the standby's does."""
    values = {"answers": False, "in_recovery": None, "alive": False, "sql_kind": "refused", "log_end": END}
    return primary(**{**values, "free_for_services": None, **changes})


def run(
    members: t.Sequence[MemberLook],
    results: t.Sequence[CheckResult] = (),
    gateway: GatewayLook | None = None,
    logins: t.Sequence[LoginLook] = (),
    rpo: float = RPO,
    first_failed_at: float | None = FAILED_AT,
) -> Diagnosis:
    looks = {look.machine: look for look in members}
    findings = Findings(results, looks, gateway, logins, first_failed_at, NOW)
    found = diagnose(findings, "db1", rpo, {"records_app", "auth_app"})
    assert found.cause in CAUSES and found.evidence
    assert (found.next_step is not None) is (found.cause == "inconclusive")
    return found


CLOSED = [check("tcp", "refused", type="tcp"), check("write", "closed")]
SPLIT_POOL = [
    {"user": "reporting", "application_name": "report", "state": "idle in transaction", "count": 60},
    {"user": "reporting", "application_name": "report", "state": "idle", "count": 30},
    {"user": "records_app", "application_name": "records", "state": "idle", "count": 4, "service_role": True},
]
UP = GatewayLook(True, {"db1": "up", "db2": "down"})


def sessions(groups: t.Sequence[dict[str, t.Any]]) -> tuple[t.Any, ...]:
    return member_look("x", {"sql": {"answers": True}, "sessions": groups}).sessions


# -- which cause -------------------------------------------------------------------------------------------------------

CAUSE_TABLE: list[tuple[str, dict[str, t.Any], str, float]] = [
    ("all is well", {"members": [primary(), standby()], "results": [check("write")]}, "healthy", PROVEN),
    ("process gone", {"members": [dead(), standby()], "results": CLOSED}, "primary_dead", PROVEN),
    ("process gone, no check saw it", {"members": [dead(), standby()]}, "primary_dead", LIKELY),
    (
        "machine silent",
        {"members": [MemberLook("db1", unreachable="timeout"), standby()], "results": CLOSED},
        "primary_dead",
        LIKELY,
    ),
    (
        "process hung",
        {"members": [dead(alive=True, sql_kind="stopped"), standby(receiver_status="streaming")], "results": CLOSED},
        "primary_dead",
        PROVEN,
    ),
    (
        "machine without power, its connection still open",
        {
            "members": [
                MemberLook("db1", unreachable="timeout"),
                standby(receiver_status="streaming", receiver_heard_ago=20.0),
            ],
            "results": CLOSED,
        },
        "primary_dead",
        LIKELY,
    ),
    (
        "places used up",
        {
            "members": [primary(free_for_services=0, sessions=sessions(SPLIT_POOL)), standby()],
            "results": [check("write", "too_many_connections")],
        },
        "pool_exhausted",
        PROVEN,
    ),
    (
        "refused a moment ago, free again",
        {"members": [primary(), standby()], "results": [check("write", "too_many_connections")]},
        "pool_exhausted",
        LIKELY,
    ),
    (
        "not even the administrator gets in",
        {"members": [dead(alive=True, sql_kind="too_many_connections"), standby()]},
        "pool_exhausted",
        LIKELY,
    ),
    (
        "not even the administrator gets in, while the standby streams and a client that got a place before is served",
        {
            "members": [
                dead(alive=True, sql_kind="too_many_connections"),
                standby(receiver_status="streaming", receiver_heard_ago=0.1),
            ],
            "results": [check("read"), check("write", "too_many_connections")],
        },
        "pool_exhausted",
        LIKELY,
    ),
    (
        "password refused",
        {
            "members": [primary(), standby()],
            "results": [check("write"), check("health", "unavailable", "records", "http")],
            "logins": [LoginLook("records_app", "app1", False), LoginLook("auth_app", "app1", True)],
        },
        "credentials_refused",
        PROVEN,
    ),
    (
        "gateway process gone",
        {"members": [primary(), standby()], "results": CLOSED, "gateway": GatewayLook(False, {})},
        "gateway_down",
        PROVEN,
    ),
    (
        "switched off in the gateway",
        {"members": [primary(), standby()], "results": CLOSED, "gateway": GatewayLook(True, {"db1": "maint"})},
        "gateway_down",
        PROVEN,
    ),
    (
        "gateway cannot reach it",
        {"members": [primary(), standby()], "results": CLOSED, "gateway": GatewayLook(True, {"db1": "down"})},
        "network_lost",
        PROVEN,
    ),
    (
        "no route",
        {"members": [primary(), standby()], "results": [check("write", "unreachable")]},
        "network_lost",
        LIKELY,
    ),
    (
        "all are standbys",
        {"members": [standby("db1"), standby()], "results": [check("write", "read_only")]},
        "standby_only",
        PROVEN,
    ),
    # Contradictory, or not enough: nothing is changed.
    (
        "silent machine, yet the standby hears from it",
        {"members": [MemberLook("db1", unreachable="no route"), standby(receiver_status="streaming")]},
        "inconclusive",
        0.0,
    ),
    (
        "no member answers, yet clients are served",
        {"members": [dead(alive=True, sql_kind="timeout"), standby()], "results": [check("write")]},
        "inconclusive",
        0.0,
    ),
    (
        "the administrator's login is wrong",
        {"members": [dead(alive=True, sql_kind="authentication"), standby()], "results": CLOSED},
        "inconclusive",
        0.0,
    ),
    (
        "well by its own word, closed to clients, gateway says up",
        {"members": [primary(), standby()], "results": CLOSED, "gateway": UP},
        "inconclusive",
        0.0,
    ),
    (
        "switched to read only on purpose",
        {"members": [primary(read_only=True), standby()], "results": [check("write", "read_only")], "gateway": UP},
        "inconclusive",
        0.0,
    ),
    (
        "gateway leads to the standby",
        {"members": [primary(), standby()], "results": [check("write", "read_only")], "gateway": UP},
        "inconclusive",
        0.0,
    ),
    (
        "only other services fail, logins not tried",
        {"members": [primary(), standby()], "results": [check("health", "unavailable", "records", "http")]},
        "inconclusive",
        0.0,
    ),
    (
        "a stranger's password is refused",
        {
            "members": [primary(), standby()],
            "results": [check("write", "credentials_refused")],
            "logins": [LoginLook("stranger", "app1", False)],
        },
        "inconclusive",
        0.0,
    ),
]


@pytest.mark.parametrize(("_what", "seen", "cause", "confidence"), CAUSE_TABLE, ids=[row[0] for row in CAUSE_TABLE])
def test_cause(_what: str, seen: dict[str, t.Any], cause: str, confidence: float) -> None:
    found = run(**seen)
    assert (found.cause, found.confidence) == (cause, confidence), found


def test_two_primaries_are_never_treated_automatically() -> None:
    second = MemberLook("db2", answers=True, in_recovery=False, role="primary", free_for_services=9)
    found = run([primary(), second], CLOSED)
    assert found.cause == "inconclusive" and "db1 and db2" in found.evidence[0]


def test_a_dead_old_primary_is_found_after_a_former_failover() -> None:
    """The inventory still says db1; the disks say that db2 is the primary now."""
    old = MemberLook("db1", answers=True, in_recovery=True, role="standby", received=END, system_identifier="7")
    gone = MemberLook("db2", alive=False, sql_kind="refused", role="primary", disk_usable=True, log_end=END)
    found = run([old, gone], CLOSED)
    assert found.cause == "primary_dead" and found.primary == "db2"
    assert found.failover is not None and found.failover.standby == "db1"


# -- which way -----------------------------------------------------------------------------------------------------

FAILOVER_TABLE: list[tuple[str, list[MemberLook], float, tuple[str, str | None, bool | None, bool, bool]]] = [
    # path, if_that_fails, in_step, needs acceptance, must fence
    ("in step", [dead(), standby()], RPO, ("promote", None, True, False, True)),
    ("in step, nothing may be lost", [dead(), standby()], 0.0, ("promote", None, True, False, True)),
    (
        "behind in bytes, no commit in them",
        [dead(log_end=END + 96, commits_after=0), standby()],
        0.0,
        ("promote", None, True, False, True),
    ),
    (
        "behind, disk usable",
        [dead(log_end=END + 96, commits_after=3), standby()],
        RPO,
        ("start_primary", "promote", False, False, True),
    ),
    (
        "behind beyond the RPO, disk usable",
        [dead(log_end=END + 96, commits_after=3), standby(last_commit_at=FAILED_AT - 900)],
        RPO,
        ("start_primary", "promote", False, True, True),
    ),
    (
        "disk broken, loss bounded within the RPO",
        [dead(disk_usable=False, log_end=None, system_identifier=None, timeline=None), standby()],
        RPO,
        ("promote", None, None, False, False),
    ),
    (
        "disk broken, loss beyond the RPO",
        [dead(disk_usable=False, log_end=None), standby(last_commit_at=FAILED_AT - 900)],
        RPO,
        ("promote", None, None, True, False),
    ),
    (
        "disk broken, loss without a bound",
        [dead(disk_usable=False, log_end=None), standby(last_commit_at=None)],
        RPO,
        ("promote", None, None, True, False),
    ),
    ("disk broken, nothing may be lost", [dead(disk_usable=False, log_end=None), standby()], 0.0,
     ("promote", None, None, True, False)),
    (
        "hung: its log may still grow",
        [dead(alive=True, sql_kind="stopped"), standby()],
        RPO,
        ("start_primary", "promote", None, False, True),
    ),
    (
        "machine silent",
        [MemberLook("db1", unreachable="timeout"), standby()],
        RPO,
        ("promote", None, None, False, True),
    ),
    ("no standby", [dead()], RPO, ("start_primary", None, None, False, True)),
    ("no standby and no disk", [dead(disk_usable=False)], RPO, ("restore", None, None, False, False)),
    (
        "standby of another cluster",
        [dead(), standby(system_identifier="8")],
        RPO,
        ("start_primary", None, None, False, True),
    ),
    ("standby on another timeline", [dead(), standby(timeline=2)], RPO,
     ("start_primary", "promote", None, False, True)),
    ("Patroni", [dead(), standby(managed_by="patroni")], RPO, ("refuse", None, True, False, True)),
]  # fmt: skip


@pytest.mark.parametrize(("_what", "members", "rpo", "wanted"), FAILOVER_TABLE, ids=[row[0] for row in FAILOVER_TABLE])
def test_failover(_what: str, members: list[MemberLook], rpo: float, wanted: tuple[t.Any, ...]) -> None:
    choice = run(members, CLOSED, rpo=rpo).failover
    assert choice is not None
    needs_acceptance = choice.acceptances == ("data_loss",)
    assert (choice.path, choice.if_that_fails, choice.in_step, needs_acceptance, choice.must_fence) == wanted, choice
    assert choice.reason


def test_the_standby_with_most_of_the_log_is_chosen() -> None:
    choice = run([dead(), standby("db2", received=END - 8), standby("db3"), standby("db4")], CLOSED).failover
    assert choice is not None and choice.standby == "db3" and choice.in_step is True


def test_the_loss_is_counted_and_bounded() -> None:
    choice = run([dead(log_end=END + 4096, commits_after=7), standby(last_commit_at=FAILED_AT - 40)], CLOSED).failover
    assert choice is not None
    assert (choice.loss_bytes, choice.loss_commits, choice.loss_seconds) == (4096, 7, pytest.approx(41.0))


def test_a_silent_primary_may_have_written_until_now() -> None:
    silent = MemberLook("db1", unreachable="timeout")
    choice = run([silent, standby(last_commit_at=NOW - 299.5)], CLOSED).failover
    assert choice is not None and choice.loss_seconds == pytest.approx(300.5)
    assert choice.within_rpo is False and choice.acceptances == ("data_loss",)


def test_without_a_primary_the_standby_with_most_is_promoted_and_nothing_is_lost() -> None:
    choice = run([standby("db1", received=END - 8), standby()], [check("write", "read_only")]).failover
    assert choice is not None
    assert (choice.path, choice.standby, choice.loss_commits, choice.must_fence) == ("promote", "db2", 0, False)


# -- what the treatment needs ------------------------------------------------------------------------------------------


def test_the_offender_is_the_stranger_with_the_idle_sessions() -> None:
    offender = run([primary(free_for_services=0, sessions=sessions(SPLIT_POOL))]).offender
    assert offender is not None
    assert (offender.user, offender.application_name, offender.count) == ("reporting", "report", 90)
    assert offender.may_be_ended


def test_the_services_own_role_is_named_and_never_ended() -> None:
    own = [{"user": "records_app", "application_name": "r", "state": "idle", "count": 95, "service_role": True}]
    offender = run([primary(free_for_services=0, sessions=sessions(own))]).offender
    assert offender is not None and not offender.may_be_ended


def test_a_server_that_refuses_its_administrator_keeps_the_offender_that_was_seen() -> None:
    full = dead(
        alive=True, sql_kind="too_many_connections", sessions=sessions(SPLIT_POOL), maximum_connections=100
    )  # fmt: skip
    found = run([full, standby(receiver_status="streaming")], [check("read")])
    assert (found.cause, found.primary) == ("pool_exhausted", "db1")
    assert found.offender is not None and (found.offender.user, found.offender.count) == ("reporting", 90)
    assert any("reporting (report) holds 90 idle sessions" in line for line in found.evidence)


def test_busy_sessions_are_no_leak() -> None:
    busy = [{"user": "batch", "application_name": "b", "state": "active", "count": 95}]
    found = run([primary(free_for_services=0, sessions=sessions(busy))], [check("write", "too_many_connections")])
    assert found.cause == "pool_exhausted" and found.offender is None
    assert any("no user sticks out" in line for line in found.evidence)


def test_all_refused_roles_are_named_with_the_places_that_have_the_old_password() -> None:
    logins = [
        LoginLook("records_app", "app1", False),
        LoginLook("records_app", "app2", True),
        LoginLook("auth_app", "app1", None),
    ]
    found = run([primary(), standby()], [check("health", "unavailable", "records", "http")], logins=logins)
    assert found.roles_refused == ("records_app",)
    assert any("app2" in line for line in found.evidence)


def test_what_the_module_returns_is_read() -> None:
    look = member_look(
        "db2",
        {
            "sql": {"answers": True, "kind": None},
            "in_recovery": True,
            "role": "standby",
            "postmaster": {"alive": True},
            "system_identifier": "7",
            "timeline": 1,
            "wal": {"received_lsn": "0/5000148", "replayed_lsn": "0/5000100", "last_replayed_commit_at": 1795.25,
                    "receiver_status": "streaming"},
            "connections": {"maximum": 100, "free_for_services": 86},
            "managed_by": None,
        },
    )  # fmt: skip
    assert (look.is_standby, look.received, look.last_commit_at, look.disk_usable) == (True, END, 1795.25, True)
    silent = member_look(
        "db1",
        {
            "sql": {"answers": False, "kind": "stopped"},
            "in_recovery": None,
            "role": "primary",
            "postmaster": {"alive": True},
            "control": {"readable": True},
            "wal_on_disk": {"lsn": "0/5000148", "commits_after": 2, "error": None},
        },
    )
    assert silent.hung and silent.log_end == END and silent.commits_after == 2 and silent.disk_usable
    assert member_look("db3", None, "timeout").unreachable == "timeout"


def test_a_diagnosis_is_plain_data() -> None:
    found = run([dead(), standby()], CLOSED).as_dict()
    assert found["failover"]["path"] == "promote" and found["cause"] == "primary_dead"
