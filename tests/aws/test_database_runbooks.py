# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole runbooks about a database in RDS, by the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_database import DATABASE, REPLICA, described, lag, make_instance, make_replica, site, status
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
