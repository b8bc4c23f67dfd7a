#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: writes_stop
short_description: Stop all writes to a database or let them begin again, proven by a write that is tried
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes transactions of the database read only by default and ends its sessions, existing ones included, by
    M(codeblue.recovery.postgresql_read_only) on the primary.
  - Then tries the checks of the service that write. With O(state=stopped) each must fail as read only, twice in a row;
    with O(state=resumed) each must succeed.
  - Stops services that do not ask for a writing transaction themselves. Against an attacker fence the server.
options:
  state:
    description: What to bring about.
    type: str
    choices: [stopped, resumed]
    required: true
  previous:
    description: With O(state=resumed) the database's own setting before, from RV(undo) of the step that stopped writes.
    type: str
    choices: ["none", "on", "off"]
    default: "none"
  reason:
    description: Why, for the record.
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
- name: Stop writes
  codeblue.recovery.writes_stop:
    state: stopped
    reason: records are damaged
  register: __stopped

- name: Resume writes
  codeblue.recovery.writes_stop:
    state: resumed
    previous: "{{ __stopped.undo }}"
    reason: records are whole again
"""

RETURN = r"""
undo:
  description: Value for O(previous) that restores what was found.
  returned: success
  type: str
  sample: none
proof:
  description: Which writes were tried, and how each ended.
  returned: when not in check mode
  type: str
  sample: "a write through every way was tried: write fails (read_only)"
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
    summary: writes stopped; 14 sessions ended
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["stopped", "resumed"], "required": True},
            "previous": {"type": "str", "choices": ["none", "on", "off"], "default": "none"},
            "reason": {"type": "str", "required": True},
        }
    )


if __name__ == "__main__":
    main()
