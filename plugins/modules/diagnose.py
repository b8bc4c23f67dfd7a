#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnose
short_description: Open a run and find out whether the criteria of a runbook fire, and why
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Opens the run for all targets as M(codeblue.recovery.run_open) does, or takes an unfinished one up again. A run that
    this very C(ansible-playbook) has opened before is used as it is.
  - Asks the machines and runs the checks while the run is being opened. A refused opening ends all that with one error.
  - Runs the checks of the targets and of the services that depend on them until it is sure, and holds the results
    against the detection criteria of the card.
  - Looks at the machines of the targets meanwhile, at most a few seconds, and names one cause with its evidence. Says
    V(inconclusive) when the evidence does not suffice.
  - Changes nothing at the targets. Opening, detection and diagnosis go into the record of the run.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  runbook:
    description: Id of the runbook whose run is opened and whose criteria are asked.
    type: str
    required: true
  run_id:
    description:
      - A ULID, for a run whose id is known before it starts. A new one is made when it is left out.
      - The id of an unfinished run takes that run up again.
    type: str
  because:
    description: Why the runbook is to act although no criterion may fire. It goes into the change.
    type: str
  accept:
    description:
      - What the operator accepts explicitly. Only what the card of the runbook names counts, such as V(data_loss).
      - V(changed_inputs) takes a run up again although card, inventory or version are others than at its start.
    type: list
    elements: str
    default: []
  level:
    description: The deepest level of checks.
    type: str
    choices: [shallow, deep, comprehensive]
    default: deep
attributes:
  check_mode:
    support: full
    details: Looks all the same. Opens no run, takes no lease and records nothing.
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
- name: Open the run and find out whether criteria fire, and why
  codeblue.recovery.diagnose:
    runbook: database_connection_failure
  run_once: true
  register: __found
"""

RETURN = r"""
runbook:
  description: Id of the runbook.
  returned: success
  type: str
  sample: database_connection_failure
severity:
  description: Of the card.
  returned: success
  type: str
  sample: SEV1
run_id:
  description: Id of the run. V(null) in check mode, which opens none.
  returned: success
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
resumed:
  description: An unfinished run was taken up again.
  returned: success
  type: bool
change_id:
  description: The change ticket that belongs to the run.
  returned: when not in check mode
  type: str
incident_id:
  description: The incident that the run belongs to.
  returned: when not in check mode
  type: str
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
    - C(stages_ended) tells of the opening, which is over before the task is. When it fails, C(stage) is V(open).
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
            "run_id": {"type": "str"},
            "because": {"type": "str"},
            "accept": {"type": "list", "elements": "str", "default": []},
            "level": {"type": "str", "choices": ["shallow", "deep", "comprehensive"], "default": "deep"},
        }
    )


if __name__ == "__main__":
    main()
