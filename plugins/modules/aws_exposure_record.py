#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_exposure_record
short_description: Keep the evidence of an exposure on AWS and start the clocks
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Keeps what M(codeblue.recovery.aws_evidence) takes, and who was given what while it was open. The access logs that
    C(codeblue_aws.logs.access) names are read for it, and CloudTrail's events about objects in the log group
    C(codeblue_aws.logs.data_events). All is encrypted, with a custody record.
  - Counts whom it concerns by keyed digests and who got it, opens the breach with its notices and their last days, and
    tells the compliance officer. Nothing of a patient is in the result, the journal or the record, keys of objects
    neither.
  - Where nobody wrote down who read it, all objects that could be read count as given, and the record says so.
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
- name: Keep the evidence, count what was given to whom, start the clocks
  codeblue.recovery.aws_exposure_record:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
breach_id:
  description: The breach; none when nobody's data was found.
  returned: success
  type: str
affected:
  description: How many people, as far as identifiers tell them apart.
  returned: success
  type: int
  sample: 12
affected_is_least:
  description: Something could not be read, so that there may be more.
  returned: when a breach is opened
  type: bool
disclosures:
  description: How many answers with data of patients went to callers whom nobody had asked who they are.
  returned: when a breach is opened
  type: int
accessors:
  description: To how many.
  returned: when a breach is opened
  type: int
duties:
  description: Who has to be told, and the last day for each.
  returned: when a breach is opened
  type: dict
  sample: {individuals: "2026-12-30"}
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
