#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_maintenance
short_description: Put a service on AWS into maintenance, and take it out again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - By a load balancer (C(codeblue_aws.load_balancer)) that answers by itself, through a rule before all that forward.
    It has the conditions of the service's own rule when the inventory names one, so that other services behind the
    same listener go on.
  - By a page (C(codeblue_aws.bucket.page)) that another one takes the place of, with the version from before in its
    metadata. The bucket has to keep versions. C(codeblue_aws.distribution) forgets what it keeps of the named paths
    then.
  - Taken out, everything is exactly as it was. A page that somebody else has put there meanwhile stays.
  - Refuses, with exit code 3, when another rule has the priority that the inventory names, or would come first.
options:
  state:
    description: Whether it is to be in maintenance.
    type: str
    choices: [present, absent]
    default: present
  ways:
    description: By what; those that the service does not have are left out.
    type: list
    elements: str
    choices: [load_balancer, page]
    default: [load_balancer, page]
  forgotten_within:
    description: Seconds until CloudFront has to have forgotten the page from before.
    type: float
    default: 600.0
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: full
    details: Shows which way is on.
  idempotent:
    support: full
    details: Leaves a way alone that is so already.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_distribution_switch
  - module: codeblue.recovery.gateway_switch
"""

EXAMPLES = r"""
- name: Tell that the service is in maintenance
  codeblue.recovery.aws_maintenance:
    reason: the database is restored

- name: End it
  codeblue.recovery.aws_maintenance:
    state: absent
"""

RETURN = r"""
ways:
  description: By what the service is in maintenance, or was.
  returned: success
  type: list
  elements: str
  sample: [load_balancer]
switched:
  description: Those of them that were changed.
  returned: success
  type: list
  elements: str
  sample: [load_balancer]
invalidation:
  description: The id of the invalidation; empty when there was none.
  returned: success
  type: str
calls:
  description: How often services of AWS were asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: maintenance
    target: records
    summary: records is in maintenance by the load balancer
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "ways": {
                "type": "list",
                "elements": "str",
                "choices": ["load_balancer", "page"],
                "default": ["load_balancer", "page"],
            },
            "forgotten_within": {"type": "float", "default": 600.0},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
