#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: exposure_prove
short_description: Prove that no patients' data is exposed any more, or fail
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Scans every log of every instance, asks every instance on its own machine and the service from outside for the pages
    that were exposed and those that must always be refused, without a credential.
  - When every instance refuses, the gateway need not any more, and its entry is taken away and asked once more.
  - Fails with C(exit_code=5) otherwise. Notes the end of the exposure in the breach.
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
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.phi_scan
  - module: codeblue.recovery.http_probe
"""

EXAMPLES = r"""
- name: Prove that nothing is exposed
  codeblue.recovery.exposure_prove:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
pages_refused:
  description: What was asked for and refused.
  returned: success
  type: list
  elements: str
  sample: [/patients, /records/1]
logs_scanned:
  description: How many logs were read to their ends.
  returned: success
  type: int
  sample: 2
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
