#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_function_invoke
short_description: Call functions of Lambda that take part in a recovery, and judge their answers
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Calls functions of C(codeblue_aws.functions), each once the one before has answered, and holds the answers against
    what the inventory expects. An exception of a function is a failure.
  - The function finds the run and the target in its client context, as C(codeblue_run) and C(codeblue_target).
  - It is called once in a run. When no answer came, nobody knows whether it ran, and it is called again only when the
    inventory says C(repeatable) or somebody accepts V(invoke_again).
  - Of a function that is C(sensitive) nothing is shown but whether the answer was right.
options:
  function:
    description: Its name in C(codeblue_aws.functions). All of O(side) when it is left out, in their order.
    type: str
  side:
    description: The side to which traffic moves.
    type: str
    choices: [standby, primary]
    default: standby
  payload:
    description: Keys that replace those of the inventory for O(function). No secrets, which it finds by itself.
    type: dict
    default: {}
  accept:
    description:
      - What is accepted explicitly, as V(invoke_again). Counts in check mode only, a run has its own record of
        it.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Does not call it.
  diff_mode:
    support: none
    details: What the function does is its own.
  idempotent:
    support: partial
    details: Once in each run.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_traffic_shift
"""

EXAMPLES = r"""
- name: Lead the applications to the database in the standby region
  codeblue.recovery.aws_function_invoke:
    function: endpoints
    payload:
      new_endpoint: clinic-dr.cluster-abc.us-west-2.rds.amazonaws.com
"""

RETURN = r"""
functions:
  description:
    - Those that were called, each with C(function), C(region), the C(status) of Lambda, the C(size) of the answer in
      bytes, and the C(answer) when it is no larger than 4 KiB and may be shown.
  returned: success
  type: list
  elements: dict
  sample:
    - {function: update-database-endpoints, region: us-west-2, status: 200, size: 17, answer: {updated: true}}
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
    stage: function
    target: patient_db
    summary: function update-database-endpoints in us-west-2 answered as expected
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "function": {"type": "str"},
            "side": {"type": "str", "choices": ["standby", "primary"], "default": "standby"},
            "payload": {"type": "dict", "default": {}},
            "accept": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
