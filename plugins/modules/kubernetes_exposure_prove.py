#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_exposure_prove
short_description: Prove that no patients' data is exposed on Kubernetes any more
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads every log again, looks for ways in that nobody meant, and asks each pod for the pages through the API server,
    without a credential. What cannot be read counts as exposed.
  - Then leads the Services to their pods again and asks from outside, where a check says how clients come. What is
    answered then is closed again at once, and the step fails with exit code 5.
  - Writes down when the exposure ended.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  within:
    description: Seconds until everything has to be proven.
    type: float
    default: 20.0
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
  - module: codeblue.recovery.exposure_prove
  - module: codeblue.recovery.kubernetes_exposure_close
"""

EXAMPLES = r"""
- name: Prove that nothing is exposed any more
  codeblue.recovery.kubernetes_exposure_prove:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
pages_refused:
  description: Pages that are refused without a credential.
  returned: success
  type: list
  elements: str
  sample: [/patients]
logs_scanned:
  description: How many logs were read.
  returned: success
  type: int
  sample: 4
given_back:
  description: Services that lead to their pods again.
  returned: success
  type: list
  elements: str
  sample: [records]
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
            "within": {"type": "float", "default": 20.0},
        }
    )


if __name__ == "__main__":
    main()
