#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_identity_disable
short_description: Switch keys of IAM users off and revoke sessions of roles, and give both back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets all access keys of the users to C(Inactive). Keys are never removed.
  - Attaches the policy C(AWSRevokeOlderSessions) to the roles, as the console of IAM does. It refuses everything to
    sessions that began before. What works with one, such as a task that was started before, is refused until it has a
    new one.
  - The identity that the run itself works as is looked up first, and is refused with exit code 3.
  - With V(into_secret) each user gets a new key before. It is put into the secret that
    C(codeblue_aws.identities.new_keys) names, as C(access_key_id) and C(secret_access_key), is tried, and gets the
    label C(AWSCURRENT) there. Then the others go off. The key that the secret had before has to be refused.
  - V(absent) switches on what was switched off here, by a tag of the user, and removes the policy.
  - In results and records, keys are called by their last four letters.
options:
  state:
    description: V(present) for switched off, V(absent) for given back.
    type: str
    choices: [present, absent]
    default: present
  users:
    description: Names of IAM users. Those of C(codeblue_aws.identities.users) when it is left out.
    type: list
    elements: str
  roles:
    description:
      - Names of IAM roles. Those of C(codeblue_aws.identities.roles), and the role of the ECS service's tasks, when it
        is left out.
    type: list
    elements: str
  new_keys:
    description: Whether each user gets a new key, and where it goes.
    type: str
    choices: [none, into_secret]
    default: none
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Only asks what is there.
  diff_mode:
    support: full
    details: Shows which keys are on.
  idempotent:
    support: partial
    details: Keys that are off stay so. Each run revokes the sessions that began until then.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_secret_rotate
"""

EXAMPLES = r"""
- name: Cut off who the service works as
  codeblue.recovery.aws_identity_disable:
    reason: data leaves it for an unknown address

- name: Replace the key of the deployment
  codeblue.recovery.aws_identity_disable:
    users: [clinic-deploy]
    roles: []
    new_keys: into_secret
"""

RETURN = r"""
users:
  description: The users.
  returned: success
  type: list
  elements: str
  sample: [clinic-deploy]
roles:
  description: The roles.
  returned: success
  type: list
  elements: str
  sample: [clinic-records-task]
old_key:
  description:
    - V(refused) when the key from before was tried and AWS refused it, V(accepted) when a simulated account still took
      it, V(not_tried) when it was not at hand.
  returned: success
  type: str
  sample: refused
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often AWS was asked.
  returned: success
  type: int
  sample: 12
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: identities
    target: records
    summary: switched off the keys of clinic-deploy and revoked the sessions of clinic-records-task
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "users": {"type": "list", "elements": "str"},
            "roles": {"type": "list", "elements": "str"},
            "new_keys": {"type": "str", "choices": ["none", "into_secret"], "default": "none"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
