"""Snapshots and the rejoin of a former primary, as operators run them, against a real clinic. About 75 s."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes_risk import change_type
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operations import load_operation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import opening_card_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import snapshot_id_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
from clinic_site import Finished, Site, wait_for, watch_journal
from codeblue.lab.database_faults import kill_member

ROOT = Path(__file__).parents[2]
DATABASE = "all/children/codeblue_services/children/codeblue_databases/hosts/patient_db/codeblue_host/postgresql"
RUN_ID = "01K9Z5V6A8T7Q2N4M3R1C0X9YB"


def snapshot(site: Site, command: str, *options: str) -> Finished:
    return site.codeblue("snapshot", command, "-i", str(site.inventory), "--json", *options)


def newest(site: Site, service: str) -> Snapshot:
    return site.store().snapshots(service)[0]


def identity(site: Site) -> str:
    return str(site.lab.layout.identity)


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


# -- cards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((ROOT / "operations").glob("*/operation.yml")), ids=lambda path: path.parent.name
)
def test_every_operation_has_a_sound_card_and_a_play(path: Path) -> None:
    operation = load_operation(path)
    # What is done in quiet is of no severity; a quarantine by hand is part of an emergency.
    urgent = {"quarantine_service": "SEV1", "release_service": "SEV2", "region_failover": "SEV2"}
    assert operation.severity == urgent.get(operation.id, "SEV4")
    assert (ROOT / "playbooks" / f"{operation.id}.yml").is_file()
    assert not (ROOT / "runbooks" / operation.id).exists()
    card = opening_card_of(operation.id)
    assert card.pre_approved == (operation.change_type == "standard")
    expected = operation.change_type if operation.severity == "SEV4" else "emergency"
    assert change_type(card.severity, "production", card.pre_approved) == expected


def test_runbooks_are_not_approved_beforehand_and_a_wrong_card_says_what_is_wrong(tmp_path: Path) -> None:
    assert not opening_card_of("database_connection_failure").pre_approved
    path = tmp_path / "sweep" / "operation.yml"
    path.parent.mkdir()
    path.write_text("id: sweep\nseverity: SEV9\nchange_type: emergency\ntitle: x\nplan: x\nrollback: x\nsurplus: 1\n")
    with pytest.raises(BadInput) as caught:
        load_operation(path)
    assert all(word in caught.value.message for word in ("severity", "change_type", "surplus"))


def test_the_id_of_a_snapshot_comes_from_its_run() -> None:
    first = snapshot_id_of(RUN_ID, "patient_db", "on_demand")
    assert first == snapshot_id_of(RUN_ID, "patient_db", "on_demand")
    assert first[:10] == RUN_ID[:10]
    others = {snapshot_id_of(RUN_ID, "records", "on_demand"), snapshot_id_of(RUN_ID, "patient_db", "scheduled")}
    assert first not in others and len(others) == 2


# -- snapshots -------------------------------------------------------------------------------------------------


def test_a_service_is_kept_verified_proven_and_restored_and_a_flipped_bit_is_found(site: Site, tmp_path: Path) -> None:
    before = site.fingerprint()
    planned = snapshot(site, "create", "--plan", "--limit", "records")
    assert planned.code == 0 and site.fingerprint() == before and not site.runs(), planned

    created = snapshot(site, "create", "--limit", "records", "--kind", "pre_deployment")
    assert created.code == 0, created
    taken = newest(site, "records")
    assert (taken.level, taken.kind, taken.state) == (
        "code+configuration+data+infrastructure",
        "pre_deployment",
        "taken",
    )
    run = site.runs()[0]
    ticket = site.store().change(run.change_id)
    assert ticket is not None and ticket.type == "standard" and ticket.status == "completed"
    site.verify_record(run.run_id)
    assert site.fingerprint() == before

    proven = snapshot(site, "prove", taken.snapshot_id, "--identity", identity(site))
    assert proven.code == 0 and newest(site, "records").state == "proven", proven

    place = tmp_path / "restored"
    restore = ("snapshot", "restore", taken.snapshot_id, "--identity", identity(site), "--level")
    restored = site.codeblue(*restore, "configuration", "--to", str(place))
    assert restored.code == 0, restored
    config = site.lab.layout.service_config("app1", "records")
    assert (place / "app1" / str(config).lstrip("/")).read_bytes() == config.read_bytes()

    around = tmp_path / "around"
    restored = site.codeblue(*restore, "infrastructure", "--to", str(around))
    assert restored.code == 0 and "codeblue snapshot prove" in restored.out, restored
    layout = site.lab.layout
    # The certificate is of the login's front, which only HAProxy itself tells of, and holds its private key.
    for path in (layout.gateway_config, layout.gateway_state_file, layout.login_certificate, layout.blocked_paths):
        assert (around / "lb1" / str(path).lstrip("/")).read_bytes() == path.read_bytes(), path
    servers = around / "in_force" / "lb1" / "haproxy_servers" / str(layout.gateway_socket).lstrip("/")
    assert " records " in servers.read_text()
    names = json.loads((around / "in_force" / "app1" / "names.json").read_text())
    assert names["localhost"]["addresses"], names

    objects = sorted((site.state_dir / "snapshots" / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    flip(objects[-1])
    verified = snapshot(site, "verify", taken.snapshot_id, "--limit", "records", "--identity", identity(site))
    assert verified.code == 1, verified
    assert objects[-1].name in verified.summary["error"] or "code:" in verified.summary["error"], verified
    assert newest(site, "records").state == "corrupt"
    for options in (("--level", "code"), ("--level", "code", "--store", str(site.state_dir / "snapshots"))):
        elsewhere = tmp_path / f"refused{len(options)}"
        refused = site.codeblue(*restore[:-1], *options, "--to", str(elsewhere))
        # By the catalog, and without it by the bytes themselves.
        assert refused.code == (3 if len(options) == 2 else 1) and not elsewhere.exists(), refused


def test_a_database_is_kept_in_steps_verified_and_proven_and_a_flipped_bit_is_found(site: Site) -> None:
    # On its machine only; the copy in the store is in the test of the killed snapshot.
    site.inventory = site.overlay({"all/vars/codeblue_snapshot_recipients": None})
    assert snapshot(site, "create", "--limit", "patient_db").code == 0
    full = newest(site, "patient_db")
    assert full.level == "database"
    assert full.meta["levels"]["database"]["kind"] == "full" and full.meta["backup"]["machine"] == "db1"

    assert snapshot(site, "create", "--limit", "patient_db").code == 0
    step = newest(site, "patient_db")
    assert step.meta["levels"]["database"]["kind"] == "incremental" and step.parent_id == full.snapshot_id

    verified = snapshot(site, "verify", "--limit", "patient_db")
    assert verified.code == 0 and newest(site, "patient_db").state == "verified", verified
    proven = snapshot(site, "prove", "--limit", "patient_db")
    assert proven.code == 0 and newest(site, "patient_db").state == "proven", proven
    assert not list(site.lab.layout.snapshot_dir("db1").glob(".proof-*"))

    # In the full backup, on which the step is built.
    backup = Path(full.meta["backup"]["destination"]) / full.snapshot_id / "data"
    flip(backup / "global" / "pg_control")
    damaged = snapshot(site, "verify", step.snapshot_id)
    assert damaged.code == 1 and "pg_control" in damaged.summary["error"], damaged
    assert {each.state for each in site.store().snapshots("patient_db")} == {"corrupt"}
    refused = snapshot(site, "prove", step.snapshot_id)
    assert refused.code == 3, refused
    # Nothing is built upon what is damaged.
    planned = snapshot(site, "create", "--limit", "patient_db", "--plan")
    assert "a full backup was asked for" in planned.out, planned


def test_a_snapshot_that_was_killed_is_finished_by_its_run_and_taken_once(site: Site) -> None:
    process = site.start_playbook("codeblue.recovery.snapshot_services", "--limit", "patient_db")
    struck = wait_for(lambda: _keeping(site), 30.0, "the copy into the store")
    process.kill()
    _wait(process)
    run_id = site.runs()[0].run_id
    resumed = site.codeblue("resume", run_id, "-i", str(site.inventory), "--json")
    assert resumed.code == 0, (resumed, struck)
    found = site.store().snapshots("patient_db")
    assert [each.snapshot_id for each in found] == [snapshot_id_of(run_id, "patient_db", "on_demand")]
    assert found[0].level == "database+infrastructure"
    headers = list((site.state_dir / "snapshots" / "snapshots").glob("*.json"))
    assert [path.stem for path in headers] == [found[0].snapshot_id]
    site.assert_receipts_once(run_id)
    site.verify_record(run_id)


@pytest.mark.extended
def test_base_backups_and_log_that_nobody_needs_are_removed_from_the_machines(site: Site) -> None:
    site.inventory = site.overlay(
        {
            "all/vars/codeblue_snapshot_recipients": None,
            f"{DATABASE}/archive_pruned_by": "codeblue",
        }
    )
    # What other tests left there would be removed as well.
    for left in site.lab.layout.snapshot_dir("db1").glob("patient_db"):
        shutil.rmtree(left)
    for options in ((), ("--full",), ()):
        assert snapshot(site, "create", "--limit", "patient_db", *options).code == 0
    first, second, step = (each.snapshot_id for each in reversed(site.store().snapshots("patient_db")))
    place = Path(newest(site, "patient_db").meta["backup"]["destination"])
    keep = ("--newest", "1", "--days", "0")
    before = segments(site)

    planned = snapshot(site, "prune-machines", *keep, "--plan")
    assert planned.code == 0 and "would remove 1 base backups, 2 stay" in planned.out, planned
    assert backups_in(place) == sorted([first, second, step]) and segments(site)[0] == before[0]

    pruned = snapshot(site, "prune-machines", *keep)
    assert pruned.code == 0 and "GB free on db1" in pruned.out, pruned
    assert backups_in(place) == sorted([second, step]), "what the newest one is built upon stays"
    assert [each.snapshot_id for each in site.store().snapshots("patient_db")] == [step, second]
    needed = next(each for each in site.store().snapshots("patient_db") if each.snapshot_id == second)
    start = str(needed.meta["levels"]["database"]["start_lsn"]).partition("/")
    segment_bytes = (site.lab.layout.archive / segments(site)[0]).stat().st_size
    assert segments(site)[0] == f"00000001{int(start[0], 16):08X}{int(start[2], 16) // segment_bytes:08X}"
    assert segments(site)[0] > before[0]
    site.verify_record(next(each for each in site.runs() if each.runbook == "snapshot_retention").run_id)
    proven = snapshot(site, "prove", "--limit", "patient_db")
    assert proven.code == 0, proven
    nothing = snapshot(site, "prune-machines", *keep)
    assert nothing.code == 0 and nothing.summary["first_action_seconds"] is None, nothing


def backups_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def segments(site: Site) -> list[str]:
    """Whole segments in the log archive, the oldest first."""
    return sorted(path.name for path in site.lab.layout.archive.iterdir() if len(path.name) == 24)


def _keeping(site: Site) -> bool:
    return any(step.name == "patient_db/snapshot/keep" for step in watch_journal(site.database))


def _wait(process: subprocess.Popen[str]) -> None:
    process.wait(10.0)
    for pipe in (process.stdout, process.stderr):
        t.cast(t.IO[str], pipe).close()


# -- rejoin ----------------------------------------------------------------------------------------------------


def test_the_former_primary_comes_back_and_takes_over_again(site: Site) -> None:
    parts = site.lab.parts
    for primary, standby in (("db1", "db2"), ("db2", "db1")):
        # Where the standby is behind, the old primary would rather be started again.
        parts.postgresql.wait_in_step(standby)
        kill_member(parts, primary)
        failover = site.run("database_connection_failure")
        assert failover.code == 0 and site.lab.status().primary == standby, failover.out

        rejoined = site.run("database_rejoin")
        assert rejoined.code == 0, rejoined
        parts.postgresql.wait_for_role(primary, "standby")
        with parts.postgresql.connect(primary) as connection:
            assert connection.execute("show summarize_wal").fetchone() == ("off",)
        with parts.postgresql.connect(standby) as connection:
            assert connection.execute("show summarize_wal").fetchone() == ("on",)
            assert connection.execute("select application_name, state from pg_stat_replication").fetchall() == [
                (primary, "streaming")
            ]
    again = site.run("database_rejoin")
    assert again.code == 0 and again.summary["first_action_seconds"] is None, again


def test_without_a_primary_nothing_is_rejoined(site: Site) -> None:
    kill_member(site.lab.parts, "db1")
    before = site.fingerprint()
    refused = site.run("database_rejoin")
    assert refused.code == 3 and "no member is a primary" in json.dumps(refused.summary), refused
    assert site.fingerprint() == before
