#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_keys_renew
short_description: Replace API keys while services call each other
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Has everybody who accepts a key accept a new one beside the old, proves it, gives the new one to those who call, and
    has the old one refused. That is proven at every address of C(check_urls).
  - Processes are restarted one machine after the other, each without traffic from its gateway until it works.
options:
  names:
    description: Names in C(codeblue_host.api_keys). Empty for all of the service.
    type: list
    elements: str
    default: []
  interruption:
    description:
      - Whether a process may be restarted although nobody serves in its place meanwhile.
      - With V(refused) nothing is changed then and the task fails with C(exit_code=3).
    type: str
    choices: [refused, accepted]
    default: refused
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
    details: Within a run. One that was cut off is done again with another key.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.api_keys_rotate
"""

EXAMPLES = r"""
- name: Replace the key that records calls ai with
  codeblue.recovery.api_keys_renew:
    names: [records]
    reason: yearly rotation
"""

RETURN = r"""
renewed:
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
    summary: renewed the API key of records; the old one is refused
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "names": {"type": "list", "elements": "str", "default": []},
            "interruption": {"type": "str", "choices": ["refused", "accepted"], "default": "refused"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
