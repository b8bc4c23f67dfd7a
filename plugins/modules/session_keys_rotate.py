#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: session_keys_rotate
short_description: End all sessions by a new pair of keys, and prove that older tokens are refused
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes a new Ed25519 pair, writes the private key to those who sign tokens and the public key to those who verify
    them, as C(codeblue_host.session_keys) names them, and restarts those that read it only when they start.
  - Logs in before and after. The new token has to be taken and the one from before has to be refused.
  - Keys and tokens exist in memory and in the files of the consumers only. Everybody has to log in again.
options:
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
    details: Within a run. A rotation that was cut off is done again with another pair.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.secret_file
  - module: codeblue.recovery.postgresql_rotate_password
"""

EXAMPLES = r"""
- name: End all sessions
  codeblue.recovery.session_keys_rotate:
    reason: a token was stolen
"""

RETURN = r"""
machines:
  description: Where the keys were replaced.
  returned: success
  type: list
  elements: str
  sample: [app1, app2]
old_refused:
  description: A token from before was tried and refused. V(false) when nobody could log in before.
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
    summary: ended all sessions by new keys on app1, app2; a token from before is refused
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module({"reason": {"type": "str", "default": ""}})


if __name__ == "__main__":
    main()
