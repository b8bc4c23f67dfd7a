#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_close
short_description: Close one target of a run with its outcome
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Writes the outcome into the record, gives the lease back, and closes incident and change with the last target.
  - After a failure it looks first whether the target was left safe. A database with two members that both take writes
    makes the outcome V(failed_unsafe), whatever failed.
  - Fails when O(outcome=failed) or when validation found the target down, because a play that was rescued would end as
    if all were well.
  - Sets the statistics C(codeblue_run_id) and C(codeblue_outcome) of the host, which AWX shows with the job.
options:
  outcome:
    description:
      - V(validated) takes the outcome from O(validation), V(nothing_to_do) says that no criterion fired,
        V(failed) that a step failed. V(done) ends an operation whose own steps prove it.
    type: str
    choices: [validated, done, nothing_to_do, failed]
    required: true
  validation:
    description: The result of M(codeblue.recovery.validate_services). Without it O(outcome=validated) counts as down.
    type: dict
  failure:
    description: The result of the task that failed, C(ansible_failed_result) in a rescue.
    type: dict
  work:
    description: One line about what was done, with O(outcome=done).
    type: str
attributes:
  check_mode:
    support: full
    details: Says the outcome as things stand.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.run_open
  - module: codeblue.recovery.validate_services
"""

EXAMPLES = r"""
- name: Make safe, close the run and fail
  codeblue.recovery.run_close:
    outcome: failed
    failure: "{{ ansible_failed_result }}"
"""

RETURN = r"""
outcome:
  description: How the run ended for this target.
  returned: always
  type: str
  sample: recovered
  choices: [recovered, nothing_to_do, degraded, failed_safe, failed_unsafe, bad_input, refused]
detail:
  description: What the outcome rests on. C(reason), C(next_step), C(unsafe) or C(validation).
  returned: when not in check mode
  type: dict
  sample: {validation: [every check passed]}
run_id:
  description: Id of the run.
  returned: when a run was open
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
run_status:
  description: V(closed) when this was the last open target.
  returned: when a run was open
  type: str
  sample: closed
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: close
    target: patient_db
    summary: "run 01K9Z5V6A8T7Q2N4M3R1C0X9YB: recovered"
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "outcome": {"type": "str", "choices": ["validated", "done", "nothing_to_do", "failed"], "required": True},
            "validation": {"type": "dict"},
            "failure": {"type": "dict"},
            "work": {"type": "str"},
        }
    )


if __name__ == "__main__":
    main()
