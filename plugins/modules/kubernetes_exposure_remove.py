#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_exposure_remove
short_description: Take back the version that exposes patients' data on Kubernetes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Leaves the version by M(codeblue.recovery.kubernetes_rollback), which marks it bad. It is proven by its pods, for
    the service may be closed.
  - Deletes what is left of the pods whose logs hold patients, each by its uid, and waits until they are gone; their
    kubelets remove the logs with them. A pod that no controller makes again is left, and the step fails.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  rollout_within:
    description: Seconds until all pods of the version before have to serve.
    type: float
    default: 300.0
  gone_within:
    description: Seconds until the pods with such logs have to be gone.
    type: float
    default: 60.0
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.exposure_remove
  - module: codeblue.recovery.kubernetes_exposure_prove
"""

EXAMPLES = r"""
- name: Take the version back, and the pods whose logs hold patients
  codeblue.recovery.kubernetes_exposure_remove:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
taken_back:
  description: From which version to which.
  returned: success
  type: list
  elements: dict
  sample: [{from: "records:1.3.0+1a2b3c4d5e6f", to: "records:1.2.0+6f5e4d3c2b1a", why: it is the newest earlier one}]
removed:
  description: Pods that were deleted because of their logs.
  returned: success
  type: list
  elements: str
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 14
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "rollout_within": {"type": "float", "default": 300.0},
            "gone_within": {"type": "float", "default": 60.0},
        }
    )


if __name__ == "__main__":
    main()
