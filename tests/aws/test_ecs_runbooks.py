# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole runbooks for services of ECS: planned, run, run again; and services that are not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ecs_clinic import CLUSTER, Controller, deploy, look, make_service, runs, service
from operator_site import OperatorSite
from regions import Regions, running_regions


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions, monkeypatch: pytest.MonkeyPatch) -> Regions:
    server.reset()
    Controller().install(monkeypatch)
    return server


def test_a_complete_outage_is_mended_whatever_is_wrong_with_each_service(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, "auth")
    make_service(regions, "records", ["1", "gone"])
    deploy(regions, "records", 2)
    regions.client("ecs").update_service(cluster=CLUSTER, service="auth", desiredCount=0)
    look(regions, "auth")
    services = {"auth": service("auth", desired=2), "records": service("records")}
    account = OperatorSite(tmp_path, services, regions.environment)
    regions.forget()

    code, lines = account.codeblue("plan", "complete_system_outage")
    assert code == 0, lines[-1]
    assert regions.changes == []

    code, lines = account.codeblue("run", "complete_system_outage", "--because", "half of it is down")
    assert code == 0, lines[-1]
    assert runs(regions, "auth") == ("auth:1", 2)
    assert runs(regions, "records") == ("records:1", 2)
    assert regions.changes == ["update_service"] * 2

    regions.forget()
    code, lines = account.codeblue("run", "complete_system_outage", "--because", "once more")
    assert code == 0 and regions.changes == [], lines[-1]


def test_a_runbook_that_cannot_work_there_touches_nothing(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, "records")
    account = OperatorSite(tmp_path, {"records": service("records", kind="database")}, regions.environment)
    regions.forget()
    code, lines = account.codeblue("run", "database_connection_failure", "--because", "a test")
    assert code == 2 and "does not work on platform aws with ecs yet" in str(lines[-1])
    assert regions.changes == []
