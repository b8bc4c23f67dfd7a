#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_exposure_close
short_description: Make buckets private, and stop sharing snapshots with all accounts
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Switches all four settings of the public access block on for the buckets of the service. From then on nobody unknown
    gets in, whatever policy and access list say.
  - Takes the statements that let everybody in out of the bucket's policy, and the grants of everybody out of its access
    list, so that the block can be changed later. The rest stays. What was before stands whole in the journal.
  - A statement counts as one for everybody by the rules of S3. One that is narrowed by a fixed network, VPC, account or
    organization does not.
  - Snapshots of volumes and databases in the account and region that every account can copy are shared with all no
    more. Accounts that are named keep them.
  - Where a bucket gave an object to a caller without credentials before, it has to refuse it afterwards.
options:
  buckets:
    description: Names of buckets. Those of C(codeblue_aws.private_buckets) when it is left out.
    type: list
    elements: str
  snapshots:
    description: Whether snapshots that are shared with all accounts are closed.
    type: str
    choices: [close, leave]
    default: close
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
    details: Shows the settings of buckets.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.exposure_close
"""

EXAMPLES = r"""
- name: Close what everybody can read
  codeblue.recovery.aws_exposure_close:
    reason: reports about patients can be read by everybody
"""

RETURN = r"""
closed:
  description: The buckets that were not closed.
  returned: success
  type: list
  elements: str
  sample: [clinic-reports]
unshared:
  description: The snapshots that were shared with all accounts.
  returned: success
  type: list
  elements: str
  sample: [snap-0a1b2c3d4e5f60718]
proof:
  description:
    - Bucket to V(from_here) when it gave an object to everybody before and refuses it now, or V(configuration) when S3
      says that it is not public.
  returned: success
  type: dict
  sample: {clinic-reports: from_here}
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often AWS was asked.
  returned: success
  type: int
  sample: 14
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: contain
    target: records
    summary: closed bucket clinic-reports; bucket clinic-reports can be read by everybody (1 statements of its policy)
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "buckets": {"type": "list", "elements": "str"},
            "snapshots": {"type": "str", "choices": ["close", "leave"], "default": "close"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
