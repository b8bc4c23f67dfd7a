# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs have suspended on this machine and nobody has given back yet.

<lock directory>/suspended/<name>.json
"""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

State = t.Dict[str, t.Any]

_DIRECTORY = "suspended"
_MOST = 100


class SuspendedRecord:
    """The record of one reconciler.

    :param lock_dir: None in check mode, where there is no record.
    """

    def __init__(self, lock_dir: t.Optional[str], name: str) -> None:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
        self._path = None if lock_dir is None else os.path.join(lock_dir, _DIRECTORY, plain + ".json")

    def read(self) -> t.Optional[State]:
        """None when no run has suspended it.

        :raises CodeblueError: it is damaged.
        """
        return None if self._path is None else _read(self._path)

    def write(self, content: State) -> None:
        if self._path is not None:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_file(self._path, json.dumps(content, sort_keys=True).encode() + b"\n")

    def remove(self) -> None:
        if self._path is not None and os.path.exists(self._path):
            os.unlink(self._path)
            sync_directory(os.path.dirname(self._path))


def suspended_here(lock_dir: str) -> t.List[State]:
    """Everything that is suspended by runs on this machine."""
    directory = os.path.join(lock_dir, _DIRECTORY)
    try:
        names = sorted(os.listdir(directory))[:_MOST]
    except FileNotFoundError:
        return []
    found = (_read(os.path.join(directory, name)) for name in names if name.endswith(".json"))
    return [each for each in found if each is not None]


def _read(path: str) -> t.Optional[State]:
    try:
        with open(path, encoding="utf-8") as stream:
            return t.cast("State", json.loads(stream.read(65536)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CodeblueError("%s is damaged: %s" % (path, error), "remove it, and give back by hand") from error
