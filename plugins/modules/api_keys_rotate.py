#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_keys_rotate
short_description: Replace API keys at once, and prove that the old ones are refused
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Writes a new key to everybody who accepts or uses it, restarts those that read it only when they start, and proves
    at every address of C(check_urls) that the new one is accepted and the old one refused. Calls in between fail.
options:
  names:
    description: Names in C(codeblue_host.api_keys). Empty for those of O(known_to).
    type: list
    elements: str
    default: []
  known_to:
    description: Services that were compromised. The keys that their processes accept or call with are replaced.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ''
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. A rotation that was cut off is done again with another key.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.api_keys_renew
"""

EXAMPLES = r"""
- name: Replace what an intruder in records could read
  codeblue.recovery.api_keys_rotate:
    known_to: [records]
    reason: a security breach
"""

RETURN = r"""
rotated:
  description: The names of the keys.
  returned: success
  type: list
  elements: str
  sample: [records]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: ai
    summary: replaced the API key of records at once; the old one is refused
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "names": {"type": "list", "elements": "str", "default": []},
            "known_to": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
