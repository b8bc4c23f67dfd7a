# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes of the units that a site needs: what nobody may slow down or end to help the others."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import list_processes
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit

# Of the system, on every machine.
_NEVER = frozenset(("systemd", "init", "sshd", "supervisord", "dbus-daemon", "systemd-journal", "systemd-logind"))


def essential_units_argument() -> t.Dict[str, t.Any]:
    """`essential_units`: the units of the inventory on this machine."""
    return {
        "essential_units": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": process_options(),
            "required_if": [("manager", "supervisor", ["socket"])],
        }
    }


def essential_processes(units: t.Sequence[t.Mapping[str, t.Any]], deadline: Deadline) -> t.Dict[int, str]:
    """Process id to the unit that it belongs to: main processes with all that they have started, and the system's.

    :raises CodeblueError: a manager does not answer. Then nobody knows what is essential, and nothing may be touched.
    """
    roots: t.Dict[int, str] = {}
    for options in units:
        status = process_unit(options).status(deadline)
        if status.pid:
            roots[status.pid] = str(options["unit"])
    processes = list_processes()
    parents = {process.pid: process.ppid for process in processes}
    found = {process.pid: process.name for process in processes if process.name in _NEVER or process.pid == 1}
    for process in processes:
        pid, steps = process.pid, 0
        while pid and steps < 64:
            if pid in roots:
                found[process.pid] = roots[pid]
                break
            pid, steps = parents.get(pid, 0), steps + 1
    return found
