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
  - Collects processes, TCP connections, load, memory and disks, the ends of log files and the hashes of files.
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
    description: Files whose hashes are collected.
    type: list
    elements: path
    default: []
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

from ansible_collections.codeblue.recovery.plugins.module_utils._evidence import EvidenceCollector
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Collect once."""
    collector = EvidenceCollector(params["timeout"], params["bytes_per_log"])
    collector.collect(params["log_files"], params["hashed_files"], params["disks"])
    content, summary = collector.pack()
    return {"content": content, "summary": summary}


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "log_files": {"type": "list", "elements": "path", "default": []},
            "hashed_files": {"type": "list", "elements": "path", "default": []},
            "disks": {"type": "list", "elements": "path", "default": ["/"]},
            "bytes_per_log": {"type": "int", "default": 262144},
            "timeout": {"type": "float", "default": 5.0},
        },
        look,
        verbatim=("content",),
    )


if __name__ == "__main__":
    main()
