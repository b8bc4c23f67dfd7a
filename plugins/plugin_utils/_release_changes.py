# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases of a service: which one to go back to, and the changes that bring every instance there."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Set
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

#: Under which kind a bad release is marked in the state store.
KIND = "release"
# The module itself takes a moment. The rest is for the connection and the start of Python on a busy machine.
LOOK_SECONDS = 20.0
RESTART_SECONDS = 20.0


@dataclass(frozen=True)
class Candidate:
    """A service whose newest release can be rolled back.

    :param good: the version that was current before and is not marked bad.
    :param deployed_at: when the present version became current, as the history has it.
    """

    service: str
    bad: str
    good: str
    deployed_at: str


def with_releases(service: Service) -> list[Instance]:
    """The instances that have a release directory."""
    return [each for each in service.require_host().instances.values() if each.release_root is not None]


def list_call(instance: Instance, needs_file: str | None = None) -> MachineCall:
    """Asks an instance for its releases.

    :param needs_file: in a release, names the newest schema migration that it needs.
    """
    return MachineCall(
        instance.machine,
        "codeblue.recovery.release_switch",
        {
            "release_root": instance.release_root,
            "mode": "list",
            **({"needs_file": needs_file} if needs_file is not None else {}),
        },
        LOOK_SECONDS,
        check_mode=True,
    )


def candidate_of(service: str, seen: Mapping[str, t.Any], marked: Set[str]) -> Candidate | None:
    """The version before the current one that is there and is not bad; None when there is none.

    :param seen: the result of `list_call`.
    :param marked: versions that are marked bad.
    """
    current = (seen.get("before") or {}).get("current")
    history = [each for each in seen.get("history", []) if each.get("version")]
    if not current or not history:
        return None
    earlier = [each["version"] for each in history if each["version"] != current]
    available = set(seen.get("available", []))
    good = next((each for each in earlier if each in available and each not in marked), None)
    if good is None:
        return None
    since: Mapping[str, t.Any] = next((each for each in history if each["version"] == current), {})
    return Candidate(service, str(current), str(good), str(since.get("deployed_at") or ""))


def switch_change(service: Service, instance: Instance, bad: str, good: str, why: str) -> Change:
    """Points an instance to the good version."""
    return Change(
        action=f"switch_{instance.machine}_to_{good}",
        machine=instance.machine,
        module="release_switch",
        arguments={"release_root": instance.release_root, "version": good, "reason": f"rolled back from {bad}"},
        decision={"from": bad, "to": good, "reason": why},
        target=service.name,
    )


def restart_change(service: Service, instance: Instance, action: str, state: str = "restarted") -> Change:
    """Restarts an instance, or only starts it, and waits until its port takes connections."""
    unit = {
        **instance.process.as_arguments(),
        "state": state,
        "wait_for": {"address": instance.address, "port": instance.port},
    }
    return Change(
        action=action,
        machine=instance.machine,
        module="process_state",
        arguments={"units": [unit], "timeout": RESTART_SECONDS},
        decision={"unit": instance.process.unit, "state": state},
        seconds=RESTART_SECONDS + 10.0,
        target=service.name,
    )
