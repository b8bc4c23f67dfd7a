#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: exposure_remove
short_description: Take back the release that exposes patients' data, and take the data out of the logs
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Marks the release as bad and goes back to the one before on one instance after the other, so that the service stays
    up. Fails when there is none; what was closed stays closed then.
  - Keeps the closed logs as evidence once more, now that nobody writes into them, and replaces them by masked copies.
options:
  diagnosis:
    description: What M(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  recipients:
    description: Public keys of age that evidence is encrypted to. Without one the action fails.
    type: list
    elements: str
    default: []
  directory:
    description: Where evidence is kept on the controller. Beside the state when it is left out.
    type: path
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
  - module: codeblue.recovery.log_scrub
  - module: codeblue.recovery.release_switch
"""

EXAMPLES = r"""
- name: Take the release back
  codeblue.recovery.exposure_remove:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
    recipients: "{{ codeblue_evidence_recipients }}"
"""

RETURN = r"""
taken_back:
  description: Machine to the release it had and the one it has.
  returned: success
  type: dict
  sample: {app1: {from: 1.8.0, to: 1.1.0}}
scrubbed:
  description: Log to how many lines were copied and how many of them were masked.
  returned: success
  type: dict
  sample: {/var/log/records/service.log: {lines: 812, masked: 3}}
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
        }
    )


if __name__ == "__main__":
    main()
