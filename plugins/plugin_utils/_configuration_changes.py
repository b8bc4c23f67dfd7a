# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Configuration of a service: which state to go back to on each machine, and the changes that bring it there."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import WayBack, came_at

#: Under which kind a bad configuration is marked in the state store.
KIND = "config"
LOOK_SECONDS = 8.0
# A change that is rolled out machine by machine counts as one: what came within this time before the newest of them.
_ONE_ROLLOUT = timedelta(minutes=15)


def with_history(service: Service) -> list[Instance]:
    """The instances whose configuration has a history."""
    return [each for each in service.require_host().instances.values() if _files(each)]


def history_call(instance: Instance) -> MachineCall:
    """Asks a machine which states the configuration had."""
    return MachineCall(
        instance.machine,
        "codeblue.recovery.configuration_switch",
        {**_arguments(instance), "mode": "list"},
        LOOK_SECONDS,
        check_mode=True,
    )


def step_back(instance: Instance, seen: Mapping[str, t.Any], marked: Set[str]) -> WayBack | None:
    """The newest earlier state of one machine that is not marked bad; None when there is none.

    Versions are digests of the machine's own files, so each machine has its own.

    :param seen: the result of `history_call`.
    """
    current = (seen.get("before") or {}).get("current")
    history = [each for each in seen.get("history", []) if each.get("version")]
    if not current or not history or history[0]["version"] != current:
        return None
    good = next(
        (e["version"] for e in history[1:] if e["version"] != current and e["version"] not in marked and e["commit"]),
        None,
    )
    return None if good is None else WayBack(instance.machine, current, good, came_at(history, current, "deployed_at"))


def newest_rollout(steps: Sequence[WayBack]) -> list[WayBack]:
    """Those that belong to the newest change of the service."""
    if not steps:
        return []
    newest = max(_moment(each) for each in steps)
    return [each for each in steps if newest - _moment(each) <= _ONE_ROLLOUT]


def restore_change(service: Service, instance: Instance, step: WayBack, why: str) -> Change:
    """Puts the configuration of one machine back."""
    return Change(
        action=f"config_{instance.machine}_to_{step.good}",
        machine=instance.machine,
        module="configuration_switch",
        arguments={**_arguments(instance), "version": step.good, "reason": why},
        decision={"from": step.bad, "to": step.good, "reason": why},
        target=service.name,
    )


def _arguments(instance: Instance) -> dict[str, t.Any]:
    repository = instance.config_repository
    return {**(repository.as_arguments() if repository is not None else {}), "files": _files(instance)}


def _files(instance: Instance) -> list[str]:
    """The configuration files that the repository keeps; flags, for example, may lie elsewhere."""
    if instance.config_repository is None:
        return []
    root = instance.config_repository.work_tree.rstrip("/") + "/"
    return [path for path in instance.config_files if path.startswith(root)]


def _moment(step: WayBack) -> datetime:
    return datetime.fromisoformat(step.changed_at)
