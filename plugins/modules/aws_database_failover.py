#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_failover
short_description: Bring a database in RDS back that serves nobody
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Starts an instance or cluster that was stopped, lets another instance of an Aurora cluster write, or promotes the
    replica of C(codeblue_aws.database.replica). An instance, a cluster and a member of a global database are each
    promoted in their own way. A global database whose primary serves switches the roles, without loss.
  - The loss of a promotion is bounded by what CloudWatch keeps of the replica's lag. Beyond the RPO, or unknown, it is
    refused with exit code 3 until a person accepts C(data_loss).
  - Before a promotion an old primary that serves is closed for writes, by its parameter group or by
    C(codeblue_aws.database.closed_group). A region that is silent counts as left when consumers are led by
    C(codeblue_aws.database.endpoints); otherwise that has to be accepted as well.
  - Waits until the role has really changed and nothing is pending, gives the new primary automated backups, writes its
    address where consumers look for it, and reads that back. An old instance is stopped in the end, never deleted.
  - The decision is made once in a run and kept. Without a replica it returns RV(path=restore) and changes nothing.
options:
  down_since:
    description: Unix time of the first check that failed, which bounds what can have been written since.
    type: float
  writer_fails:
    description: The instance that writes in an Aurora cluster does not work, although RDS calls the cluster available.
    type: bool
    default: false
  accept:
    description: What is accepted explicitly. Counts in check mode only; a run has a record of its own of it.
    type: list
    elements: str
    default: []
  promote_within:
    description: Seconds that each of its steps may take in RDS.
    type: float
    default: 900.0
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
    details: Looks, decides and names the steps. A loss that was not accepted is refused as in a run.
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
- name: Fail over to what still works
  codeblue.recovery.aws_database_failover:
    down_since: "{{ diagnose_result.targets[inventory_hostname].down_since | default(omit, true) }}"
"""

RETURN = r"""
path:
  description: C(start), C(fail_over), C(promote), C(lead) for one that was promoted before, or C(restore).
  returned: success
  type: str
  sample: promote
primary:
  description: The instance or cluster that is the primary now.
  returned: success
  type: str
  sample: clinic-dr
lost_seconds:
  description: Upper bound of the time whose commits may be lost; none when there is no bound.
  returned: success
  type: float
  sample: 74.0
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
    stage: failover
    target: patient_db
    summary: promoted clinic-dr, us-east-1 gives no answer; up to 74 s of commits may be lost, within the RPO
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "down_since": {"type": "float"},
            "writer_fails": {"type": "bool", "default": False},
            "accept": {"type": "list", "elements": "str", "default": []},
            "promote_within": {"type": "float", "default": 900.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
