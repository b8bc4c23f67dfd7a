#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_ramp
short_description: Move the weights of a service's servers in its gateway in steps, with a health gate at each
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Moves each weight from what it is to what it is to be, by the same percent of the way at once, and watches each step
    for a while. A server that is out of traffic begins at 0 and is made ready with the first step.
  - The same in the other direction drains a server gradually, or brings traffic back after a failover.
  - The gate asks the real use of every instance on its own machine, and the checks of the service and of what depends
    on it. It closes when it fails twice in a row. Then the weights are as before again, and the task fails.
  - Writes the state of HAProxy to its file at each step, so that a restart keeps the weights.
options:
  weights:
    description: Member or instance to the weight that it is to have at the end, 0 to 256. All others stay as they are.
    type: dict
    required: true
  steps:
    description: Percent of the way, rising, the last one 100.
    type: list
    elements: int
    default: [5, 25, 50, 100]
  hold:
    description: How long each step is watched, in production. A lab's minute is a second.
    type: str
    default: 1m
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Names the weights of all steps. Gates are not asked.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.haproxy_server
  - module: codeblue.recovery.gateway_switch
  - module: codeblue.recovery.feature_ramp
"""

EXAMPLES = r"""
- name: Bring traffic back to the first instance
  codeblue.recovery.gateway_ramp:
    weights: {app1: 100, app2: 100}
    hold: 5m
    reason: its memory was replaced

- name: Drain the second instance gradually
  codeblue.recovery.gateway_ramp:
    weights: {app2: 0}
"""

RETURN = r"""
before:
  description: The weights before the first step. 0 for a server that was out of traffic.
  returned: success
  type: dict
  sample: {app1: 0, app2: 100}
after:
  description: The weights that were reached, or would be.
  returned: success
  type: dict
  sample: {app1: 100, app2: 100}
gates:
  description: For each step that passed, how often its gate was asked and for how many seconds.
  returned: success
  type: list
  elements: dict
  sample: [{percent: 5, looks: 12, seconds: 60.2}]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: ramp
    target: ai
    summary: "traffic is at app1 100, app2 100, 4 gates passed"
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "weights": {"type": "dict", "required": True},
            "steps": {"type": "list", "elements": "int", "default": [5, 25, 50, 100]},
            "hold": {"type": "str", "default": "1m"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
