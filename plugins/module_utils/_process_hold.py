# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units that are kept from being started, and what was changed for that, so that it can be undone exactly.

<lock directory>/held/<manager>-<unit>.json   there as long as the unit is held
"""

from __future__ import annotations

import json
import os
import re
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    STOPPED,
    ProcessUnit,
    UnitStatus,
)

State = t.Dict[str, t.Any]


class HoldRecord:
    """The record of one unit on disk.

    :param lock_dir: None in check mode, where there is no record.
    """

    def __init__(self, lock_dir: t.Optional[str], unit: ProcessUnit) -> None:
        name = re.sub(r"[^A-Za-z0-9_.@-]", "_", "%s-%s" % (unit.manager, unit.unit))
        self._path = None if lock_dir is None else os.path.join(lock_dir, "held", name + ".json")

    def read(self) -> t.Optional[State]:
        """What was changed, or None when the unit is not held.

        :raises CodeblueError: it is damaged.
        """
        if self._path is None:
            return None
        try:
            with open(self._path, encoding="utf-8") as stream:
                return t.cast("State", json.loads(stream.read(65536)))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CodeblueError("%s is damaged: %s" % (self._path, error), "unmask the unit by hand") from error

    def write(self, changed: State) -> None:
        if self._path is not None:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_file(self._path, json.dumps(changed, sort_keys=True).encode() + b"\n")

    def remove(self) -> None:
        if self._path is not None and os.path.exists(self._path):
            os.unlink(self._path)
            sync_directory(os.path.dirname(self._path))


def hold(unit: ProcessUnit, record: HoldRecord, deadline: Deadline) -> None:
    """Keep a unit from being started, by a restart of the machine too where its manager can be told so."""
    if record.read() is None:
        plan = unit.plan_hold(deadline)
        # Written first: what an attempt that is cut off has done of it is undone all the same.
        record.write(plan)
        unit.hold(plan, deadline)


def release(unit: ProcessUnit, record: HoldRecord, deadline: Deadline) -> None:
    """Undo what `hold` did. A unit that somebody else has masked stays so."""
    changed = record.read()
    if changed is not None:
        unit.release(changed, deadline)
        record.remove()


def started_again(unit: ProcessUnit, seconds: float) -> t.Optional[UnitStatus]:
    """Look again after a moment: how a unit that was stopped is, if it is no longer so."""
    time.sleep(max(0.0, min(seconds, 30.0)))
    status = unit.status(Deadline(5.0))
    return None if status.state in (STOPPED, FAILED) else status
