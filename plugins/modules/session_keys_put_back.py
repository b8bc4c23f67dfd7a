#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: session_keys_put_back
short_description: Put the last good signing key back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks whether signers have kept the last signing key that was proven to be good, and whether everybody who verifies
    tokens knows its public half. Then sessions were signed with it, and it is written back to all signers.
  - Logs in before and after. A new token has to be taken by everybody, and one from before is refused as before.
  - When none was kept or it does not fit, nothing is changed and RV(put_back) is V(false).
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
    details: Within a run.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.session_keys_rotate
"""

EXAMPLES = r"""
- name: Undo the wrong key
  codeblue.recovery.session_keys_put_back:
    reason: a wrong signing key was rolled out
"""

RETURN = r"""
put_back:
  description: The last good key is used again. V(false) when a new one is needed.
  returned: success
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
    summary: put the last good key back on app1, app2; sessions go on
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module({"reason": {"type": "str", "default": ""}})


if __name__ == "__main__":
    main()
