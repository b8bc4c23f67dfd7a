#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_swap
short_description: Put a restored database in RDS in the place of the original
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Renames the original to a name with the run in it, then the restored one to the original's name, so that consumers
    find it at the same address. In between nobody has that address, for as long as RDS takes, which is minutes.
  - Which database is which is decided before the first rename, by what stays when they are renamed. A run that was
    killed anywhere goes on where it was.
  - What was written to the original since is not in the restored one. When that may be more than the RPO, a person has
    to accept C(data_loss). The original is kept, and nothing deletes it.
  - The undo is the two renames back, as commands in the record.
options:
  restored:
    description: Name of the one that was restored beside the original.
    type: str
    required: true
  of:
    description: The moment whose state it has, in RFC 3339. The loss counts as beyond the RPO when it is left out.
    type: str
    default: ''
  reason:
    description: Why, for the record.
    type: str
    default: ''
  accept:
    description: What is accepted explicitly. Counts in check mode only; a run has a record of its own of it.
    type: list
    elements: str
    default: []
  rename_within:
    description: Seconds that RDS gets for each of the two renames.
    type: float
    default: 1200.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
  when_unhealthy:
    description: Whether checks that fail afterwards fail the task, or are only reported in RV(problem).
    type: str
    choices: [fail, report]
    default: fail
attributes:
  check_mode:
    support: full
    details: Looks at both and names the steps. A loss that was not accepted is refused as in a run.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_database_restore
"""

EXAMPLES = r"""
- name: Put the restored database in the place of the damaged one
  codeblue.recovery.aws_database_swap:
    restored: "{{ __restored.identifier }}"
    of: "{{ __restored.at }}"
"""

RETURN = r"""
retired:
  description: The name that the original has now.
  returned: success
  type: str
  sample: clinic-prod-codeblue-4m3r1c0x9y
problem:
  description: Which check fails afterwards; empty when none does.
  returned: success
  type: str
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often services were asked.
  returned: success
  type: int
  sample: 12
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that RDS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: swap
    target: patient_db
    summary: put clinic-prod-restored-4m3r1c0x9y in the place of instance clinic-prod in us-east-1; the original is …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "restored": {"type": "str", "required": True},
            "of": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "accept": {"type": "list", "elements": "str", "default": []},
            "rename_within": {"type": "float", "default": 1200.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
