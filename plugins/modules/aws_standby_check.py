#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_standby_check
short_description: Look whether a service on AWS can work in the region that traffic is to move to
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks at everything at once that C(codeblue_aws.standby) names, in threads. These are the ECS service with its
    task definition, images and the origin of its secrets, capacity of its cluster, secrets and parameters by name and
    version (never their values), certificates, quotas, target groups, functions, and the copy of the bucket.
  - The other region is asked only to compare, for some seconds. When it gives no answer that is said, and stops
    nothing.
  - Refuses, with exit code 3, when something is not fit and V(unfit_standby) was not accepted, or V(data_loss) for a
    replica that is behind by more than the RPO. Changes nothing.
options:
  side:
    description: The side that traffic is to move to.
    type: str
    choices: [standby, primary]
    default: standby
  other_region:
    description: Whether the region that is left is asked to compare, or left alone, as one that is known to be gone.
    type: str
    choices: [compare, leave]
    default: compare
  when_unfit:
    description: Whether the task refuses when something is not fit, or only tells it.
    type: str
    choices: [refuse, report]
    default: refuse
  accept:
    description:
      - What is accepted explicitly, as V(unfit_standby). Counts in check mode only, a run has its own record of
        it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    details: It only reads anyway.
  diff_mode:
    support: none
    details: It changes nothing.
  idempotent:
    support: full
    details: It changes nothing.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_standby_raise
  - module: codeblue.recovery.aws_traffic_shift
"""

EXAMPLES = r"""
- name: See that the standby region is fit
  codeblue.recovery.aws_standby_check:
"""

RETURN = r"""
fit:
  description: Whether everything is as it must be.
  returned: success
  type: bool
region:
  description: Where it was looked.
  returned: success
  type: str
  sample: us-west-2
looks:
  description: What was looked at, each with C(what), C(fit) and C(said).
  returned: success
  type: list
  elements: dict
  sample: [{what: secret clinic/database, fit: false, said: has another version than in us-east-1}]
calls:
  description: How often services of AWS were asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: standby
    target: records
    summary: standby of records in us-west-2 is fit (11 looks)
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "side": {"type": "str", "choices": ["standby", "primary"], "default": "standby"},
            "other_region": {"type": "str", "choices": ["compare", "leave"], "default": "compare"},
            "when_unfit": {"type": "str", "choices": ["refuse", "report"], "default": "refuse"},
            "accept": {"type": "list", "elements": "str", "default": []},
        }
    )


if __name__ == "__main__":
    main()
