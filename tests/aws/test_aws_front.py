# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Maintenance, target groups, distributions, objects: what stands in front of a service (about two minutes)."""

from __future__ import annotations

import datetime
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_front import (
    FRONTEND,
    front_site,
    make_balancer,
    make_buckets,
    make_distribution,
    put,
    text_of,
    weights,
)
from regions import Regions, running_regions

BUCKET = {
    "name": FRONTEND,
    "page": {"key": "index.html", "maintenance": {"bucket": FRONTEND, "key": "maintenance.html"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


def changed(regions: Regions) -> list[str]:
    return [each.operation for each in regions.asked if each.changes]


def test_target_groups_share_in_steps_once_the_new_one_is_healthy(regions: Regions, tmp_path: Path) -> None:
    made = make_balancer(regions)
    groups = {name: made[name] for name in ("blue", "green")}
    account = front_site(tmp_path, regions, load_balancer={"listener": made["listener"], "target_groups": groups})
    regions.forget()
    planned = account.act("aws_traffic_shift", "--check", to="green", hold="1s").worked()
    assert planned.result["changed"] and changed(regions) == [] and weights(regions, made) == {"blue": 1}
    played = account.act("aws_traffic_shift", to="green", hold="1s").worked()
    assert weights(regions, made) == {"blue": 0, "green": 100}
    # First the weight 0, so that the load balancer looks at the targets; then the four steps.
    assert changed(regions) == ["modify_listener"] * 5
    assert [each["percent"] for each in played.result["gates"]] == [5, 25, 50, 100]
    regions.forget()
    assert not account.act("aws_traffic_shift", to="green", hold="1s").worked().result["changed"]
    assert changed(regions) == []


def test_targets_that_are_not_healthy_get_nothing_and_are_told_by_their_reason(
    regions: Regions, tmp_path: Path
) -> None:
    made = make_balancer(regions)
    green = regions.client("elbv2")
    green.deregister_targets(TargetGroupArn=made["green"], Targets=[{"Id": "10.0.0.6", "Port": 80}])
    before = regions.client("elbv2").describe_listeners(ListenerArns=[made["listener"]])["Listeners"][0]
    groups = {name: made[name] for name in ("blue", "green")}
    account = front_site(tmp_path, regions, load_balancer={"listener": made["listener"], "target_groups": groups})
    said = account.act("aws_traffic_shift", to="green", hold="1s", healthy_within=0.5).failed(1)
    assert "is as before again: target group green has no targets" in said
    after = regions.client("elbv2").describe_listeners(ListenerArns=[made["listener"]])["Listeners"][0]
    assert after["DefaultActions"] == before["DefaultActions"]


def test_maintenance_comes_and_goes_and_leaves_nothing(regions: Regions, tmp_path: Path) -> None:
    made = make_balancer(regions)
    make_buckets(regions)
    put(regions, "index.html", "the clinic")
    put(regions, "maintenance.html", "back soon")
    distribution = make_distribution(regions)
    account = front_site(
        tmp_path,
        regions,
        load_balancer={"listener": made["listener"], "maintenance": {"body": "closed for an hour"}},
        bucket=BUCKET,
        distribution={"id": distribution},
    )
    elb, s3 = regions.client("elbv2"), regions.client("s3")
    regions.forget()
    assert account.act("aws_maintenance", "--check", "--diff").worked().result["changed"] and changed(regions) == []
    played = account.act("aws_maintenance", reason="a test").worked()
    assert played.result["switched"] == ["load_balancer", "page"] and played.result["invalidation"]
    rules = elb.describe_rules(ListenerArn=made["listener"])["Rules"]
    first = next(each for each in rules if each["Priority"] == "1")
    assert first["Actions"][0]["FixedResponseConfig"]["MessageBody"] == "closed for an hour"
    assert text_of(regions, "index.html") == "back soon"
    regions.forget()
    assert not account.act("aws_maintenance").worked().result["changed"] and changed(regions) == []
    account.act("aws_maintenance", state="absent").worked()
    assert [each["Priority"] for each in elb.describe_rules(ListenerArn=made["listener"])["Rules"]] == ["default"]
    assert text_of(regions, "index.html") == "the clinic"
    head = s3.head_object(Bucket=FRONTEND, Key="index.html")
    assert head["ContentType"] == "text/html" and head["Metadata"] == {}
    regions.forget()
    assert not account.act("aws_maintenance", state="absent").worked().result["changed"] and changed(regions) == []


def test_a_page_without_versions_is_not_written_over(regions: Regions, tmp_path: Path) -> None:
    regions.client("s3").create_bucket(Bucket=FRONTEND)
    put(regions, "index.html", "the clinic")
    put(regions, "maintenance.html", "back soon")
    said = front_site(tmp_path, regions, bucket=BUCKET).act("aws_maintenance").failed(2)
    assert "keeps no versions, the page would be lost" in said and text_of(regions, "index.html") == "the clinic"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_invalidation_is_made_once_however_often_the_step_is_taken_up(
    regions: Regions, tmp_path: Path, moment: str
) -> None:
    distribution = make_distribution(regions)
    front = regions.client("cloudfront")
    described = {"id": distribution, "primary": "one", "standby": "two", "paths": ["/app/*"]}
    account = front_site(tmp_path, regions, distribution=described)
    regions.forget()
    process = account.begin("aws_distribution_switch", to="standby")
    # The first call that changes something is that of the origin, the second one the invalidation.
    regions.kill_at(process, 2, moment)
    process.communicate(timeout=120)
    assert process.returncode == -9
    played = account.act("aws_distribution_switch", run_id=account.last_run, to="standby").worked()
    config = front.get_distribution_config(Id=distribution)["DistributionConfig"]
    assert config["DefaultCacheBehavior"]["TargetOriginId"] == "two" and played.result["changed"]
    made = front.list_invalidations(DistributionId=distribution)["InvalidationList"]["Items"]
    seen = [front.get_invalidation(DistributionId=distribution, Id=each["Id"])["Invalidation"] for each in made]
    # CloudFront answers the same reference with the same invalidation; moto makes another one.
    assert len({each["InvalidationBatch"]["CallerReference"] for each in seen}) == 1
    regions.forget()
    assert not account.act("aws_distribution_switch", to="standby").worked().result["changed"]
    assert changed(regions) == []


def test_objects_come_back_to_what_they_were(regions: Regions, tmp_path: Path) -> None:
    make_buckets(regions)
    s3 = regions.client("s3")
    for name in ("a", "b", "c", "same"):
        put(regions, f"data/{name}", f"{name} one")
    put(regions, "other/x", "x one")
    time.sleep(1.1)
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    time.sleep(1.1)
    put(regions, "data/a", "a two")
    put(regions, "data/a", "a three")
    s3.delete_object(Bucket=FRONTEND, Key="data/b")
    s3.delete_object(Bucket=FRONTEND, Key="data/c")
    put(regions, "data/c", "c two")
    put(regions, "data/new", "new one")
    put(regions, "other/x", "x two")
    account = front_site(tmp_path, regions, bucket={"name": FRONTEND})
    asked: dict[str, t.Any] = {"moment": moment, "prefixes": ["data/"]}
    regions.forget()
    planned = account.act("aws_objects_restore", "--check", "--diff", **asked).worked()
    assert "would bring back 3 objects" in planned.summary and changed(regions) == []
    assert "data/" not in planned.out.partition("The task under test")[2], "keys can tell of patients"
    played = account.act("aws_objects_restore", **asked).worked()
    assert (played.result["copied"], played.result["new_kept"]) == (3, 1)
    assert {name: text_of(regions, f"data/{name}") for name in ("a", "b", "c", "same", "new")} == {
        "a": "a one",
        "b": "b one",
        "c": "c one",
        "same": "same one",
        "new": "new one",
    }
    assert text_of(regions, "other/x") == "x two"
    kept = s3.list_object_versions(Bucket=FRONTEND, Prefix="data/a")["Versions"]
    assert len(kept) == 4, "nothing is taken out of the history"
    regions.forget()
    assert not account.act("aws_objects_restore", **asked).worked().result["changed"] and changed(regions) == []
    removed = account.act("aws_objects_restore", **asked, new_objects="remove").worked()
    assert removed.result["removed"] == 1 and text_of(regions, "data/new") is None


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"moment": "yesterday"}, 2, "is no time"),
        ({"moment": "2026-01-15T10:00:00"}, 2, "has no time zone"),
        ({"moment": "2999-01-15T10:00:00Z"}, 2, "is in the future"),
        ({"moment": "2020-01-15T10:00:00Z", "most": 2, "new_objects": "remove"}, 3, "more than 2 objects"),
    ],
)
def test_a_moment_that_does_not_fit_changes_nothing(
    regions: Regions, tmp_path: Path, asked: dict[str, t.Any], code: int, words: str
) -> None:
    make_buckets(regions)
    for number in range(3):
        put(regions, f"data/{number}", "x")
    regions.forget()
    said = front_site(tmp_path, regions, bucket={"name": FRONTEND}).act("aws_objects_restore", **asked).failed(code)
    assert words in said and changed(regions) == []
