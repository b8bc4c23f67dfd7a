#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_distribution_switch
short_description: Have a distribution of CloudFront take its content from another origin, or forget what it keeps
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Has every behaviour of C(codeblue_aws.distribution) that takes its content from one of the two named origins, or
    origin groups, take it from the other. Behaviours with a third one are left alone.
  - The whole configuration is sent back with the tag under which it was read; when somebody has changed it meanwhile
    it is read again.
  - Waits until all places of CloudFront have it. Then has them forget the named paths, and waits for that too. An
    invalidation has the name of its step, so it is made once however often the step is taken up.
options:
  to:
    description: The side whose origin is to be used. Without it only paths are invalidated.
    type: str
    choices: [primary, standby]
  invalidate:
    description: Whether C(codeblue_aws.distribution.paths) are invalidated.
    type: str
    choices: [when_changed, always, never]
    default: when_changed
  deployed_within:
    description: Seconds that CloudFront gets for each of the two.
    type: float
    default: 900.0
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
    details: Shows which behaviour has which origin.
  idempotent:
    support: partial
    details: Changes nothing when the origin is right, except for O(invalidate=always), which invalidates in each run.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_traffic_shift
  - module: codeblue.recovery.aws_maintenance
"""

EXAMPLES = r"""
- name: Take the pages from the bucket in the standby region
  codeblue.recovery.aws_distribution_switch:
    to: standby

- name: Forget everything that is kept
  codeblue.recovery.aws_distribution_switch:
    invalidate: always
"""

RETURN = r"""
before:
  description: Path pattern of each behaviour to its origin; V(*) is the default behaviour.
  returned: success
  type: dict
  sample: {"*": frontend-primary}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {"*": frontend-standby}
invalidation:
  description: The id of the invalidation; empty when there was none.
  returned: success
  type: str
  sample: I2J0I21PCUYOIK
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
    stage: distribution
    target: frontend
    summary: distribution E1EXAMPLE2ABC takes its content from frontend-standby; it has forgotten /*
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "to": {"type": "str", "choices": ["primary", "standby"]},
            "invalidate": {"type": "str", "choices": ["when_changed", "always", "never"], "default": "when_changed"},
            "deployed_within": {"type": "float", "default": 900.0},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
