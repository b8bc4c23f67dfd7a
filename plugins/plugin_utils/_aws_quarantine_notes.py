# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a quarantine on AWS writes down on the resources themselves, for any later run or a person to undo it. Pure.

A value of a tag has 256 characters; an ECS service has 5 security groups at most, an interface 16.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

#: On an ECS service: by which run it was cut off on purpose.
CUT_OFF = "codeblue:cut-off"
#: On a security group that is made for a quarantine: of which service.
QUARANTINE_OF = "codeblue:quarantine-of"
#: On that group: what its ECS service had before.
GROUPS, HEALTHY, BREAKER, ALARMS = (
    "codeblue:service-groups",
    "codeblue:service-healthy-percent",
    "codeblue:service-circuit-breaker",
    "codeblue:service-alarms",
)
#: On an interface: which groups it had before.
INTERFACE_GROUPS = ("codeblue:groups-before", "codeblue:more-groups-before")
_GROUPS_IN_A_TAG = 12
_LONGEST_NAME = 200
_NOT_IN_A_NAME = re.compile(r"[^-A-Za-z0-9_]+")
_SWITCHES = {BREAKER: "deploymentCircuitBreaker", ALARMS: "alarms"}

Object = Mapping[str, t.Any]


def group_name(target: str) -> str:
    """Of the security group of a target's quarantine."""
    return f"codeblue-quarantine-{_NOT_IN_A_NAME.sub('-', target)}"[:_LONGEST_NAME]


def tags_of(resource: Object) -> dict[str, str]:
    """Tags as a mapping, however the service spells them."""
    found = resource.get("Tags") or resource.get("TagSet") or resource.get("tags") or ()
    return {str(each.get("Key", each.get("key"))): str(each.get("Value", each.get("value"))) for each in found}


def as_tags(notes: Mapping[str, str]) -> list[dict[str, str]]:
    """As EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(notes.items())]


def cut_off(service: Object) -> str:
    """By which run an ECS service was cut off on purpose; empty when it was not.

    :param service: described with its tags.
    """
    return tags_of(service).get(CUT_OFF, "")


def interface_notes(groups: Sequence[str]) -> dict[str, str]:
    """The notes on an interface that had these groups."""
    parts = (groups[:_GROUPS_IN_A_TAG], groups[_GROUPS_IN_A_TAG:])
    return {key: " ".join(part) for key, part in zip(INTERFACE_GROUPS, parts, strict=True) if part}


def groups_before(notes: Mapping[str, str]) -> list[str]:
    """The groups that an interface had; empty when nothing was noted."""
    return [group for key in INTERFACE_GROUPS for group in notes.get(key, "").split()]


def service_notes(service: Object) -> dict[str, str]:
    """What a quarantine changes of an ECS service, as it is now."""
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    deployment = service.get("deploymentConfiguration") or {}
    notes = {GROUPS: " ".join(network.get("securityGroups") or ())}
    least, most = deployment.get("minimumHealthyPercent"), deployment.get("maximumPercent")
    notes[HEALTHY] = " ".join(_word(each) for each in (least, most))
    for note, key in _SWITCHES.items():
        if key in deployment:
            switch = deployment[key]
            notes[note] = f"{_word(switch.get('enable'))} {_word(switch.get('rollback'))}"
    return notes


def closed_configuration(service: Object, group: str) -> dict[str, t.Any]:
    """The network and deployment configuration of a service in quarantine.

    Old tasks end before new ones start, and what does not come up is not rolled back to what was open.
    """
    network = {**service["networkConfiguration"]["awsvpcConfiguration"], "securityGroups": [group]}
    deployment = dict(service.get("deploymentConfiguration") or {})
    deployment |= {"minimumHealthyPercent": 0, "maximumPercent": 100}
    for key in _SWITCHES.values():
        if key in deployment:
            deployment[key] = {**deployment[key], "enable": False, "rollback": False}
    return {"networkConfiguration": {"awsvpcConfiguration": network}, "deploymentConfiguration": deployment}


def open_configuration(service: Object, notes: Mapping[str, str]) -> dict[str, t.Any]:
    """The configuration from before: what the quarantine changed as it was, everything else as it is now."""
    network = {
        **service["networkConfiguration"]["awsvpcConfiguration"],
        "securityGroups": notes.get(GROUPS, "").split(),
    }
    deployment = dict(service.get("deploymentConfiguration") or {})
    names = ("minimumHealthyPercent", "maximumPercent")
    for name, word in zip(names, notes.get(HEALTHY, "- -").split(), strict=True):
        if word == "-":
            # It had none, so the default of ECS for its kind.
            deployment[name] = {"minimumHealthyPercent": 100, "maximumPercent": 200}[name]
        else:
            deployment[name] = int(word)
    for note, key in _SWITCHES.items():
        if note in notes and key in deployment:
            enable, rollback = (word == "true" for word in notes[note].split())
            deployment[key] = {**deployment[key], "enable": enable, "rollback": rollback}
    return {"networkConfiguration": {"awsvpcConfiguration": network}, "deploymentConfiguration": deployment}


def is_closed(service: Object, group: str) -> bool:
    """Whether a service starts its tasks in quarantine only."""
    network = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    return list(network.get("securityGroups") or ()) == [group]


def rules_for(networks: Iterable[str]) -> list[dict[str, t.Any]]:
    """The ingress of a quarantine group: everything from these networks, and nothing from anywhere else."""
    four = [each for each in networks if ":" not in each]
    six = [each for each in networks if ":" in each]
    if not four and not six:
        return []
    rule: dict[str, t.Any] = {"IpProtocol": "-1"}
    if four:
        rule["IpRanges"] = [{"CidrIp": each, "Description": "management"} for each in four]
    if six:
        rule["Ipv6Ranges"] = [{"CidrIpv6": each, "Description": "management"} for each in six]
    return [rule]


def _word(value: t.Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)
