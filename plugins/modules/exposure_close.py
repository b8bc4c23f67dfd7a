#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: exposure_close
short_description: Close what exposes patients' data, at the gateway and on the machines
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Refuses pages that are given to callers without a credential, by C(codeblue_phi.blocked_paths_file) of the
    gateway; where the site has none it takes the service off its gateway, and without a gateway it stops the service.
  - Takes logs that hold data of patients out of everybody's reach, by M(codeblue.recovery.log_scrub).
  - Does all of it at once and waits for nothing else.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
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
  - module: codeblue.recovery.exposure_record
"""

EXAMPLES = r"""
- name: Close what is exposed
  codeblue.recovery.exposure_close:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
pages:
  description: Pages that are refused now.
  returned: success
  type: list
  elements: str
  sample: [/patients]
service_off:
  description: The whole service is off, because the site cannot refuse pages.
  returned: success
  type: bool
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
        }
    )


if __name__ == "__main__":
    main()
