#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: feature_ramp
short_description: Give a feature back in steps of its requests, with a health gate at each
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Raises the share of requests that use the feature in steps, and watches each for a while. The last step sets exactly
    the flags from before.
  - The gate asks the real use of every instance on its own machine, and the checks of the service and of whoever uses
    it. It closes when it fails twice in a row. Then the feature is off again in every place, and the task fails.
  - A flag that somebody else has changed meanwhile is left as it is, and the task fails with C(exit_code=3).
options:
  feature:
    description: Its name in C(features) of the service. Needed only where a service has several.
    type: str
  normal:
    description: C(enabled) and C(share) from before, as RV(codeblue.recovery.feature_switch#module:normal) has them.
    type: dict
    required: true
  begin:
    description:
      - V(off) begins with a feature that this run has switched off, and refuses when it is not off any more.
      - V(as_it_is) looks first, and leaves out the steps that are behind it.
    type: str
    choices: ["off", "as_it_is"]
    default: "off"
  steps:
    description: Percent of the way, rising, the last one 100.
    type: list
    elements: int
    default: [5, 25, 50, 100]
  hold:
    description: How long each step is watched, in production. A lab's minute is a second.
    type: str
    default: 1m
attributes:
  check_mode:
    support: full
    details: Names the shares that would be given. Gates are not asked.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.feature_switch
  - module: codeblue.recovery.gateway_ramp
"""

EXAMPLES = r"""
- name: Give the suggestions back
  codeblue.recovery.feature_ramp:
    feature: triage
    normal: {enabled: true, share: 100}
"""

RETURN = r"""
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
    summary: triage is back for 100 %, 4 gates passed
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "feature": {"type": "str"},
            "normal": {"type": "dict", "required": True},
            "begin": {"type": "str", "choices": ["off", "as_it_is"], "default": "off"},
            "steps": {"type": "list", "elements": "int", "default": [5, 25, 50, 100]},
            "hold": {"type": "str", "default": "1m"},
        }
    )


if __name__ == "__main__":
    main()
