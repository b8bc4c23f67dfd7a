"""The example inventory on AWS loads, and its criteria find what they ask for. About 2 s."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import MetricOver
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "inventories" / "example_aws" / "hosts.yml"


@functools.lru_cache
def variables() -> dict[str, dict[str, t.Any]]:
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([program, "-i", EXAMPLE, "--list"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["_meta"]["hostvars"]
    # `--list` leaves templates as they are; a run fills them in.
    return {name: _filled(each, each) for name, each in found.items()}


def _filled(value: t.Any, known: dict[str, t.Any]) -> t.Any:
    if isinstance(value, dict):
        return {key: _filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, known) for inner in value]
    if isinstance(value, str) and value.startswith("{{ "):
        return known[value.removeprefix("{{ ").removesuffix(" }}")]
    return value


def services() -> dict[str, Service]:
    return load_services(variables(), set(variables()))


def test_it_loads_and_has_an_order() -> None:
    found = services()
    assert {service.platform for service in found.values()} == {"aws"}
    assert {service.kind for service in found.values()} == {"database", "gateway", "auth", "service", "ai", "storage"}
    order = order_of_hosts(list(found), variables())
    assert sorted(name for wave in order for name in wave) == sorted(found)


def test_it_is_a_platform_in_two_regions() -> None:
    found = {name: service.require_aws() for name, service in services().items()}
    assert {(each.region, each.standby_region) for each in found.values()} == {("us-east-1", "us-west-2")}
    assert len({each.profile for each in found.values()}) == 1
    assert all(each.endpoints == {} for each in found.values()), "those of AWS"
    for name in ("api", "auth", "ai"):
        assert found[name].ecs == found[name].standby.ecs, "as many tasks there as here"
        # What tasks need has to be there before traffic goes there.
        assert found[name].standby.secrets
    kinds = {found[name].require_database(name).place.cluster for name in ("patient_db", "analytics_db")}
    assert kinds == {False, True}
    assert {each.split(":")[3] for one in found.values() for each in one.standby.target_groups} == {"us-west-2"}


@pytest.mark.parametrize("runbook", sorted(path.parent.name for path in ROOT.glob("runbooks/*/runbook.yml")))
def test_every_runbook_has_targets_and_a_check_that_can_make_it_fire(runbook: str) -> None:
    card = load_card(ROOT / "runbooks" / runbook / "runbook.yml")
    found = services()
    assert [each for each in found.values() if not card.kinds or each.kind in card.kinds]
    asked = {name: service.checks for name, service in found.items()}
    answers = [
        CheckResult(
            each.target, each.check.id, each.level, each.check.type, False, 0.0, error, "", 0.0, topic=each.check.topic
        )
        for each in plan_checks(asked, "deep", signals=True)
        for error in ("no_task_runs", "unavailable")
    ]
    selects = [
        getattr(each.condition, "select", None) for each in card.criteria if not isinstance(each.condition, MetricOver)
    ]
    assert any(select.takes(each) for select in selects if select is not None for each in answers)
