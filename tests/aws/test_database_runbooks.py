# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole runbooks about a database in RDS, by the command."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from clinic_database import (
    DATABASE,
    REPLICA,
    described,
    lag,
    make_instance,
    make_replica,
    names,
    security_group,
    site,
    status,
)
from regions import Regions, running_regions

RUNBOOK = "database_connection_failure"


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


def test_a_failed_database_is_found_replaced_and_the_control_is_silent(regions: Regions, tmp_path: Path) -> None:
    make_instance(regions)
    make_replica(regions)
    lag(regions, 2.0)
    account = site(tmp_path, regions, replica={"instance": REPLICA}, endpoints=[{"parameter": "/clinic/host"}])
    address = described(regions, DATABASE)["Endpoint"]["Address"]
    regions.client("ssm").put_parameter(Name="/clinic/host", Value=address, Type="String")
    regions.forget()
    code, lines = account.codeblue("run", RUNBOOK)
    assert (code, regions.changes) == (0, []), str(lines)[-6000:]
    status(regions, "failed")
    code, lines = account.codeblue("plan", RUNBOOK)
    assert code == 0 and regions.changes == [], lines
    code, lines = account.codeblue("run", RUNBOOK)
    assert code == 0, str(lines)[-6000:]
    assert "promote_read_replica" in regions.changes and ("promote", "ok") in account.steps()
    regions.forget()
    code, lines = account.codeblue("run", RUNBOOK)
    assert (code, regions.changes) == (0, []), str(lines)[-6000:]


@pytest.fixture
def digests(regions: Regions) -> Iterator[str]:
    """The platform's own check of its data: they are good in what was restored, and in nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tags = {each["Key"] for each in described(regions, DATABASE).get("TagList") or ()}
            self.send_response(200 if "codeblue:run" in tags else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: t.Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def test_damaged_data_are_restored_to_the_moment_that_a_person_names(
    regions: Regions, tmp_path: Path, digests: str
) -> None:
    closed = security_group(regions)
    make_instance(regions)
    account = site(tmp_path, regions, closed_group=closed)
    signal = {"id": "digests", "type": "http", "url": digests, "topic": "integrity"}
    account.edit("patient_db", "codeblue_checks", signals=[signal])
    groups = described(regions, DATABASE)["VpcSecurityGroups"]
    regions.forget()
    moment = described(regions, DATABASE)["LatestRestorableTime"].isoformat()
    code, lines = account.codeblue("run", "data_corruption_detected", "-e", f"codeblue_restore_to={moment}")
    assert code == 0, str(lines)[-6000:]
    order = [each for each in regions.changes if each not in ("add_tags_to_resource", "remove_tags_from_resource")]
    assert order == [
        "modify_db_instance",
        "create_db_snapshot",
        "restore_db_instance_to_point_in_time",
        "modify_db_instance",
        "modify_db_instance",
        "modify_db_instance",
    ]
    # Closed while it was put in place, and open again as before.
    assert described(regions, DATABASE)["VpcSecurityGroups"] == groups
    assert any(name.startswith(f"{DATABASE}-codeblue-") for name in names(regions))
