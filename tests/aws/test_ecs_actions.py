# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Services of ECS are rolled back, scaled and recovered: looked at only, twice, and after a kill at every call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ecs_clinic import CLUSTER, Controller, deploy, look, make_service, register, runs, site
from regions import Regions, running_regions

NAME = "records"


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions, monkeypatch: pytest.MonkeyPatch) -> Regions:
    server.reset()
    Controller().install(monkeypatch)
    return server


def test_a_release_that_crashes_is_rolled_back_once(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME, ["1", "2", "crash"])
    deploy(regions, NAME, 3)
    account = site(tmp_path, regions, NAME)
    regions.forget()

    planned = account.act("aws_ecs_rollback", "--check", "--diff").worked()
    assert regions.changes == []
    assert planned.result["changed"] and "from records:3 to records:1" in planned.summary
    assert "image: registry.example/records:crash" in planned.out

    played = account.act("aws_ecs_rollback", reason="it crashes").worked()
    assert regions.changes == ["update_service"]
    assert played.result["rolled_back"][0]["why"] == "2 tasks of it serve now"
    assert runs(regions, NAME) == ("records:1", 2)

    again = account.act("aws_ecs_rollback").worked()
    assert regions.changes == ["update_service"] and not again.result["changed"]
    assert "works" in again.summary


def test_what_was_never_steady_is_not_gone_back_to(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME, ["1", "2"])
    register(regions, NAME, "crash")
    account = site(tmp_path, regions, NAME)
    deploy(regions, NAME, 2)
    for _step in range(3):
        look(regions, NAME)
    # Registered after that: nobody has ever seen it run.
    register(regions, NAME, "never")
    deploy(regions, NAME, 3)
    account.act("aws_ecs_rollback").worked()
    assert runs(regions, NAME) == ("records:2", 2)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_its_call_and_taken_up_again_it_deploys_once(regions: Regions, tmp_path: Path, moment: str) -> None:
    make_service(regions, NAME, ["1", "crash"])
    deploy(regions, NAME, 2)
    account = site(tmp_path, regions, NAME)
    regions.forget()
    process = account.begin("aws_ecs_rollback")
    regions.kill_at(process, 1, moment)
    process.communicate(timeout=120)
    assert process.returncode == -9
    played = account.act("aws_ecs_rollback", run_id=account.last_run).worked()
    assert played.result["changed"]
    assert regions.changes == ["update_service"] * (2 if moment == "before" else 1)
    assert runs(regions, NAME) == ("records:1", 2)
    assert ("roll_back_1", "ok") in account.steps()


def test_it_is_scaled_to_nothing_and_comes_back_as_it_was(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME, count=3)
    scaling = regions.client("application-autoscaling")
    scaling.register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{CLUSTER}/{NAME}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=2,
        MaxCapacity=6,
    )
    account = site(tmp_path, regions, NAME)
    regions.forget()
    stopped = account.act("aws_ecs_scale", count=0, reason="maintenance").worked()
    assert regions.changes == ["register_scalable_target", "update_service"]
    assert runs(regions, NAME) == ("records:1", 0)
    assert any("--desired-count 3" in each for each in stopped.result["due"])
    assert any('"DynamicScalingOutSuspended":false' in each for each in stopped.result["due"])

    account.act("aws_ecs_scale", count=0).worked()
    assert regions.changes == ["register_scalable_target", "update_service"]

    back = account.act("aws_ecs_scale").worked()
    assert (back.result["before"], back.result["after"]) == (0, 3)
    assert regions.changes[2:] == ["update_service", "register_scalable_target"]
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["MinCapacity"], set(target["SuspendedState"].values())) == (2, {False})

    refused = account.act("aws_ecs_scale", count=5).failed(3)
    assert "Application Auto Scaling sets the number of its tasks, between 2 and 6" in refused
    assert runs(regions, NAME) == ("records:1", 3)


def test_a_recovery_treats_what_is_wrong_one_after_the_other(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME, ["1", "gone"])
    deploy(regions, NAME, 2)
    for _step in range(3):
        look(regions, NAME)
    account = site(tmp_path, regions, NAME)
    regions.forget()
    planned = account.act("aws_ecs_recover", "--check").worked()
    assert regions.changes == [] and "would roll" in planned.summary
    played = account.act("aws_ecs_recover").worked()
    assert [each["cause"] for each in played.result["treated"]] == ["image_unavailable"]
    assert runs(regions, NAME) == ("records:1", 2)
    assert account.act("aws_ecs_recover").worked().result["treated"] == []
    assert regions.changes == ["update_service"]


def test_another_controller_keeps_its_deployments(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME)
    client = regions.client("ecs")
    client.create_service(
        cluster=CLUSTER,
        serviceName="blue",
        taskDefinition=f"{NAME}:1",
        desiredCount=1,
        deploymentController={"type": "CODE_DEPLOY"},
    )
    account = site(tmp_path, regions, "blue")
    said = account.act("aws_ecs_rollback").failed(3)
    assert "CODE_DEPLOY carries out its deployments, nothing was changed" in said and "aws deploy" in said


def test_what_is_not_there_is_said_in_one_line(regions: Regions, tmp_path: Path) -> None:
    make_service(regions, NAME)
    account = site(tmp_path, regions, "ghost")
    assert "there is no ECS service ghost of cluster clinic" in account.act("aws_ecs_rollback").failed(1)
    twin = account.act("aws_ecs_scale", count=-1).failed(2)
    assert "count: -1 is no number of tasks" in twin
