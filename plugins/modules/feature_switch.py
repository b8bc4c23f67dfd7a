#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: feature_switch
short_description: Switch a feature of a service off or on, in every place that holds its flags
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets the flags that C(features) of the service names, so that whoever uses the service goes on without it.
  - Looks again after a moment. A flag that somebody puts back, such as a configuration management, is reported.
  - RV(normal) holds what was there before, for M(codeblue.recovery.feature_ramp) to go back to.
options:
  feature:
    description: Its name in C(features) of the service. Needed only where a service has several.
    type: str
  state:
    description: V(off) sends no request of the feature to the service, V(on) sends them.
    type: str
    choices: ["off", "on"]
    required: true
  share:
    description: With V(on), how many of a hundred requests. All when it is left out.
    type: float
  reason:
    description: Why, for the record.
    type: str
    default: ""
  when_put_back:
    description:
      - What happens when a place cannot be switched or somebody puts its flag back.
      - V(report) goes on as long as at least one place was switched, because a recovery is not stopped by a flag.
    type: str
    choices: [fail, report]
    default: fail
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.feature_flag
  - module: codeblue.recovery.feature_ramp
"""

EXAMPLES = r"""
- name: Let records go on without suggestions
  codeblue.recovery.feature_switch:
    feature: triage
    state: "off"
    reason: the model gives nonsense
"""

RETURN = r"""
feature:
  description: Its name.
  returned: success
  type: str
  sample: triage
normal:
  description: The flags from before, V(null) for one that was not there. Where places differ, the lowest share.
  returned: success
  type: dict
  sample: {enabled: true, share: null}
problems:
  description: Machine to what was wrong there, with O(when_put_back=report).
  returned: success
  type: dict
  sample: {}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: feature
    target: ai
    summary: switched triage of records off
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "feature": {"type": "str"},
            "state": {"type": "str", "choices": ["off", "on"], "required": True},
            "share": {"type": "float"},
            "reason": {"type": "str", "default": ""},
            "when_put_back": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
