#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_rollback
short_description: Bring a workload on Kubernetes back to its last good version
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Brings a Deployment, StatefulSet or DaemonSet back to the last version that was good. A version of which pods serve
    now goes first, then what an earlier run proved, then the newest earlier one that is not marked bad. It is never
    simply the one before.
  - Marks the version that it leaves as bad, for every later run as well, so that rolling back twice never lands there.
  - Suspends Flux and Argo CD where they keep the workload, and says how they are given back. Refuses, with exit code 3,
    where an operator keeps it.
  - Waits until all pods are of that version and serve, and until the deep checks of the service pass. Pods that their
    controller would keep for ever, as those of a stuck StatefulSet, are deleted. A version that does not prove itself
    is marked too, and the one before it is tried.
  - Writes only over what it has read. A version that somebody rolls out meanwhile is not overwritten.
  - Rolling out the version that it left, after its mark was cleared, undoes it.
options:
  reason:
    description: Why the version is bad, for the mark and the record.
    type: str
    default: ""
  leave:
    description:
      - The version to leave, as the record names it. Nothing is done when another one runs.
      - When it is left out, the current one is left, unless an earlier run went back to it and it works.
    type: str
  most:
    description: At most so many versions are left.
    type: int
    default: 3
  rollout_within:
    description: Seconds that the pods of one version get. It ends earlier when they cannot come up.
    type: float
    default: 300.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
  prove_by:
    description:
      - Whether the checks of the service have to pass in the end, or only all its pods have to be ready, because it is
        closed on purpose and no check can pass.
    type: str
    choices: [checks, pods]
    default: checks
attributes:
  check_mode:
    support: full
    details: Only reads from the API server. Says what would be done first; what follows depends on whether that helps.
  diff_mode:
    support: full
    details: Shows the pod template; values, commands, arguments and annotations only as digests of this one diff.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.release_recover
"""

EXAMPLES = r"""
- name: Leave the version that crashes
  codeblue.recovery.kubernetes_rollback:
    reason: its process ends with every inference

- name: Leave one version and no other
  codeblue.recovery.kubernetes_rollback:
    leave: records:1.2.0+1a2b3c4d5e6f
    reason: it refuses every order
    rollout_within: 120
"""

RETURN = r"""
rolled_back:
  description: From which version to which, and why to that one, in this order.
  returned: success
  type: list
  elements: dict
  sample: [{from: records:1.2.0+1a2b3c4d5e6f, to: records:1.1.0+0f9e8d7c6b5a, why: 2 ready pods of it serve now}]
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
  sample: [flux resume kustomization clinic -n flux-system]
reconcilers:
  description: Others that may change the workload and were not suspended.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 12
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: release
    target: records
    summary: rolled Deployment records in namespace clinic back from records:1.2.0+1a2b3c4d5e6f to …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "reason": {"type": "str", "default": ""},
            "leave": {"type": "str"},
            "most": {"type": "int", "default": 3},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
            "prove_by": {"type": "str", "choices": ["checks", "pods"], "default": "checks"},
        }
    )


if __name__ == "__main__":
    main()
