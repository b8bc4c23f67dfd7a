"""Interfaces of instances change their groups. moto gives an attached one those of its instance besides."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine import AwsQuarantine
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine_notes import (
    INTERFACE_GROUPS,
    groups_before,
    interface_notes,
    open_configuration,
    service_notes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from simulated_account import REGION
from stubbed_account import StubbedAccount

ENI, QUARANTINE = "eni-1", "sg-quarantine"


def described(groups: list[str], tags: dict[str, str] | None = None) -> dict[str, t.Any]:
    return {
        "NetworkInterfaces": [
            {
                "NetworkInterfaceId": ENI,
                "Groups": [{"GroupId": each} for each in groups],
                "TagSet": [{"Key": key, "Value": value} for key, value in (tags or {}).items()],
            }
        ]
    }


def looks(account: StubbedAccount, groups: list[str], tags: dict[str, str] | None = None) -> None:
    account.expect("ec2", "describe_network_interfaces", {"NetworkInterfaceIds": [ENI]}, described(groups, tags))


def quarantine(account: StubbedAccount) -> AwsQuarantine:
    return AwsQuarantine(account, AwsPlatform(REGION), "records")


def regroups(account: StubbedAccount, groups: list[str]) -> None:
    account.expect("ec2", "modify_network_interface_attribute", {"NetworkInterfaceId": ENI, "Groups": groups}, {})


def test_what_it_had_is_noted_before_it_changes() -> None:
    account = StubbedAccount()
    looks(account, ["sg-a", "sg-b"])
    tags = [{"Key": INTERFACE_GROUPS[0], "Value": "sg-a sg-b"}]
    account.expect("ec2", "create_tags", {"Resources": [ENI], "Tags": tags}, {})
    regroups(account, [QUARANTINE])
    assert quarantine(account).set_aside(ENI, QUARANTINE)
    account.done()


def test_a_note_is_not_written_over_when_the_step_is_taken_up() -> None:
    account = StubbedAccount()
    looks(account, ["sg-a", "sg-b"], {INTERFACE_GROUPS[0]: "sg-a sg-b"})
    regroups(account, [QUARANTINE])
    assert quarantine(account).set_aside(ENI, QUARANTINE)
    looks(account, [QUARANTINE], {INTERFACE_GROUPS[0]: "sg-a sg-b"})
    assert not quarantine(account).set_aside(ENI, QUARANTINE)
    account.done()


def test_it_gets_back_what_it_had_and_loses_the_note() -> None:
    account = StubbedAccount()
    looks(account, [QUARANTINE], {INTERFACE_GROUPS[0]: "sg-a sg-b"})
    regroups(account, ["sg-a", "sg-b"])
    account.expect("ec2", "delete_tags", {"Resources": [ENI], "Tags": [{"Key": key} for key in INTERFACE_GROUPS]}, {})
    assert quarantine(account).give_back(ENI, QUARANTINE)
    looks(account, ["sg-a", "sg-b"])
    assert not quarantine(account).give_back(ENI, QUARANTINE)
    account.done()


def test_what_somebody_changed_meanwhile_is_refused() -> None:
    account = StubbedAccount()
    looks(account, ["sg-c"], {INTERFACE_GROUPS[0]: "sg-a sg-b"})
    with pytest.raises(Refused, match="somebody has changed"):
        quarantine(account).give_back(ENI, QUARANTINE)
    account.done()


def test_notes_fit_into_tags() -> None:
    groups = [f"sg-{number:017x}" for number in range(16)]
    notes = interface_notes(groups)
    assert groups_before(notes) == groups and max(map(len, notes.values())) <= 256


def test_alarms_and_circuit_breaker_come_back_as_they_were() -> None:
    network = {"subnets": ["subnet-1"], "securityGroups": ["sg-a"], "assignPublicIp": "DISABLED"}
    deployment = {
        "minimumHealthyPercent": 50,
        "maximumPercent": 150,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "alarms": {"alarmNames": ["errors"], "enable": True, "rollback": False},
    }
    before = {"networkConfiguration": {"awsvpcConfiguration": network}, "deploymentConfiguration": deployment}
    closed = {
        "networkConfiguration": {"awsvpcConfiguration": {**network, "securityGroups": [QUARANTINE]}},
        "deploymentConfiguration": {
            **deployment,
            "minimumHealthyPercent": 0,
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
            "alarms": {"alarmNames": ["errors"], "enable": False, "rollback": False},
        },
    }
    assert open_configuration(closed, service_notes(before)) == before
