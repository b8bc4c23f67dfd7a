#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_route
short_description: Lead a Service on Kubernetes to the pods of its workload again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Replaces the whole selector of the Service that C(codeblue_kubernetes.service) names, so that it fits the pods of
    the workload. Nothing of the wrong one stays, as it would after a merge.
  - Takes the last selector that an earlier run saw working and that fits the pods of now, else that of the workload.
  - Leaves a selector alone that fits. Refuses, with exit code 3, a Service that selects nothing by itself, one that an
    operator keeps, and what is in quarantine. Flux and Argo CD are suspended, and how they are given back is said.
  - Waits until a pod gets traffic and the deep checks of the service pass.
  - The selector from before is in the record, with the command that goes back to it.
options:
  reason:
    description: Why, for the record.
    type: str
    default: ""
  routed_within:
    description: Seconds until a pod has to get traffic.
    type: float
    default: 60.0
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
    details: Shows both selectors.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_scale
"""

EXAMPLES = r"""
- name: Lead the login to its pods
  codeblue.recovery.kubernetes_route:
    reason: a label of a canary was merged into its selector
"""

RETURN = r"""
before:
  description: The selector that it had.
  returned: success
  type: dict
  sample: {app: login, version: stable}
after:
  description: The selector that it has now.
  returned: success
  type: dict
  sample: {app: login}
why:
  description: Why this one.
  returned: success
  type: str
  sample: the selector of Deployment itself
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
    stage: route
    target: records
    summary: gave Service login in namespace clinic the selector app=login instead of app=login,version=stable …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "reason": {"type": "str", "default": ""},
            "routed_within": {"type": "float", "default": 60.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
