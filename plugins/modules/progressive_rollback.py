#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: progressive_rollback
short_description: Take the newest changes back one after the other until everything is healthy
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Takes the newest change of a service that fails - a release, a configuration, flags, or a migration of the schema
    that it uses - brings all its places to the version before, restarts, checks, and goes on with the next newest
    change as long as something fails.
  - Marks the version that it leaves as bad, for every later run as well, so that rolling back twice never lands there.
  - A migration is never taken away under a release that needs it. That release goes back first, also where it is older.
  - Before a migration is taken back, the database is copied as much as its size allows, see
    M(codeblue.recovery.postgresql_safety_dump). One whose way back loses data needs C(data_loss) accepted, otherwise it
    fails with exit code 3. One that has no way back, or that a working service needs, ends the walk.
  - Switching to the version that it left, after its mark was cleared, undoes it.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  services:
    description: Only these services. All targets with releases when the list is empty.
    type: list
    elements: str
    default: []
  most:
    description: At most so many changes.
    type: int
    default: 5
  accept:
    description: What is accepted explicitly. Counts in check mode only, because a run has a record of its own.
    type: list
    elements: str
    default: []
  healthy_within:
    description: Seconds that services get to come up after each. 30 intervals of their checks when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Says what would be rolled back first; what follows depends on whether that helps.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.release_switch
  - module: codeblue.recovery.configuration_switch
  - module: codeblue.recovery.feature_flag
  - module: codeblue.recovery.schema_migration
  - module: codeblue.recovery.process_state
"""

EXAMPLES = r"""
- name: Roll back what a start did not bring back
  codeblue.recovery.progressive_rollback:
    services: [auth, records]
  run_once: true
"""

RETURN = r"""
rolled_back:
  description: What was rolled back, in this order. In check mode the first one only.
  returned: success
  type: list
  elements: dict
  sample: [{service: records, kind: release, from: 1.2.0, to: 1.1.0}]
still_failing:
  description: Services that are still down afterwards.
  returned: success
  type: list
  elements: str
left_to_a_person:
  description: Why the walk ended at a change that nothing may take back by itself; V(null) when it did not.
  returned: success
  type: str
  sample: migration 0042 of patient_db came last and has no way back
not_asked:
  description: Histories that could not be read, with the reason. Newer changes may be among them.
  returned: success
  type: list
  elements: str
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rollback
    target: auth, records
    summary: rolled back records from 1.2.0 to 1.1.0
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "services": {"type": "list", "elements": "str", "default": []},
            "most": {"type": "int", "default": 5},
            "healthy_within": {"type": "float"},
            "accept": {"type": "list", "elements": "str", "default": []},
        }
    )


if __name__ == "__main__":
    main()
