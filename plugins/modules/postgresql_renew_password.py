#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_renew_password
short_description: Replace passwords of database roles while their consumers work
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - PostgreSQL holds one password per role, so a new one refuses the old at once. Therefore each credential has two
    logins with the same rights. The one that nobody uses gets a new password, which is proven. The consumers move to it
    one machine after the other, and the first one's password is taken away once no session uses it.
  - Refuses before any change when the second login has other rights, when a session comes from an address that no
    consumer has, or when a file that no consumer names holds the password.
options:
  roles:
    description: Names in C(codeblue_host.credentials). Empty for all of them.
    type: list
    elements: str
    default: []
  watch:
    description: For how long no session may use the old login before it is refused.
    type: str
    default: 10s
  old_gone_within:
    description: How long sessions of the old login may take to end after the consumers were reloaded.
    type: str
    default: 2m
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
    details: Within a run. One that was cut off goes on with the password that consumers have already.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.postgresql_rotate_password
  - module: codeblue.recovery.postgresql_login_roles
"""

EXAMPLES = r"""
- name: Replace the passwords of all roles of the database
  codeblue.recovery.postgresql_renew_password:
    reason: yearly rotation
"""

RETURN = r"""
renewed:
  description: For each role the login that was left, the one that is used now, and by whom.
  returned: success
  type: list
  elements: dict
  sample:
    - role: records_app
      from: records_app
      to: records_app_2
      used_by: [{application_name: records, client: 10.20.0.7, count: 5}]
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
    summary: moved records_app from the login records_app to records_app_2, with new passwords; the old ones are refused
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "roles": {"type": "list", "elements": "str", "default": []},
            "watch": {"type": "str", "default": "10s"},
            "old_gone_within": {"type": "str", "default": "2m"},
            "interruption": {"type": "str", "choices": ["refused", "accepted"], "default": "refused"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
