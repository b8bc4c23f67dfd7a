#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_free_connections
short_description: End the sessions that exhaust the places of a PostgreSQL, and limit their owner
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Ends the sessions of the role that M(codeblue.recovery.diagnose) found to hold the places, and gives the role a
    connection limit, because a leak comes back within seconds.
  - Fails when the places are held by a role of the service itself, or by nobody who sticks out. Those instances are
    restarted one after the other, not cut off.
  - RV(undo) is the statement that gives the role its former limit.
options:
  diagnosis:
    description: What RV(codeblue.recovery.diagnose#module:targets) says about this target.
    type: dict
    required: true
  connection_limit:
    description: Connections that the offender keeps.
    type: int
    default: 3
  idle_seconds:
    description: Only sessions that have been idle for longer are ended.
    type: float
    default: 0.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.diagnose
  - module: codeblue.recovery.postgresql_end_sessions
"""

EXAMPLES = r"""
- name: End the sessions that hold the places, and limit their owner
  codeblue.recovery.postgresql_free_connections:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
    connection_limit: 5
"""

RETURN = r"""
ended:
  description: How many sessions were ended.
  returned: success
  type: int
  sample: 37
undo:
  description: What gives the role its former limit.
  returned: success
  type: raw
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: isolate
    target: patient_db
    summary: ended 37 idle sessions of reporting and limited it to 3
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "connection_limit": {"type": "int", "default": 3},
            "idle_seconds": {"type": "float", "default": 0.0},
        }
    )


if __name__ == "__main__":
    main()
