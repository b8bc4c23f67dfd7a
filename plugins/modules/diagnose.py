#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnose
short_description: Find out whether the criteria of a runbook fire, and why
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Runs the checks of the targets and of the services that depend on them until it is sure, and holds the results
    against the detection criteria of the card.
  - Looks at the machines of the targets meanwhile, at most a few seconds, and names one cause with its evidence. Says
    V(inconclusive) when the evidence does not suffice.
  - Changes nothing. Both results go into the record of the run.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  runbook:
    description: Id of the runbook whose criteria are asked.
    type: str
    required: true
  because:
    description: Why the runbook is to act although no criterion fires.
    type: str
  level:
    description: The deepest level of checks.
    type: str
    choices: [shallow, deep, comprehensive]
    default: deep
attributes:
  check_mode:
    support: full
    details: Looks all the same, and records nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.run_open
  - module: codeblue.recovery.postgresql_failover
  - module: codeblue.recovery.postgresql_free_connections
  - module: codeblue.recovery.postgresql_rotate_password
"""

EXAMPLES = r"""
- name: Find out whether criteria fire, and why
  codeblue.recovery.diagnose:
    runbook: database_connection_failure
  run_once: true
  register: __found
"""

RETURN = r"""
proceed:
  description: A criterion fires, or O(because) was given, or the run is taken up again.
  returned: success
  type: bool
detection:
  description:
    - C(fired), each of the C(criteria) with its reason, the C(failing) checks (at most 50), how many C(checks) there
      were, and the C(seconds) that it took.
  returned: success
  type: dict
  sample: {fired: true, checks: 3, seconds: 0.412, criteria: [], failing: [
    {target: patient_db, check: write, error_class: refused, detail: connection refused}]}
targets:
  description:
    - For each target C(cause), C(confidence) from 0 to 1 and C(evidence), the strongest first, as well as what the
      treatment of the cause needs. C(unreachable) names the machines that did not answer.
    - For a database C(primary), C(members), C(received_lsn), C(failover) (the way back that was chosen, and what it
      loses), C(offender) of an exhausted pool, C(roles_refused), and C(next_step) where a person is needed.
    - For a service with instances C(stopped), the units that do not run.
  returned: success
  type: dict
  sample: {patient_db: {cause: primary_dead, confidence: 0.95, evidence: ["db1: no process of the server runs"],
    primary: db1, roles_refused: [], unreachable: {}}}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: diagnose
    target: patient_db
    summary: "patient_db: primary_dead (fired: write_fails)"
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "runbook": {"type": "str", "required": True},
            "because": {"type": "str"},
            "level": {"type": "str", "choices": ["shallow", "deep", "comprehensive"], "default": "deep"},
        }
    )


if __name__ == "__main__":
    main()
