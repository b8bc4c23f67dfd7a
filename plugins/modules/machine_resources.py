#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at what takes a machine's processors, memory, disks and connections."""

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_resources
short_description: Look at what takes a machine's processors, memory, disks and connections
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Watches the processes for O(seconds) and names the process groups that took the most processor time. The workers of
    one job are one group.
  - Returns names and figures, never the arguments of a process.
  - Changes nothing.
options:
  seconds:
    description: How long the processes are watched, from 0.1 to 10.
    type: float
    default: 0.5
  most:
    description: How many process groups and how many sources of connections are named, from 1 to 100.
    type: int
    default: 5
  processes_below:
    description:
      - Only processes whose working directory lies below this one belong to the machine, and only the processors that
        they may run on count. For several machines of the inventory that share one host.
    type: path
  disks:
    description: Directories whose file systems are looked at.
    type: list
    elements: path
    default: [/]
  ports:
    description: Local TCP ports whose established connections are counted by the address that they come from.
    type: list
    elements: int
    default: []
  essential_units:
    description: Units that the site needs. RV(groups) says to which of them a process group belongs.
    type: list
    elements: dict
    default: []
    suboptions:
      manager:
        description: Which process manager.
        type: str
        choices: [supervisor, systemd]
        required: true
      socket:
        description: Path of supervisord's unix socket. Required with V(supervisor).
        type: path
      unit:
        description: Name of the unit.
        type: str
        required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
"""

EXAMPLES = r"""
- name: Look at what takes the processors
  codeblue.recovery.machine_resources:
    seconds: 1
    ports: [443]
"""

RETURN = r"""
cpu:
  description: C(busy) is the share of the processors' time that was used, C(processors) how many there are.
  returned: success
  type: dict
  sample: {busy: 0.97, processors: 4}
load:
  description: Load of 1, 5 and 15 minutes.
  returned: success
  type: list
  elements: float
  sample: [3.2, 1.9, 1.1]
memory:
  description: Bytes, and the share that programs cannot have any more.
  returned: success
  type: dict
  sample: {total_bytes: 8335433728, available_bytes: 5335433728, used: 0.3599, swap_used_bytes: 0}
disks:
  description: How full the file systems are.
  returned: success
  type: list
  elements: dict
  sample: [{path: /, total_bytes: 53660876800, available_bytes: 21474836480, used: 0.5998}]
groups:
  description:
    - The process groups that took the most processor time, with the process that leads the group, how many processors
      it kept busy (C(processors)), and the unit that it belongs to (C(essential)).
  returned: success
  type: list
  elements: dict
  sample:
    - pid: 4711
      start_ticks: 883310
      group: 4711
      name: python3
      processes: 9
      processors: 0.98
      resident_bytes: 92274688
      essential: null
connections:
  description: For each of O(ports) the established connections, in all and by source.
  returned: success
  type: dict
  sample: {"443": {total: 190, sources: {192.0.2.77: 170, 192.0.2.10: 20}}}
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._essential_processes import (
    essential_processes,
    essential_units_argument,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._machine_resources import (
    connections_to,
    disk,
    load,
    memory,
    sample,
)

_MANAGER_SECONDS = 5.0


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Watch and count."""
    if not 0.1 <= params["seconds"] <= 10.0:
        raise BadInput("seconds: %g is not between 0.1 and 10" % params["seconds"])
    if not 1 <= params["most"] <= 100:
        raise BadInput("most: %d is not between 1 and 100" % params["most"])
    groups, busy, processors, _processes = sample(params["processes_below"], params["seconds"])
    essential = essential_processes(params["essential_units"], Deadline(_MANAGER_SECONDS))
    return {
        "cpu": {"busy": round(busy, 4), "processors": len(processors)},
        "load": load(),
        "memory": memory(),
        "disks": [disk(path) for path in params["disks"]],
        "groups": [group.as_dict(essential) for group in groups[: params["most"]]],
        "connections": connections_to(params["ports"], params["most"]),
    }


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "seconds": {"type": "float", "default": 0.5},
            "most": {"type": "int", "default": 5},
            "processes_below": {"type": "path"},
            "disks": {"type": "list", "elements": "path", "default": ["/"]},
            "ports": {"type": "list", "elements": "int", "default": []},
            **essential_units_argument(),
        },
        look,
    )


if __name__ == "__main__":
    main()
