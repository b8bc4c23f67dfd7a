#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_open
short_description: Open a run for all targets of a play, or take an unfinished one up again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Gives the run an id, opens its incident and its emergency change, and takes the lease of every target, all in one
    transaction. Either all targets are leased or none is.
  - Comes first in an operation; for a runbook M(codeblue.recovery.diagnose) does the same. The actions that change
    something ask for the lease, which belongs to this very C(ansible-playbook) process.
  - With the id of a run that is not closed, that run goes on. What its last process left running is waited for or ended
    first, and the steps that it finished are not done again.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  runbook:
    description: Id of the operation or the runbook.
    type: str
    required: true
  run_id:
    description:
      - A ULID, for a run whose id is known before it starts. A new one is made when it is left out.
      - The id of an unfinished run takes that run up again.
    type: str
  because:
    description: Why it is run although no detection criterion may fire. It goes into the change.
    type: str
  accept:
    description:
      - What the operator accepts explicitly. Only what the card of the runbook names counts, such as V(data_loss).
      - V(changed_inputs) takes a run up again although card, inventory or version are others than at its start.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    details: Says what it would open. Leaves no record and takes no lease.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.run_close
  - module: codeblue.recovery.diagnose
"""

EXAMPLES = r"""
- name: Open the run
  codeblue.recovery.run_open:
    runbook: database_rejoin
  run_once: true
  register: __opened
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
targets:
  description: The services that the run is for.
  returned: success
  type: list
  elements: str
  sample: [patient_db]
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
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: open
    target: patient_db
    summary: opened run 01K9Z5V6A8T7Q2N4M3R1C0X9YB, change CHG-1
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
        }
    )


if __name__ == "__main__":
    main()
