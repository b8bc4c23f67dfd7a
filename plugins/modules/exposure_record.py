#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: exposure_record
short_description: Keep the evidence of an exposure, count whom it concerns, start the clocks of a breach
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Keeps closed logs and the lines of access logs that count, encrypted, with a custody record.
  - Counts people by keyed digests and callers by what they got, and opens a breach in the state store with the notices
    of 45 CFR 164.404 to 164.410 and their last days. The compliance officer is told through the outbox.
  - A run opens one breach for a target. Nothing of a patient is in the result or in the record.
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
  - module: codeblue.recovery.exposure_close
  - module: codeblue.recovery.access_extract
  - module: codeblue.recovery.phi_scan
"""

EXAMPLES = r"""
- name: Record whom it concerns
  codeblue.recovery.exposure_record:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
    recipients: "{{ codeblue_evidence_recipients }}"
"""

RETURN = r"""
breach_id:
  description: Of the breach, for C(codeblue breach show). V(null) when nobody is concerned.
  returned: success
  type: str
  sample: BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records
affected:
  description: How many people.
  returned: success
  type: int
  sample: 60
affected_is_least:
  description: There may be more, because something could not be read.
  returned: when a breach was opened
  type: bool
disclosures:
  description: How many answers gave data of patients to callers whom nobody had asked who they are.
  returned: when a breach was opened
  type: int
  sample: 42
accessors:
  description: How many such callers there were.
  returned: when a breach was opened
  type: int
  sample: 1
duties:
  description: Notice to the last day for it.
  returned: when a breach was opened
  type: dict
  sample: {individuals: "2026-04-01", hhs: "2027-03-01"}
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
