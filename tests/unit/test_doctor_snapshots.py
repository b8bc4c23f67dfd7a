"""What the doctor says about snapshots: overdue, missing in another place, too seldom for the RPO."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot, Store, open_store
from codeblue.doctor.snapshots import check_snapshots

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROCESS = {"manager": "systemd", "unit": "postgresql"}
DATABASE = {
    "codeblue_environment": "production",
    "codeblue_platform": "host",
    "codeblue_kind": "database",
    "codeblue_tier": 0,
    "codeblue_depends_on": [],
    "codeblue_objectives": {"rto": "5m", "rpo": "5m"},
    "codeblue_host": {
        "postgresql": {
            "bin_dir": "/usr/lib/postgresql/18/bin",
            "database": "clinic",
            "archive_dir": "/var/lib/wal-archive",
            "write_paths": ["gateway"],
            "members": {
                "db1": {
                    "role": "primary",
                    "address": "127.0.0.1",
                    "port": 5432,
                    "data_dir": "/var/lib/postgresql/18/main",
                    "process": PROCESS,
                }
            },
        }
    },
    "codeblue_checks": {"shallow": [{"id": "tcp", "type": "tcp", "address": "127.0.0.1", "port": 1}]},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    return open_store()


def taken(hours_ago: float, number: int = 1, **changes: Any) -> Snapshot:
    created = (NOW - timedelta(hours=hours_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    snapshot = Snapshot(
        snapshot_id=f"01K9Z5V6A8T7Q2N4M3R1C0X9Y{number}",
        target="patient_db",
        level="database",
        kind="scheduled",
        created_at=created,
        location="db1:/var/backups",
        manifest_sha256="0" * 64,
        size_bytes=1,
    )
    return replace(snapshot, **changes)


def found(store: Store, **changes: Any) -> list[tuple[str, str]]:
    variables = {"patient_db": {**copy.deepcopy(DATABASE), **changes}}
    services = load_services(variables, {"patient_db", "db1"})
    return [(each.status, each.text) for each in check_snapshots(store, services, variables, NOW)]


def test_a_database_in_production_without_snapshot_is_told_and_one_of_the_lab_is_not(store: Store) -> None:
    assert found(store) == [("warning", "patient_db: there is no snapshot of it, and no schedule")]
    assert found(store, codeblue_environment="lab") == []


def test_a_snapshot_is_overdue_after_one_and_a_half_intervals(store: Store) -> None:
    store.add_snapshot(taken(1.4))
    assert found(store) == [("ok", "none is overdue, of 1 services")]
    assert found(store, codeblue_snapshot_interval="30m")[0][0] == "warning"
    store.add_snapshot(taken(0.1, 2))
    assert found(store, codeblue_snapshot_interval="30m")[0][0] == "ok"
    # A damaged one is none.
    store.set_snapshot_state(taken(0.1, 2).snapshot_id, "corrupt")
    status, text = found(store, codeblue_snapshot_interval="30m")[0]
    assert status == "warning" and "overdue" in text


def test_without_an_archive_the_interval_bounds_what_is_lost(store: Store) -> None:
    store.add_snapshot(taken(0.1))
    host = copy.deepcopy(DATABASE["codeblue_host"])
    assert isinstance(host, dict)
    del host["postgresql"]["archive_dir"]
    status, text = found(store, codeblue_host=host)[0]
    assert status == "warning" and "RPO of 300 s" in text


def test_a_copy_that_is_missing_in_the_other_place_is_told(store: Store, tmp_path: Path) -> None:
    store.add_snapshot(taken(0.1, meta={"store": "/srv/snapshots"}))
    place = tmp_path / "elsewhere"
    status, text = found(store, codeblue_snapshot_copies=[str(place)])[0]
    assert status == "warning" and f"no copy in {place}" in text
    (place / "snapshots").mkdir(parents=True)
    (place / "snapshots" / f"{taken(0).snapshot_id}.json").touch()
    assert found(store, codeblue_snapshot_copies=[str(place)])[0][0] == "ok"
    assert found(store, codeblue_snapshot_copies="elsewhere")[0][0] == "failed"


def test_an_interval_that_is_none_is_told_in_one_line(store: Store) -> None:
    status, text = found(store, codeblue_snapshot_interval="often")[0]
    assert status == "failed" and "codeblue_snapshot_interval" in text
