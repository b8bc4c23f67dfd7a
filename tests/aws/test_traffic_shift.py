# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traffic led to another region by the weights of DNS records, and back (about 90 s)."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_site import Played
from regions import Regions, running_regions
from traffic_sides import NAME, TARGETS, Name, Side, cname, site

SHIFT = "aws_traffic_shift"


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


@pytest.fixture
def sides() -> Iterator[dict[str, Side]]:
    found = {"primary": Side(), "standby": Side()}
    yield found
    for each in found.values():
        each.shutdown()
        each.server_close()


def changes(regions: Regions) -> list[str]:
    """The changing calls; Route 53 is told by its path."""
    return [each.operation for each in regions.asked if each.service == "route53" and each.changes]


def test_a_simple_record_is_shared_in_steps_and_given_back(
    regions: Regions, sides: dict[str, Side], tmp_path: Path
) -> None:
    name = Name(regions, [cname()])
    account = site(tmp_path, regions, name, sides)
    played = account.act(SHIFT, to="standby", hold="1s", reason="a test").worked()
    assert name.weights() == {"primary": 0, "standby": 100}
    assert (played.result["pace"], [each["percent"] for each in played.result["gates"]]) == (
        "gradual",
        [5, 25, 50, 100],
    )
    # The batch that takes the simple record away brings both weighted ones.
    assert len(changes(regions)) == 4
    assert "live for up to 300 s more" in played.summary
    assert {each["TTL"] for each in name.records()} == {60}
    # The side that gets traffic is asked by itself, by the name that clients use.
    assert set(sides["standby"].names) == {NAME} and len(sides["standby"].names) >= 8
    steps = dict(account.steps())
    assert [each for each in steps if each.startswith("dns_standby_at_")] == [
        f"dns_standby_at_{percent}" for percent in (5, 25, 50, 100)
    ]
    regions.forget()
    again = account.act(SHIFT, to="standby", hold="1s").worked()
    assert not again.result["changed"] and changes(regions) == []
    back = account.act(SHIFT, to="primary", hold="1s", records="simple").worked()
    assert back.result["after"] == {"primary": 100}
    assert name.weights() == {"primary": None}


def test_aliases_of_both_address_families_move_together(
    regions: Regions, sides: dict[str, Side], tmp_path: Path
) -> None:
    zones = {"primary": "Z35SXDOTRQ7X7K", "standby": "Z1H1FL5HABSF5"}
    alias = {"HostedZoneId": zones["primary"], "DNSName": f"{TARGETS['primary']}.", "EvaluateTargetHealth": True}
    name = Name(regions, [{"Type": kind, "AliasTarget": alias} for kind in ("A", "AAAA")])
    account = site(tmp_path, regions, name, sides, alias_zones=zones)
    account.act(SHIFT, to="standby", hold="1s", steps=[50, 100]).worked()
    assert name.weights() == {"primary": 0, "standby": 100, "primary AAAA": 0, "standby AAAA": 100}
    made = [each for each in name.records() if each["SetIdentifier"] == "api-standby"]
    assert [each["AliasTarget"]["HostedZoneId"] for each in made] == [zones["standby"]] * 2
    assert all(each["AliasTarget"]["EvaluateTargetHealth"] for each in made)


def test_all_traffic_moves_at_once_from_a_side_that_gives_no_answers(
    regions: Regions, sides: dict[str, Side], tmp_path: Path
) -> None:
    name = Name(regions, [cname()])
    sides["primary"].status = 503
    account = site(tmp_path, regions, name, sides, asked_at=sides["standby"].address)
    played = account.act(SHIFT, to="standby", hold="1s").worked()
    assert played.result["pace"] == "at_once" and len(changes(regions)) == 1
    assert name.weights() == {"primary": 0, "standby": 100}
    assert "the primary fails health (unavailable)" in played.result["why"]


def test_a_gate_that_closes_gives_everything_back(regions: Regions, sides: dict[str, Side], tmp_path: Path) -> None:
    name = Name(regions, [cname()])
    before = name.records()
    standby = sides["standby"]

    def fail_at_the_second_step() -> None:
        if len(changes(regions)) >= 2:
            standby.status = 503

    standby.after = fail_at_the_second_step
    account = site(tmp_path, regions, name, sides)
    said = account.act(SHIFT, to="standby", hold="1s").failed(1)
    assert "is as before again: the standby fails health (unavailable) at 25 %" in said
    assert name.records() == before


def test_a_side_that_is_not_fit_gets_nothing_unless_that_is_accepted(
    regions: Regions, sides: dict[str, Side], tmp_path: Path
) -> None:
    name = Name(regions, [cname()])
    sides["standby"].status = 503
    account = site(tmp_path, regions, name, sides)
    said = account.act(SHIFT, to="standby", hold="1s").failed(3)
    assert "standby is not fit for traffic" in said and changes(regions) == []
    # What is accepted gets its traffic; the gate holds all the same.
    said = account.act(SHIFT, accept="unfit_standby", to="standby", hold="1s").failed(1)
    assert "is as before again" in said and name.weights() == {"primary": None}


def policy(**more: t.Any) -> dict[str, t.Any]:
    return cname(SetIdentifier="a", **more)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([policy(Region="us-east-1")], "has the routing policy latency"),
        ([policy(Failover="PRIMARY")], "has the routing policy failover"),
        ([cname(ResourceRecords=[{"Value": "three.example"}])], "leads to three.example too, which is neither side"),
        ([{"Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}], "is a record of type A"),
    ],
)
def test_what_weights_do_not_fit_is_refused(
    regions: Regions, sides: dict[str, Side], tmp_path: Path, records: list[dict[str, t.Any]], words: str
) -> None:
    name = Name(regions, records)
    said = site(tmp_path, regions, name, sides).act(SHIFT, to="standby", hold="1s").failed(3)
    assert words in said and changes(regions) == []


def test_a_name_outside_its_zone_is_bad_input(regions: Regions, sides: dict[str, Side], tmp_path: Path) -> None:
    name = Name(regions, [], zone="other.example")
    said = site(tmp_path, regions, name, sides).act(SHIFT, to="standby").failed(2)
    assert "is not in zone" in said and "other.example" in said


def test_check_mode_changes_nothing_and_says_what_it_would(
    regions: Regions, sides: dict[str, Side], tmp_path: Path
) -> None:
    name = Name(regions, [cname()])
    before = name.records()
    regions.forget()
    account = site(tmp_path, regions, name, sides)
    played = account.act(SHIFT, "--check", "--diff", to="standby", hold="1s").worked()
    assert [each for each in regions.asked if each.changes] == [] and name.records() == before
    assert "5 %, 25 %, 50 %, 100 %" in played.summary and played.result["changed"]
    assert "+100 %" in played.out


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 3])
def test_killed_at_a_step_and_taken_up_again_it_goes_on_from_there(
    regions: Regions, sides: dict[str, Side], tmp_path: Path, moment: str, number: int
) -> None:
    name = Name(regions, [cname()])
    account = site(tmp_path, regions, name, sides)
    process = account.begin(SHIFT, to="standby", hold="1s")
    regions.kill_at(process, number, moment)
    process.communicate(timeout=120)
    assert process.returncode == -9
    at = len(changes(regions))
    played: Played = account.act(SHIFT, run_id=account.last_run, to="standby", hold="1s").worked()
    assert name.weights() == {"primary": 0, "standby": 100}
    # What was carried out is not asked for again; what was not is asked for once.
    assert len(changes(regions)) - at == 4 - number + (moment == "before")
    assert [each["percent"] for each in played.result["gates"]] == [5, 25, 50, 100]
    assert played.result["changed"]
