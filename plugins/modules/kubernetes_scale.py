#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_scale
short_description: Give a workload on Kubernetes the number of pods back with which it worked
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Scales a Deployment or StatefulSet from none, or from too few pods, to the last number that is known to have worked.
    It is taken from an earlier run that proved it, the annotation C(codeblue.recovery/replicas), the key C(replicas) of
    C(codeblue_kubernetes), the manifest that kubectl applied last, or the least of its autoscaler, in this order.
  - Where nobody has written a number down, nothing is changed. It never scales down.
  - Refuses, with exit code 3, where an autoscaler sets the number right now, where an operator keeps the workload, and
    what is in quarantine. Flux and Argo CD are suspended, and how they are given back is said.
  - Waits until so many pods serve and the deep checks of the service pass.
  - The number from before is in the record, with the command that goes back to it.
options:
  replicas:
    description: The number of pods. When it is left out, the last one that is known to have worked.
    type: int
  temporary:
    description:
      - Whether O(replicas) is for the time being. Then it is bounded by what the quotas of the namespace leave, is
        taken back at once when the pods do not come up, is no number to go back to later, and RV(due) says how it is
        undone.
    type: bool
    default: false
  reason:
    description: Why, for the record.
    type: str
    default: ""
  rollout_within:
    description: Seconds that the pods get. It ends earlier when they cannot come up.
    type: float
    default: 300.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
  when_unhealthy:
    description: Whether the task fails when that did not help, or says so in C(problem) for whoever looks again.
    type: str
    choices: [fail, report]
    default: fail
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: full
    details: Shows both numbers.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_route
"""

EXAMPLES = r"""
- name: Give the login its pods back
  codeblue.recovery.kubernetes_scale:
    reason: somebody scaled it to none

- name: Give it more pods than it ever had
  codeblue.recovery.kubernetes_scale:
    replicas: 6
    rollout_within: 120
"""

RETURN = r"""
before:
  description: How many pods it was to have.
  returned: success
  type: int
  sample: 0
after:
  description: How many it is to have now.
  returned: success
  type: int
  sample: 2
why:
  description: How that number is known.
  returned: success
  type: str
  sample: codeblue_kubernetes.replicas
problem:
  description: What does not work all the same; empty when everything does.
  returned: success
  type: str
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
  sample: [flux resume kustomization clinic -n flux-system]
reconcilers:
  description: Others that may change it and were not suspended.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: scale
    target: records
    summary: scaled Deployment records in namespace clinic from 0 to 2 pods (codeblue_kubernetes.replicas), …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "replicas": {"type": "int"},
            "temporary": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
