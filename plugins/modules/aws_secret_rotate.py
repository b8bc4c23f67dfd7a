#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_secret_rotate
short_description: Give secrets and parameters on AWS new values, and deploy who uses them anew
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Gives the secrets that C(codeblue_aws.secrets) names a new version. It gets the label C(AWSPENDING), is read back,
    and only then gets C(AWSCURRENT), by which everybody reads it. The version from before keeps C(AWSPREVIOUS).
  - A secret that has a rotation of its own is left to it, and its end is waited for. Its function knows how to change
    what lies behind the value.
  - Gives the parameters that C(codeblue_aws.parameters) names a new version. The one from before keeps the label
    C(codeblue-previous).
  - A value is made anew, or read from a file on the controller that only its owner may read.
  - Finds everybody who uses them by definition, in the region and in those with a copy of the secret. ECS services are
    deployed anew one after the other, each only when all tasks of the one before run. Functions, and definitions that
    name a version, are told. So is who has read the secret lately by CloudTrail's event history.
  - An ECS service in quarantine is deployed and not waited for.
  - A secret that is being deleted, binary, or a copy of one in another region is refused with exit code 3.
  - What lies behind a value is not changed, such as the password in a database. For those, change it there and give the
    value by a file, or give the secret a rotation.
  - Values are in no log, error, diff, record or argument.
options:
  names:
    description: Only these secrets and parameters; all that the inventory names when it is empty.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ""
  rotation_within:
    description: Seconds that a secret's own rotation gets, and copies in other regions.
    type: float
    default: 300.0
  rollout_within:
    description: Seconds that the tasks of one service get.
    type: float
    default: 600.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only asks what is there, and never for a value.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Within a run. Each run makes new values.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_secret_rotate
"""

EXAMPLES = r"""
- name: Rotate all that the inventory names
  codeblue.recovery.aws_secret_rotate:
    reason: an intruder could read them

- name: Rotate one secret
  codeblue.recovery.aws_secret_rotate:
    names: [clinic/records]
"""

RETURN = r"""
rotated:
  description: Secrets and parameters with the keys of their JSON documents that have new values; none for a whole text.
  returned: success
  type: list
  elements: dict
  sample: [{name: clinic/records, keys: [JWT_SECRET]}]
consumers:
  description: Who uses them, and how.
  returned: success
  type: list
  elements: str
  sample: [ECS service records of cluster clinic in us-east-1 (secrets of container main)]
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often AWS was asked.
  returned: success
  type: int
  sample: 24
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: ai
    summary: gave clinic/ai new values, and deployed ai in us-east-1 anew
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "names": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
            "rotation_within": {"type": "float", "default": 300.0},
            "rollout_within": {"type": "float", "default": 600.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
