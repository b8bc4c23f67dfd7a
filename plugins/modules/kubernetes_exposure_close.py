#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_exposure_close
short_description: Close what exposes patients' data on Kubernetes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Has every Service that leads to the pods lead nowhere, when a page with patients is answered to callers without a
    credential. The selector is replaced whole; that no address is left is seen by the API server before the step ends.
  - Takes ways in that C(codeblue_kubernetes.ways_in) does not name. A Service becomes one of the type ClusterIP. Of an
    Ingress the paths that lead here go; it is deleted when nothing else is in it and its manifest is kept as evidence.
  - Keeps the objects as evidence before it changes them. Flux and Argo CD are suspended where they keep one.
  - Leaves logs alone, which go with their pods, after M(codeblue.recovery.kubernetes_exposure_record) has kept them.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  recipients:
    description: age public keys that evidence is encrypted to.
    type: list
    elements: str
    default: []
  directory:
    description: Where evidence is kept on the controller. Beside the state when it is left out.
    type: path
  closed_within:
    description: Seconds until nothing may be open any more.
    type: float
    default: 15.0
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
  - module: codeblue.recovery.kubernetes_exposure_record
  - module: codeblue.recovery.exposure_close
"""

EXAMPLES = r"""
- name: Close what is exposed
  codeblue.recovery.kubernetes_exposure_close:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
pages:
  description: Pages that are answered without a credential.
  returned: success
  type: list
  elements: str
  sample: [/patients]
services:
  description: Services that lead nowhere now.
  returned: success
  type: list
  elements: str
  sample: [records]
ways:
  description: Ways in that were taken.
  returned: success
  type: list
  elements: str
  sample: [Ingress/records-for-a-demo]
due:
  description: What somebody has to do afterwards, as commands where there are some.
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
            "recipients": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
            "closed_within": {"type": "float", "default": 15.0},
        }
    )


if __name__ == "__main__":
    main()
