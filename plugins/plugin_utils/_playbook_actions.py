# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of the collection's actions a playbook may come to, by reading it and its roles. Nothing is evaluated."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import collection_root

_COLLECTION = "codeblue.recovery."
_ROLES = ("ansible.builtin.import_role", "ansible.builtin.include_role")
_TASKS = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
_BLOCKS = ("block", "rescue", "always")


def actions_of(playbook: str) -> list[str]:
    """The names of the actions, without the collection's.

    :param playbook: a file below `playbooks`, without its ending.
    :raises BadInput: there is none.
    """
    path = collection_root() / "playbooks" / f"{playbook}.yml"
    if not path.is_file():
        raise BadInput(f"there is no playbook {playbook!r}", "codeblue list names the runbooks")
    seen: set[Path] = set()
    found = {name for play in _read(path) for name in _in_tasks(play.get("tasks") or (), path.parent, seen)}
    return sorted(found)


def _in_tasks(tasks: t.Iterable[dict[str, t.Any]], folder: Path, seen: set[Path]) -> Iterator[str]:
    for task in tasks:
        for key, value in task.items():
            if key in _BLOCKS:
                yield from _in_tasks(value or (), folder, seen)
            elif key in _ROLES:
                name = str(value["name"]).removeprefix(_COLLECTION)
                place = collection_root() / "roles" / name / "tasks"
                yield from _in_file(place / f"{value.get('tasks_from', 'main')}.yml", seen)
            elif key in _TASKS:
                file = value if isinstance(value, str) else value["file"]
                yield from _in_file(folder / file, seen)
            elif key.startswith(_COLLECTION):
                yield key.removeprefix(_COLLECTION)


def _in_file(path: Path, seen: set[Path]) -> Iterator[str]:
    if path not in seen:
        seen.add(path)
        yield from _in_tasks(_read(path), path.parent, seen)


def _read(path: Path) -> list[dict[str, t.Any]]:
    return list(yaml.safe_load(path.read_text(encoding="utf-8")) or ())
