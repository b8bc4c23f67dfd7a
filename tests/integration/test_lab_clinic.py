"""The running clinic: what is normal, that each fault really breaks it, and that heal really mends it."""

from __future__ import annotations

import http.client
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
from codeblue.lab import Lab
from codeblue.lab.layout import APPLICATION_MACHINES, FAULT_UNITS, unit
from codeblue.lab.prober import Prober, analyse, count_lost
from codeblue.lab.releases import BAD_START
from host_cluster import run_module

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def clinic() -> Iterator[Lab]:
    parent = Path(tempfile.mkdtemp(prefix="cb-", dir="/var/tmp"))
    parent.chmod(0o755)
    lab = Lab(parent / "lab")
    lab.up()
    yield lab
    lab.down()
    shutil.rmtree(parent)


@pytest.fixture
def lab(clinic: Lab) -> Iterator[Lab]:
    """The clinic in its normal state, and again afterwards."""
    yield clinic
    clinic.heal()


def ask(lab: Lab, service: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", lab.parts.gateway.front_port(service), timeout=5)
    try:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        if service == "ai":
            headers["X-Api-Key"] = lab.layout.secret("monitoring_ai_key").read_text().strip()
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content.startswith(b"{") else content
    finally:
        connection.close()


def log_in(lab: Lab) -> str:
    password = lab.layout.secret("probe").read_text().strip()
    status, answer = ask(lab, "auth", "POST", "/login", {"username": "probe", "password": password})
    assert status == 200
    return str(answer["token"])


def wait_down(lab: Lab, service: str) -> None:
    """Wait until the gateway has noticed: before, it goes on to count a server as up for two checks."""
    deadline = time.monotonic() + 10
    while any(state.startswith("UP") for state in lab.parts.gateway.server_states()[service].values()):
        assert time.monotonic() < deadline, "the gateway does not notice"
        time.sleep(0.05)


def assert_normal(lab: Lab) -> None:
    status = lab.status()
    assert status.primary == "db1"
    assert status.members["db2"].streams_from_peer
    assert set(status.releases.values()) == {"1.1.0"}
    assert status.active_faults == []
    assert status.servers["patient_db"]["db2"] == "MAINT"
    states = {name: each["state"] for name, each in status.processes.items()}
    for name in FAULT_UNITS:
        assert states.pop(name, "STOPPED") in ("STOPPED", "EXITED"), name
    assert set(states.values()) <= {"RUNNING", "STARTING"}, states
    history = lab.layout.release_root("app1", "records") / "history.jsonl"
    assert [json.loads(line)["version"] for line in history.read_text().splitlines()] == ["1.0.0", "1.1.0"]


def test_people_can_work(lab: Lab) -> None:
    token = log_in(lab)
    assert ask(lab, "auth", "POST", "/verify", {"token": token}) == (200, {"username": "probe"})
    note = {"patient_ref": "synthetic-0001", "note": "severe chest pain since this morning"}
    status, made = ask(lab, "records", "POST", "/records", note, token)
    assert (status, made["triage"]) == (201, "urgent")
    status, read = ask(lab, "records", "GET", f"/records/{made['id']}", token=token)
    assert (status, read["note"], read["created_by"]) == (200, note["note"], "probe")


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "expected"),
    [
        ("auth", "POST", "/login", {"username": "probe", "password": "wrong"}, 401),
        ("auth", "POST", "/login", {"username": "probe"}, 400),
        ("auth", "POST", "/login", ["a list"], 400),
        ("auth", "POST", "/verify", {"token": "a.b.c"}, 401),
        ("auth", "POST", "/verify", {"token": "eyJhbGciOiJub25lIn0.e30."}, 401),
        ("records", "GET", "/records/1", None, 401),
        ("records", "GET", "/nowhere", None, 404),
        ("ai", "POST", "/predict", {"note": "x" * 70_000}, 413),
        ("ai", "POST", "/predict", {"note": 5}, 400),
    ],
)
def test_bad_requests_are_refused(lab: Lab, service: str, method: str, path: str, body: Any, expected: int) -> None:
    assert ask(lab, service, method, path, body)[0] == expected


def test_records_work_without_the_ai_service(lab: Lab) -> None:
    token = log_in(lab)
    note = {"patient_ref": "synthetic-0002", "note": "severe chest pain"}
    flags = lab.layout.flags_file("records")
    flags.write_text('{"ai_enabled": false}')
    assert ask(lab, "records", "POST", "/records", note, token)[1]["triage"] == "manual"
    flags.write_text('{"ai_enabled": true}')
    lab.parts.supervisor.stop("ai-app1", "ai-app2")
    assert ask(lab, "records", "POST", "/records", note, token)[1]["triage"] == "manual"


def test_a_flag_that_is_switched_survives_a_restart_of_its_service(lab: Lab, tmp_path: Path) -> None:
    step = {"run_id": "run", "target": "records", "key": "k", "generation": 1, "lock_dir": str(tmp_path)}
    flags = {"path": str(lab.layout.flags_file("records")), "flags": {"ai_enabled": False}, "settle": 0.1}
    switched = run_module("feature_flag", {**flags, "step": step}).result
    assert switched["changed"], switched
    units = [unit("records", machine) for machine in APPLICATION_MACHINES]
    lab.parts.supervisor.stop(*units)
    wait_down(lab, "records")
    lab.parts.supervisor.start(*units)
    lab.parts.wait_answering(15.0)
    note = {"patient_ref": "synthetic-0003", "note": "severe chest pain"}
    token = log_in(lab)
    # By both instances, one after the other.
    assert [ask(lab, "records", "POST", "/records", note, token)[1]["triage"] for _ in range(4)] == ["manual"] * 4


def test_the_inventory_is_one_that_the_collection_reads(lab: Lab) -> None:
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(lab.inventory_path)])
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts("codeblue_services")
    services = load_services(
        {host.name: variables.get_vars(host=host) for host in hosts}, [host.name for host in inventory.get_hosts()]
    )
    assert set(services) == {"patient_db", "gateway", "auth", "records", "ai"}
    assert {service.environment for service in services.values()} == {"lab"}
    assert all(service.checks.interval == 0.1 and service.checks.shallow for service in services.values())
    assert services["records"].require_host().machines() == ("app1", "app2", "lb1")


DATABASE_FAULTS = ("primary_dead", "primary_crashed", "primary_hung", "pool_exhausted")
OUTAGES = ("complete_outage", "bad_release_outage", "crashing_release_outage")


@pytest.mark.parametrize("fault", DATABASE_FAULTS + OUTAGES + ("credentials_refused", "records_credentials_refused"))
def test_a_fault_takes_away_what_it_says_and_heal_brings_it_back(lab: Lab, fault: str, tmp_path: Path) -> None:
    clinic, away = lab, {"records"}
    if fault != "records_credentials_refused":
        away.add("auth")
    if fault in DATABASE_FAULTS + OUTAGES:
        away.add("patient_db")
    if fault in OUTAGES:
        away.add("ai")
    with Prober(clinic, tmp_path / "samples.jsonl") as prober:
        time.sleep(0.5)
        injection = clinic.break_(fault)
        assert clinic.status().active_faults == [fault]
        assert clinic.break_(fault).already
        time.sleep(1.2)
        during = analyse(prober.samples(), since=injection.struck_monotonic)
        assert {name for name in during.outages if during.outage_seconds(name) is None} == away
        print(f"healed in {clinic.heal():.1f} s")
        time.sleep(1.0)
    after = analyse(prober.samples())
    assert after.recovered, after.outages
    assert {name for name, outages in after.outages.items() if outages} == away
    with clinic.parts.postgresql.connect("db1", "clinic") as connection:
        lost = count_lost(connection, after.acknowledged)
    # Killed servers lose nothing when they come back; a member that is thrown away may take its last writes along.
    known = injection.facts.get("standby_last_sentinel") if fault == "primary_dead" else None
    away_since = after.outages["patient_db"][0].began if after.outages.get("patient_db") else math.inf
    sent_before = [s.n for s in prober.samples() if s.ok and s.n and s.started < away_since]
    assert lost == (sum(n > known for n in sent_before) if known else 0)
    assert_normal(clinic)


def test_a_cut_off_standby_misses_exactly_what_was_written_since(lab: Lab, tmp_path: Path) -> None:
    with Prober(lab, tmp_path / "samples.jsonl") as prober:
        time.sleep(0.5)
        stopped = lab.break_("replication_stopped")
        time.sleep(1.0)
        lab.break_("primary_dead")
        time.sleep(0.3)
        seconds = lab.heal()
        time.sleep(1.0)
    found = analyse(prober.samples())
    print(f"healed in {seconds:.1f} s")
    assert found.recovered
    missing = [n for n in found.acknowledged if n > stopped.facts["standby_last_sentinel"]]
    since_promotion = {
        s.n for s in prober.samples() if s.ok and s.n and s.started > found.outages["patient_db"][-1].began
    }
    expected = [n for n in missing if n not in since_promotion]
    assert len(expected) >= 8
    with lab.parts.postgresql.connect("db1", "clinic") as connection:
        assert count_lost(connection, found.acknowledged) == len(expected)
    assert_normal(lab)


def test_writes_go_on_while_replication_is_stopped(lab: Lab) -> None:
    lab.break_("replication_stopped")
    with (
        lab.parts.postgresql.connect("db1", "clinic") as primary,
        lab.parts.postgresql.connect("db2", "clinic") as standby,
    ):
        number = time.time_ns()
        primary.execute("insert into codeblue_sentinel (n) values (%s)", (number,))
        primary.execute("select pg_switch_wal()")
        primary.execute("checkpoint")
        time.sleep(0.5)
        assert standby.execute("select count(*) from codeblue_sentinel where n = %s", (number,)).fetchone() == (0,)


def test_a_dead_primary_cannot_simply_be_started(lab: Lab) -> None:
    lab.break_("primary_dead")
    supervisor = lab.parts.supervisor
    supervisor.start("postgres-db1")
    supervisor.wait_down("postgres-db1")
    assert lab.parts.postgresql.status("db1").role == "unreachable"


def test_a_crashed_primary_stays_down_and_can_be_started(lab: Lab) -> None:
    lab.break_("primary_crashed")
    time.sleep(1.5)
    assert lab.parts.supervisor.states()["postgres-db1"] == "EXITED"
    lab.parts.supervisor.start("postgres-db1")
    lab.parts.postgresql.wait_for_role("db1", "primary")


def test_a_leaking_client_comes_back_when_its_sessions_are_ended(lab: Lab) -> None:
    lab.break_("pool_exhausted")
    count = "select count(*) from pg_stat_activity where usename = 'reporting'"
    with lab.parts.postgresql.connect("db1") as connection:
        before = connection.execute(count).fetchone()
        assert before is not None and before[0] > 20
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reporting'")
        time.sleep(0.2)
        freed = connection.execute(count).fetchone()
        assert freed is not None and freed[0] < before[0]
        deadline = time.monotonic() + 5
        while (now := connection.execute(count).fetchone()) is not None and now[0] <= 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert isinstance(lab.parts.current_primary(), str)


def test_a_release_that_crashes_at_start_is_given_up(lab: Lab) -> None:
    lab.parts.releases.deploy("records", "app1", BAD_START)
    lab.parts.supervisor.stop("records-app1")
    lab.parts.supervisor.start("records-app1")
    time.sleep(1.0)
    assert lab.parts.supervisor.states()["records-app1"] in ("BACKOFF", "STARTING", "EXITED", "FATAL")
    stderr = lab.layout.log_dir("app1") / "records.stderr.log"
    assert "No module named 'clinic_metrics'" in stderr.read_text()


def test_heal_mends_a_failover_a_rotation_and_a_changed_configuration(lab: Lab) -> None:
    """What a recovery leaves behind, and a little mischief."""
    postgresql, gateway = lab.parts.postgresql, lab.parts.gateway
    lab.break_("primary_crashed")
    with postgresql.connect("db2") as connection:
        connection.execute("select pg_promote(true, 10)")
        connection.execute("alter role records_app password null")
        connection.execute("alter system set work_mem = '5MB'")
        connection.execute("create table public.left_over (n int)")
    gateway.set_state("patient_db", "db1", "maint")
    gateway.set_state("patient_db", "db2", "ready")
    gateway.save_state()
    lab.layout.machine_secret("app1", "records_app.password").write_text("rotated\n")
    lab.layout.flags_file("ai").write_text('{"ai_enabled": false}')
    # The old primary comes back by mistake: for a moment both take writes.
    lab.parts.supervisor.start("postgres-db1")
    postgresql.wait_for_role("db1", "primary")
    print(f"healed in {lab.heal():.1f} s")
    assert_normal(lab)
    with postgresql.connect("db1") as connection:
        assert connection.execute("show work_mem").fetchone() == ("4MB",)
        # The data of the member that was promoted counts, not of the one that woke up.
        assert connection.execute("select to_regclass('public.left_over') is not null").fetchone() == (True,)
        connection.execute("drop table public.left_over")


def test_heal_mends_a_recovery_that_stopped_after_the_fence(lab: Lab) -> None:
    """The old primary may start as a standby only, and nobody was promoted."""
    lab.break_("primary_crashed")
    (lab.layout.data_dir("db1") / "standby.signal").touch()
    fence = lab.layout.lock_dir("db1") / "patient_db.5432.fence.json"
    fence.write_text("{}")
    print(f"healed in {lab.heal():.1f} s")
    assert_normal(lab)
    assert not fence.exists()
    lab.break_("primary_dead")
    lab.parts.supervisor.stop("postgres-db2")
    print(f"healed in {lab.heal():.1f} s")
    assert_normal(lab)


def test_a_switch_of_the_gateway_survives_its_restart_when_it_was_saved(lab: Lab) -> None:
    gateway, supervisor = lab.parts.gateway, lab.parts.supervisor
    gateway.set_state("patient_db", "db1", "maint")
    gateway.set_state("patient_db", "db2", "ready")

    def restarted() -> dict[str, str]:
        supervisor.stop("haproxy-lb1")
        supervisor.start("haproxy-lb1")
        gateway.wait_up({}, 5.0)
        return {server: state.split()[0] for server, state in gateway.server_states()["patient_db"].items()}

    assert restarted() == {"db1": "UP", "db2": "MAINT"}
    gateway.set_state("patient_db", "db1", "maint")
    gateway.set_state("patient_db", "db2", "ready")
    gateway.save_state()
    assert restarted() == {"db1": "MAINT", "db2": "UP"}


def test_the_archive_refuses_to_overwrite(lab: Lab, tmp_path: Path) -> None:
    with lab.parts.postgresql.connect("db1") as connection:
        row = connection.execute("select pg_walfile_name(pg_current_wal_lsn())").fetchone()
        assert row is not None
        connection.execute("checkpoint")
        connection.execute("select pg_switch_wal()")
        kept = lab.layout.archive / row[0]
        deadline = time.monotonic() + 10
        while not kept.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    same, other = tmp_path / "same", tmp_path / "other"
    same.write_bytes(kept.read_bytes())
    other.write_bytes(b"something else")
    tool = str(lab.layout.tools / "archive_wal")
    assert subprocess.run([tool, str(same), kept.name]).returncode == 0
    assert subprocess.run([tool, str(other), kept.name]).returncode != 0
    assert kept.read_bytes() == same.read_bytes()


def test_the_superuser_gets_in_when_the_pool_is_exhausted_and_a_service_does_not(lab: Lab) -> None:
    lab.break_("pool_exhausted")
    with lab.parts.postgresql.connect("db1") as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match=r"slots|too many"):
        psycopg.connect(
            host="127.0.0.1",
            port=lab.parts.gateway.front_port("patient_db"),
            dbname="clinic",
            user="records_app",
            password=lab.layout.secret("records_app").read_text().strip(),
        )


def test_an_unknown_fault_is_refused_with_the_known_ones(lab: Lab) -> None:
    with pytest.raises(BadInput, match="primary_dead, primary_crashed"):
        lab.break_("earthquake")
    assert lab.status().active_faults == []
