"""The doctor says which runbook a clinic calls for, and changes nothing. About 15 s."""

from __future__ import annotations

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from click.testing import CliRunner
from codeblue.lab import Lab
from codeblue.main import cli
from drill_support import Ended, codeblue

pytestmark = [pytest.mark.lab, pytest.mark.drill]


def doctor(lab: Lab, *arguments: str) -> Ended:
    return codeblue("doctor", "-i", str(lab.inventory_path), "--json", *arguments)


def findings(ended: Ended) -> list[dict[str, str]]:
    return [each for each in ended.messages if each.get("check") == "criteria"]


def what_runs(lab: Lab) -> tuple[object, ...]:
    """What only a change changes; HAProxy finds out by itself that a server is down."""
    status = lab.status()
    return status.processes, status.primary, status.members, status.releases


def test_a_healthy_clinic_calls_for_none(lab: Lab) -> None:
    ended = doctor(lab)
    assert [each["status"] for each in findings(ended)] == ["ok"], ended.errors
    (message,) = [each for each in ended.messages if each["message_type"] == "criteria"]
    assert message["called_for"] == []
    # Asked once, all of them well.
    assert message["asked"] == message["checks"] > 0


@pytest.mark.parametrize(
    ("fault", "first"),
    [("primary_dead", "database_connection_failure"), ("complete_outage", "complete_system_outage")],
)
def test_a_broken_clinic_calls_for_the_runbook_of_its_fault_first(lab: Lab, fault: str, first: str) -> None:
    lab.break_(fault)
    broken = what_runs(lab)
    ended = doctor(lab)
    assert ended.exit_code == 4
    called = findings(ended)
    assert called[0]["text"].startswith(f"{first} is called for")
    assert called[0]["hint"].startswith(f"codeblue run {first} -i ")
    assert what_runs(lab) == broken


def test_it_can_be_left_out(lab: Lab) -> None:
    assert findings(doctor(lab, "--no-criteria")) == []


def test_it_needs_an_inventory() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--criteria"])
    assert result.exit_code != 0 and not isinstance(result.exception, BadInput)
