#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_recover
short_description: Bring a workload on Kubernetes back, whatever of it is wrong
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks at a workload, its Service and what it depends on, treats what is wrong, and looks again, until everything
    works or only a person can go on.
  - A Service that leads nowhere comes first, for no version proves itself by it; then what the pods say. The treatments
    are those of M(codeblue.recovery.kubernetes_route), M(codeblue.recovery.kubernetes_scale),
    M(codeblue.recovery.kubernetes_rollback) and M(codeblue.recovery.kubernetes_restore), each with its own steps.
  - Waits for what the service depends on before it judges. Pods that began while that was away are made anew once,
    before their version is suspected.
  - No treatment is carried out twice. A resumed run goes on with what was decided.
options:
  most:
    description: At most so many treatments.
    type: int
    default: 4
  rollout_within:
    description: Seconds that pods get after each treatment. It ends earlier when they cannot come up.
    type: float
    default: 300.0
  healthy_within:
    description:
      - Seconds that the checks of the service get after each treatment, and those of what it depends on before the
        first. 30 of their intervals when it is left out.
    type: float
  snapshot_identity:
    description: Path of the age identity file on the controller that reads a snapshot, where objects are missing.
    type: path
attributes:
  check_mode:
    support: full
    details: Only reads from the API server. Says what would be done first; what follows depends on whether that helps.
  diff_mode:
    support: full
    details: Shows what the first treatment would change, without values that may be secret.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_rollback
  - module: codeblue.recovery.kubernetes_route
  - module: codeblue.recovery.kubernetes_scale
"""

EXAMPLES = r"""
- name: Bring the workload back
  codeblue.recovery.kubernetes_recover:
    rollout_within: 120
"""

RETURN = r"""
treated:
  description: What was wrong and what was done, in this order.
  returned: success
  type: list
  elements: dict
  sample:
    - cause: scaled_to_zero
      treatment: scale
      evidence: deployment/records is scaled to no pods
      summary: scaled Deployment records in namespace clinic from 0 to 2 pods (codeblue_kubernetes.replicas); all of …
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: workload
    target: records
    summary: gave Service records in namespace clinic the selector app=records instead of app=records,track=old …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "most": {"type": "int", "default": 4},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
            "snapshot_identity": {"type": "path"},
        }
    )


if __name__ == "__main__":
    main()
