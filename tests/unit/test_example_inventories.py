"""The example inventories load, and each of the eight runbooks finds its targets and what it needs there. About 2 s."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, PostgresqlCheck, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import MetricOver
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, HostPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import backup_root

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("inventories/example_hosts*/hosts.yml"))
RUNBOOKS = sorted(path.parent.name for path in ROOT.glob("runbooks/*/runbook.yml"))
# A secret in a reference: the controller's file or variable that holds it.
REFERENCE = re.compile(r"\A(file:/|env:[A-Z])")
SECRET_KEYS = re.compile(r"(password|token|secret|key)(_from)?\Z")


@functools.lru_cache
def listed(path: Path) -> dict[str, t.Any]:
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([program, "-i", path, "--list"], capture_output=True, text=True, check=True)
    assert "duplicate" not in done.stderr.lower(), "a key that is merged and set again is warned of in every run"
    return dict(json.loads(done.stdout))


def hosts_of(inventory: dict[str, t.Any], group: str) -> set[str]:
    found = inventory.get(group, {})
    inner = [hosts_of(inventory, child) for child in found.get("children", ())]
    return set(found.get("hosts", ())).union(*inner)


def services_of(path: Path) -> dict[str, Service]:
    inventory = listed(path)
    variables = inventory["_meta"]["hostvars"]
    names = sorted(hosts_of(inventory, "codeblue_services"))
    return load_services({name: variables[name] for name in names}, set(variables))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.parent.name)
def example(request: pytest.FixtureRequest) -> Path:
    return t.cast(Path, request.param)


def test_there_are_examples_and_eight_runbooks() -> None:
    assert EXAMPLES and len(RUNBOOKS) == 8


def test_services_of_the_example_load(example: Path) -> None:
    inventory = listed(example)
    variables = inventory["_meta"]["hostvars"]
    services = services_of(example)
    assert set(services) == hosts_of(inventory, "codeblue_services")
    order = order_of_hosts(list(services), variables)
    assert sorted(name for wave in order for name in wave) == sorted(services)
    machines = hosts_of(inventory, "codeblue_machines")
    used = {machine for service in services.values() for machine in service.require_host().machines()}
    assert used == machines, "every machine has a service, and every service its machines"


def test_secrets_are_references(example: Path) -> None:
    def look(value: t.Any, path: str) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            here = f"{path}.{key}"
            if isinstance(inner, dict | list):
                look(inner, here)
            elif isinstance(key, str) and (key.endswith("_from") or SECRET_KEYS.search(key)):
                assert REFERENCE.match(inner) or inner == "token", here  # `token_field` names a field

    for host, variables in listed(example)["_meta"]["hostvars"].items():
        look(variables, host)


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_runbook_has_targets_and_checks_that_can_make_it_fire(example: Path, runbook: str) -> None:
    card = load_card(ROOT / "runbooks" / runbook / "runbook.yml")
    play = yaml.safe_load((ROOT / "playbooks" / f"{runbook}.yml").read_text())[0]
    services = services_of(example)
    targets = {name for name, service in services.items() if service.kind in card.kinds}
    assert targets and targets <= hosts_of(listed(example), play["hosts"]), "the play's group holds the card's kinds"
    for criterion in card.criteria:
        select = getattr(criterion.condition, "select", None)
        if isinstance(criterion.condition, MetricOver) or select is None:
            continue
        asked = {
            name: service.checks
            for name, service in services.items()
            if not criterion.kinds or service.kind in criterion.kinds
        }
        found = [each for each in plan_checks(asked, "deep", signals=True) if select.takes(answer_to(each))]
        assert found, f"{runbook}: no check of the example can make {criterion.id} fire"


def answer_to(planned: t.Any) -> CheckResult:
    check = planned.check
    return CheckResult(
        planned.target, check.id, planned.level, check.type, False, 0.0, "refused", "", 0.0, topic=check.topic
    )


# What the treatments of each runbook ask of the inventory beyond checks; by kind of its targets.


def of_kind(path: Path, *kinds: str) -> list[tuple[Service, HostPlatform]]:
    return [(each, each.require_host()) for each in services_of(path).values() if each.kind in kinds]


def databases(path: Path) -> list[tuple[Service, HostDatabase]]:
    return [(each, t.cast(HostDatabase, host.postgresql)) for each, host in of_kind(path, "database")]


def test_complete_system_outage_can_start_and_roll_back(example: Path) -> None:
    for service, host in of_kind(example, "service", "auth", "ai"):
        assert len(host.instances) >= 2, service.name
        for instance in host.instances.values():
            assert instance.process.unit and instance.release_root and instance.config_files and instance.log_files
            assert instance.config_repository is not None


def test_database_connection_failure_can_promote_rotate_and_restore(example: Path) -> None:
    variables = listed(example)["_meta"]["hostvars"]
    assert len(databases(example)) >= 2
    for service, database in databases(example):
        host = service.require_host()
        assert {member.role for member in database.members.values()} == {"primary", "standby"}
        assert host.gateway is not None and set(host.gateway.servers) == set(database.members)
        assert host.gateway.state_file and database.archive_dir and database.replication_user
        assert set(host.credentials) <= set(database.service_roles) and host.credentials
        assert all(backup_root(machine, variables[machine]).startswith("/") for machine in database.members)


def test_ai_service_unavailable_can_switch_off_mend_and_give_back(example: Path) -> None:
    for _service, host in of_kind(example, "ai"):
        assert all(each.release_root and each.release_copies for each in host.instances.values())
        assert host.gateway is not None and host.features
        for feature in host.features.values():
            user = services_of(example)[feature.used_by].require_host()
            assert {place.machine for place in feature.places} == set(user.instances), (
                "every user's machine is switched"
            )


def test_authentication_system_down_can_renew_keys_and_certificates(example: Path) -> None:
    for service, host in of_kind(example, "auth"):
        keys = host.session_keys
        assert keys is not None and host.certificates
        assert keys.login_check in {check.id for check in service.checks.deep}
        assert {each.machine for each in keys.signing} == set(host.instances)
        assert len(keys.use_urls) == len(keys.verification), "every verifier is asked by itself"
        assert any(check.type == "session" for check in service.checks.deep)


def test_data_corruption_detected_can_prove_damage_and_stopped_writes(example: Path) -> None:
    assert listed(example)["_meta"]["hostvars"]["patient_db"]["codeblue_evidence_recipients"]
    for service, database in databases(example):
        assert database.integrity and database.archive_dir
        assert any(isinstance(check, PostgresqlCheck) and check.writes for check in service.checks.deep)


def test_security_breach_response_can_look_close_and_rotate(example: Path) -> None:
    reached = {
        consumer.process.unit
        for _service, host in of_kind(example, "database")
        for credential in host.credentials.values()
        for consumer in credential.consumers
    }
    for service, host in of_kind(example, "service", "auth", "ai"):
        assert host.isolation is not None and host.isolation.own_user and host.isolation.management, service.name
        assert host.gateway is not None and host.gateway.refused_sources_file
    assert {
        each.process.unit for _s, host in of_kind(example, "service") for each in host.instances.values()
    } <= reached


def test_hipaa_compliance_violation_can_scan_extract_and_close(example: Path) -> None:
    for service, host in of_kind(example, "service"):
        policy = service.phi
        assert policy is not None and policy.refused_requests and policy.blocked_paths_file and policy.organisation
        assert set(policy.access_logs) == set(host.instances)
        assert all(instance.log_files for instance in host.instances.values())


def test_performance_degradation_can_see_who_is_late_and_refuse_a_source(example: Path) -> None:
    for service, host in of_kind(example, "service", "auth", "ai"):
        late = [check for check in service.checks.signals if check.topic == "performance"]
        assert late and all(check.max_response is not None for check in late), service.name
        assert host.gateway is not None and host.gateway.refused_sources_file
