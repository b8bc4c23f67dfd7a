#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_exposure_prove
short_description: Prove that nothing of a service on AWS is open to everybody any more
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks again at the buckets of the service, and at what S3 itself says of their policies, and at snapshots that every
    account can copy. Fails with exit code 5 when something is open still.
  - Writes down when the exposure ended.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  within:
    description: Seconds in which it has to be so.
    type: float
    default: 20.0
attributes:
  check_mode:
    support: full
    details: Only asks what is there.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_exposure_close
"""

EXAMPLES = r"""
- name: Prove that nothing is exposed any more
  codeblue.recovery.aws_exposure_prove:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
buckets:
  description: The buckets that were looked at.
  returned: success
  type: list
  elements: str
  sample: [clinic-reports]
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
