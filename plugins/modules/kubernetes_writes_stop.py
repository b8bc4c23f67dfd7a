#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_writes_stop
short_description: Stop writes to a database on Kubernetes, or let them begin again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Scales the workloads of C(codeblue_kubernetes.database.writers) to no pods and waits until these are gone. Flux and
    Argo CD are suspended where they keep one.
  - Has a Job make the database read only (PostgreSQL) or block writes (MongoDB from 6.0 on), end sessions, and try
    a write, which must fail. A check of the service that writes must fail too, where there is one.
  - Has a Job hold the database against its integrity rules. When all of them hold, writes begin again and the step
    fails. With O(confirmed=false) the rules are asked before anything is stopped.
  - With O(state=resumed) gives back what this run has stopped, the database first.
options:
  state:
    description: What is wanted.
    type: str
    choices: [stopped, resumed]
    required: true
  confirmed:
    description: Damage was seen already. Without it the rules are asked first.
    type: bool
    default: true
  reason:
    description: Why, for the record.
    type: str
    required: true
  gone_within:
    description: Seconds until the pods of the writers have to be gone.
    type: float
    default: 60.0
  rollout_within:
    description: Seconds until the pods of the writers have to serve again.
    type: float
    default: 300.0
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_database_restore
  - module: codeblue.recovery.writes_stop
"""

EXAMPLES = r"""
- name: Stop writes
  codeblue.recovery.kubernetes_writes_stop:
    state: stopped
    reason: the monitoring reports damage
"""

RETURN = r"""
findings:
  description: Which rules fail, which tables are damaged, and which of these cannot be read.
  returned: when writes were stopped
  type: dict
  sample: {rules: [records_digests], tables: [record_digests, records], unreadable: []}
undo:
  description: For the entry point of the role that lets writes begin again.
  returned: success
  type: str
  sample: none
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 31
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["stopped", "resumed"], "required": True},
            "confirmed": {"type": "bool", "default": True},
            "reason": {"type": "str", "required": True},
            "gone_within": {"type": "float", "default": 60.0},
            "rollout_within": {"type": "float", "default": 300.0},
        }
    )


if __name__ == "__main__":
    main()
