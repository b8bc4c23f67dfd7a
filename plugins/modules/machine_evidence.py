#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collects evidence from a machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_evidence
short_description: Collect evidence from a machine, bounded in time and size
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Collects processes, TCP connections and who holds them, load, memory and disks, the ends of log files and the hashes
    of files; of the processes of O(units) also memory maps, open files and programs.
  - Returns the content compressed and encoded, because the machine may be lost or altered later; the controller has to
    encrypt it before it keeps it. RV(summary) holds hashes and sizes only.
  - What does not fit into O(timeout) or into 2 MB is named in C(left_out) of RV(summary). Changes nothing.
options:
  log_files:
    description: Logs whose ends are collected.
    type: list
    elements: path
    default: []
  hashed_files:
    description: Files, or directories with all files below them, whose hashes are collected.
    type: list
    elements: path
    default: []
  units:
    description: The units whose processes are looked at closely, those that came out of them included.
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
        description: Path of supervisord's unix socket. Required with O(units[].manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
  disks:
    description: Paths whose file systems' free space is collected.
    type: list
    elements: path
    default: [/]
  bytes_per_log:
    description: How much of the end of each log.
    type: int
    default: 262144
  timeout:
    description: Seconds for everything together.
    type: float
    default: 5.0
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
- name: Collect evidence before anything changes
  codeblue.recovery.machine_evidence:
    log_files: [/var/log/records/service.log]
    hashed_files: [/etc/records/config.yml]
  no_log: true
"""

RETURN = r"""
content:
  description: JSON, compressed by gzip, in base64. It may hold secrets and patient data.
  returned: success
  type: str
summary:
  description: Hash and size of the JSON and of its parts, and what was left out. Safe to keep.
  returned: success
  type: dict
  sample: {sha256: 9f86d081..., bytes: 48211, parts: {processes: {sha256: 60303ae2..., bytes: 9000}}, left_out: [],
           seconds: 0.05}
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._evidence import EvidenceCollector
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit

_STATUS_SECONDS = 1.0


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Collect once."""
    collector = EvidenceCollector(params["timeout"], params["bytes_per_log"])
    units = [process_unit(options) for options in params["units"]]

    def main_pids() -> t.List[int]:
        pids = (unit.status(Deadline(_STATUS_SECONDS)).pid for unit in units)
        return [pid for pid in pids if pid is not None]

    collector.collect(params["log_files"], params["hashed_files"], params["disks"], main_pids if units else None)
    content, summary = collector.pack()
    return {"content": content, "summary": summary}


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "log_files": {"type": "list", "elements": "path", "default": []},
            "hashed_files": {"type": "list", "elements": "path", "default": []},
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": process_options(),
                "required_if": [("manager", "supervisor", ["socket"])],
            },
            "disks": {"type": "list", "elements": "path", "default": ["/"]},
            "bytes_per_log": {"type": "int", "default": 262144},
            "timeout": {"type": "float", "default": 5.0},
        },
        look,
        verbatim=("content",),
    )


if __name__ == "__main__":
    main()
