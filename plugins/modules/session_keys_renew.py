#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: session_keys_renew
short_description: Replace the keys of session tokens while people work
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Has everybody who verifies tokens know a new public key beside the old one, proves that they take it, has everybody
    sign with the new private key, and refuses the old one when its last token has expired.
  - Processes are restarted one machine after the other, each without traffic from its gateway until it works. A machine
    that does not work with the new gets the old back, and the task fails.
  - A change that is under way is finished. Which one that is, is seen by the files of the machines.
options:
  overlap:
    description:
      - For how long a token of the old key is taken once everybody signs with the new one, such as C(15m).
      - By default C(codeblue_host.session_keys.token_lifetime), so that nobody is logged out.
    type: str
    default: ''
  wait_at_most:
    description: When the overlap lasts longer, the task ends before the old key is refused. Run it again then.
    type: str
    default: 20m
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
    details: Within a run. One that was cut off before everybody signs with a new key is done again with another pair.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.session_keys_rotate
  - module: codeblue.recovery.session_keys_put_back
"""

EXAMPLES = r"""
- name: Replace the keys without logging anybody out
  codeblue.recovery.session_keys_renew:
    reason: yearly rotation
"""

RETURN = r"""
machines:
  description: Where the keys are.
  returned: success
  type: list
  elements: str
  sample: [app1, app2]
old_refused:
  description: The old key is refused by everybody. V(false) while the overlap goes on.
  returned: when not in check mode
  type: bool
  sample: true
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: auth
    summary: renewed the keys on app1, app2; a token of the old one is refused
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "overlap": {"type": "str", "default": ""},
            "wait_at_most": {"type": "str", "default": "20m"},
            "interruption": {"type": "str", "choices": ["refused", "accepted"], "default": "refused"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
