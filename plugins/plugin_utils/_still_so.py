# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether what a run changed on the machines is still so when it is closed, and what is due afterwards."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._reconciler_gate import PREFIX

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Step

_LOOK_SECONDS = 15.0
_MOST = 10


@dataclass(frozen=True)
class Finding:
    """What was seen at the close.

    :param changed_again: what is not as the run left it, one line each.
    :param not_seen: what could not be looked at.
    """

    changed_again: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()


def left_by(steps: Iterable[Step], target: str) -> dict[str, list[dict[str, t.Any]]]:
    """Machine to what the run's steps left behind there, the later step's where two left the same."""
    kept: dict[tuple[str, str, str], dict[str, t.Any]] = {}
    for step in steps:
        if step.target != target or step.state != "done":
            continue
        machine = str((step.decision or {}).get("machine", ""))
        for entry in (step.result or {}).get("left") or []:
            place = str(entry.get("path") or entry.get("unit") or entry.get("table") or entry.get("server"))
            # Later steps replace what earlier ones left, and come after them in the order of looks.
            earlier = kept.pop((machine, str(entry["kind"]), place), None)
            kept[machine, str(entry["kind"]), place] = _merged(earlier, entry)
    found: dict[str, list[dict[str, t.Any]]] = {}
    for (machine, _kind, _place), entry in kept.items():
        if machine and entry["value"] is not None:
            found.setdefault(machine, []).append(entry)
    return found


def _merged(earlier: Mapping[str, t.Any] | None, later: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Of flags, lines and servers each has its own value: a later step says nothing about the others."""
    if earlier is None or not isinstance(earlier["value"], Mapping) or not isinstance(later["value"], Mapping):
        return dict(later)
    said = {name: value for name, value in later["value"].items() if value is not None or later["kind"] == "flags"}
    return {**later, "value": {**earlier["value"], **said}}


def look_again(
    left: Mapping[str, Sequence[Mapping[str, t.Any]]],
    look: Callable[[Sequence[MachineCall]], list[MachineAnswer]],
) -> Finding:
    """Ask every machine at once."""
    calls = [
        MachineCall(
            machine, "codeblue.recovery.reconcilers_look", {"left": list(entries)}, _LOOK_SECONDS, check_mode=True
        )
        for machine, entries in left.items()
    ]
    changed: list[str] = []
    unseen: list[str] = []
    for answer in look(calls) if calls else []:
        if answer.result is None:
            unseen.append(f"{answer.machine}: {answer.failure or answer.unreachable}")
            continue
        changed += [f"{answer.machine}: {line}" for line in answer.result["no_longer_so"]]
        unseen += [f"{answer.machine}: {line}" for line in answer.result["not_seen"]]
    return Finding(tuple(changed[:_MOST]), tuple(unseen[:_MOST]))


def due_afterwards(steps: Iterable[Step], target: str) -> list[str]:
    """What the run suspended and somebody has to give back, one line each."""
    return [
        f"on {(step.decision or {}).get('machine')}: {(step.decision or {}).get('undo')}"
        for step in steps
        if step.target == target and step.state == "done" and step.action.startswith(PREFIX)
    ][:_MOST]
