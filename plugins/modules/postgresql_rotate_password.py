#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_rotate_password
short_description: Give PostgreSQL roles new passwords, hand them to their consumers, and prove it
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes a new password of 32 random bytes for each role, sets it as a SCRAM verifier made here, writes it into the
    secret file of every consumer that the inventory names, and restarts those that read it only when they start.
  - Proves on the way that clients take that the new password is taken and that another one is refused.
  - The password exists in memory and in the files of the consumers only. It is in no argument list, no result and no
    record.
  - The old password is not kept. To undo it, rotate again.
options:
  roles:
    description: The roles, which C(codeblue_host.credentials) names with their consumers.
    type: list
    elements: str
    default: []
  used_by:
    description: Services; in place of O(roles) all roles whose password one of their processes reads, perhaps none.
    type: list
    elements: str
    default: []
  primary:
    description: The member that is the primary now. Looked up with O(used_by).
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. A rotation that was cut off is done again with another password.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.postgresql_set_password
  - module: codeblue.recovery.secret_file
  - module: codeblue.recovery.process_state
"""

EXAMPLES = r"""
- name: Give the role of the records service a new password
  codeblue.recovery.postgresql_rotate_password:
    roles: [records_app]
    primary: db1
"""

RETURN = r"""
rotated:
  description: Each role with the machines of its consumers.
  returned: success
  type: list
  elements: dict
  sample: [{role: records_app, consumers: [app1, app2], changed: true}]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: patient_db
    summary: rotated the password of records_app and its consumers
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "roles": {"type": "list", "elements": "str", "default": []},
            "used_by": {"type": "list", "elements": "str", "default": []},
            "primary": {"type": "str"},
        }
    )


if __name__ == "__main__":
    main()
