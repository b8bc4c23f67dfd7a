"""What doctor says about keys that an inventory lacks, from the complete example with keys taken away. About 2 s."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs import (
    NARROWS,
    NEEDED,
    OPERATION_NEEDS,
    RUNBOOK_NEEDS,
    Lack,
    lacks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs_kubernetes import KUBERNETES_NEEDS
from codeblue.doctor.finding import exit_code_of
from codeblue.doctor.needs import needs_findings

_ROOT = Path(__file__).parents[2]
_ROW = re.compile(
    r"^\| (?:\[(?P<linked>\w+)\]\([^)]+\)|(?P<plain>\w+)) \| (?P<keys>[^|]+?) \|(?: (?P<signals>[^|]+?) \|)?$", re.M
)
_CODE = re.compile(r"`(\w+)`")

Variables = dict[str, dict[str, t.Any]]


@pytest.fixture(scope="module")
def listed() -> dict[str, t.Any]:
    program = Path(sys.executable).with_name("ansible-inventory")
    place = _ROOT / "inventories" / "example_hosts" / "hosts.yml"
    done = subprocess.run([program, "-i", place, "--list"], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout)["_meta"]["hostvars"])


@pytest.fixture
def variables(listed: dict[str, t.Any]) -> Variables:
    return {name: copy.deepcopy(own) for name, own in listed.items() if "codeblue_kind" in own}


@pytest.fixture
def machines(listed: dict[str, t.Any]) -> Variables:
    return {name: dict(own) for name, own in listed.items() if "codeblue_kind" not in own}


def _said(found: list[Lack]) -> list[tuple[str, str, str]]:
    return [(each.wanted_by, each.need.severity, ", ".join(each.services)) for each in found]


def test_the_example_lacks_nothing(variables: Variables, machines: Variables) -> None:
    assert lacks(variables, machines) == []
    findings = list(needs_findings([], len(variables)))
    assert [each.status for each in findings] == ["ok"] and "8 services" in findings[0].text


def test_a_key_without_which_nothing_can_be_done_is_a_warning(variables: Variables, machines: Variables) -> None:
    del variables["patient_db"]["codeblue_host"]["postgresql"]["integrity"]
    found = lacks(variables, machines)
    assert _said(found) == [("data_corruption_detected", NEEDED, "patient_db")]
    findings = list(needs_findings(found, len(variables)))
    assert findings[0].text == (
        "data_corruption_detected: patient_db has no codeblue_host.postgresql.integrity: "
        "nobody can say which state is clean, a person decides"
    )
    assert findings[0].hint == "see docs/integrity.md"
    assert exit_code_of(findings) == 4


def test_a_treatment_that_is_missing_is_a_note_and_leaves_the_exit_code(
    variables: Variables, machines: Variables
) -> None:
    del variables["records"]["codeblue_host"]["isolation"]["management"]
    found = lacks(variables, machines)
    assert _said(found) == [
        ("security_breach_response", NARROWS, "records"),
        ("quarantine_service", NARROWS, "records"),
    ]
    findings = list(needs_findings(found, len(variables)))
    assert {each.status for each in findings} == {"note"} and exit_code_of(findings) == 0
    assert found[0].as_dict() == {
        "wanted_by": "security_breach_response",
        "key": "codeblue_host.isolation.management",
        "services": ["records"],
        "severity": "narrows",
        "without": "a quarantine leaves open only the ports that operators come in by, not their networks",
        "documented": "docs/security.md",
    }


def test_what_is_inside_of_a_missing_key_is_not_missed_beside_it(variables: Variables, machines: Variables) -> None:
    del variables["records"]["codeblue_host"]["isolation"]
    del variables["portal"]["codeblue_phi"]
    assert _said(lacks(variables, machines)) == [
        ("security_breach_response", NEEDED, "records"),
        # Without patients' data nothing else of this runbook is asked.
        ("hipaa_compliance_violation", NARROWS, "portal"),
        ("quarantine_service", NEEDED, "records"),
        ("release_service", NEEDED, "records"),
    ]


def test_parts_are_named_where_others_have_the_key_and_services_together(
    variables: Variables, machines: Variables
) -> None:
    first = next(iter(variables["auth"]["codeblue_host"]["instances"]))
    del variables["auth"]["codeblue_host"]["instances"][first]["config_repository"]
    for instance in variables["records"]["codeblue_host"]["instances"].values():
        del instance["config_repository"]
    (only,) = lacks(variables, machines)
    assert only.wanted_by == "complete_system_outage" and only.services == (f"auth ({first})", "records")
    assert only.sentence().startswith(f"auth ({first}), records have no codeblue_host.instances.*.config_repository: ")


def test_signals_are_told_by_their_topic(variables: Variables, machines: Variables) -> None:
    checks = variables["records"]["codeblue_checks"]
    checks["signals"] = [each for each in checks["signals"] if each["topic"] != "exposure"]
    (only,) = lacks(variables, machines)
    assert only.wanted_by == "hipaa_compliance_violation" and "--because" in only.sentence()


def test_a_member_that_cannot_take_over_and_a_machine_without_room_for_backups(
    variables: Variables, machines: Variables
) -> None:
    database = variables["portal_db"]["codeblue_host"]["postgresql"]
    standby = next(name for name, member in database["members"].items() if member["role"] == "standby")
    del machines[standby]["codeblue_snapshot_directory"]
    # A machine has members of both databases.
    both = f"patient_db ({standby}), portal_db ({standby})"
    assert _said(lacks(variables, machines)) == [
        ("complete_system_outage", NARROWS, both),
        ("database_connection_failure", NARROWS, both),
        ("data_corruption_detected", NEEDED, both),
        ("snapshot_services", NEEDED, both),
    ]
    machines[standby]["codeblue_snapshot_directory"] = "/var/backups/codeblue"
    del database["members"][standby]
    assert _said(lacks(variables, machines)) == [
        ("database_connection_failure", NARROWS, "portal_db"),
        ("database_switchover", NARROWS, "portal_db"),
    ]


@pytest.mark.parametrize("wanted_by", [*RUNBOOK_NEEDS, *OPERATION_NEEDS])
def test_every_need_is_missed_when_its_key_is_gone(wanted_by: str, variables: Variables, machines: Variables) -> None:
    for need in {**RUNBOOK_NEEDS, **OPERATION_NEEDS}[wanted_by]:
        own, places = copy.deepcopy(variables), copy.deepcopy(machines)
        if need.on_members:
            for each in places.values():
                each.pop(need.key, None)
        else:
            for each in own.values():
                _take_away(each, need.key)
        missed = [each for each in lacks(own, places) if (each.wanted_by, each.need) == (wanted_by, need)]
        kinds = {own[name]["codeblue_kind"] for each in missed for name in each.services}
        assert missed and kinds <= set(need.kinds), need.key


def _take_away(variables: dict[str, t.Any], key: str) -> None:
    *parents, last = re.sub(r"\[.*", "", key).split(".")
    host = variables.get("codeblue_host", {})
    if parents[:1] == ["codeblue_host"] and "gateways" in host and (last == "gateway" or "gateway" in parents):
        host["gateway"] = host.pop("gateways")[0]
    places: list[t.Any] = [variables]
    for parent in parents:
        places = [
            child
            for place in places
            if isinstance(place, dict)
            for child in (place.values() if parent == "*" else [place.get(parent)])
        ]
    for place in places:
        if isinstance(place, dict):
            place.pop(last, None)


def test_every_runbook_and_operation_has_its_row_in_the_page_of_hosts() -> None:
    cards = {path.parent.name for path in _ROOT.glob("runbooks/*/runbook.yml")}
    operations = {path.parent.name for path in _ROOT.glob("operations/*/operation.yml")}
    assert set(RUNBOOK_NEEDS) == cards and set(OPERATION_NEEDS) == operations
    page = (_ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    rows = {match["linked"] or match["plain"]: match for match in _ROW.finditer(page)}
    for name, needs in {**RUNBOOK_NEEDS, **OPERATION_NEEDS}.items():
        keys = {need.name for need in needs if ".signals[" not in need.key}
        topics = {need.name for need in needs if ".signals[" in need.key}
        row = rows.get(name)
        assert (set(_CODE.findall(row["keys"])) if row else set()) == keys, name
        assert (set(_CODE.findall(row["signals"] or "")) if row else set()) == topics, name


def test_what_is_documented_is_there() -> None:
    for needs in (*RUNBOOK_NEEDS.values(), *OPERATION_NEEDS.values()):
        for need in needs:
            page = (_ROOT / "docs" / need.page).read_text(encoding="utf-8")
            name = re.sub(r"\[.*", "", need.key).split(".")[-1]
            assert f"`{need.name}`" in page or name in page, f"{need.key} is not in docs/{need.page}"


def test_the_example_on_kubernetes_is_asked_for_keys_of_its_platform() -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    place = _ROOT / "inventories" / "example_kubernetes" / "hosts.yml"
    done = subprocess.run([program, "-i", place, "--list"], capture_output=True, text=True, check=True)
    services: Variables = dict(json.loads(done.stdout)["_meta"]["hostvars"])
    assert {each.need.severity for each in lacks(services, {})} <= {NARROWS}
    ai = next(own for own in services.values() if own["codeblue_kind"] == "ai")
    assert "features" in ai["codeblue_kubernetes"]
    for wanted_by, needs in KUBERNETES_NEEDS.items():
        for need in needs:
            own = copy.deepcopy(services)
            for each in own.values():
                _take_away(each, need.key)
            missed = [each for each in lacks(own, {}) if (each.wanted_by, each.need) == (wanted_by, need)]
            kinds = {own[name]["codeblue_kind"] for each in missed for name in each.services}
            assert missed and kinds <= set(need.kinds), need.key
            assert not [each for each in lacks(own, {}) if "codeblue_host" in each.need.key], "that is another platform"


def test_the_page_of_kubernetes_has_the_keys_of_each() -> None:
    assert set(KUBERNETES_NEEDS) <= set(RUNBOOK_NEEDS) | set(OPERATION_NEEDS)
    page = (_ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    table = page.partition("asks for beyond that")[2].partition("\n\n## ")[0]
    for wanted_by, needs in KUBERNETES_NEEDS.items():
        assert wanted_by in table, wanted_by
        for need in needs:
            said = need.name if ".signals[" in need.key else need.key.rpartition(".")[2]
            assert f"`{said}`" in table, (wanted_by, need.key)
