#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_evidence
short_description: Take evidence of a service on AWS before anything changes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Takes tasks with their interfaces and security groups, the service and its task definitions, the ends of the log
    groups that C(codeblue_aws.logs) names, the keys of the users that C(codeblue_aws.identities) names, when each was
    used last, and CloudTrail's events of each. Values of variables in task definitions are replaced by digests.
  - Everything is encrypted to the recipients, hashed and written into the custody record of the run, as
    M(codeblue.recovery.collect_evidence) does. What cannot be had is named, and the rest is taken.
  - Where C(codeblue_aws.evidence_bucket) names a bucket with object lock, each piece is put there as well, with a
    retention that nobody can shorten in the mode C(COMPLIANCE), and with a legal hold where that is wanted.
  - Takes snapshots of all volumes of the instances that C(codeblue_aws.quarantine.instances) names, at one moment for
    each instance, with the run as their tag. Their end is not waited for.
  - What was taken in a run stands, and is not taken again. Snapshots and copies that fail are told and stop nothing.
options:
  within:
    description: For how long it looks, all questions together.
    type: str
    default: 10s
  window:
    description: How far back logs and events are taken.
    type: str
    default: 24h
  recipients:
    description: Public keys of age to which the evidence is encrypted. Without any, only hashes are kept.
    type: list
    elements: str
    default: []
  directory:
    description: Where evidence lies on the controller. Beside the state when it is left out.
    type: path
  bytes_per_log:
    description: Bytes of the end of each log group.
    type: int
    default: 1048576
attributes:
  check_mode:
    support: full
    details: Asks for nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.collect_evidence
"""

EXAMPLES = r"""
- name: Take evidence before the service is cut off
  codeblue.recovery.aws_evidence:
    recipients: "{{ codeblue_evidence_recipients }}"
"""

RETURN = r"""
evidence:
  description: Hashes, sizes and names of what was taken. None in check mode.
  returned: success
  type: dict
  sample: {sha256: 9f86d081…, size_bytes: 48213, custody_sha256: 2c26b46b…, pieces: [tasks, interfaces]}
copies:
  description: How many pieces are in the bucket with object lock.
  returned: success
  type: int
  sample: 7
snapshots:
  description: The snapshots of volumes.
  returned: success
  type: list
  elements: str
  sample: [snap-0a1b2c3d4e5f60718]
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often AWS was asked, beside what was asked within the time box.
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
    stage: evidence
    target: records
    summary: evidence of ECS service records of cluster clinic in us-east-1, 9 pieces
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "within": {"type": "str", "default": "10s"},
            "window": {"type": "str", "default": "24h"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
            "bytes_per_log": {"type": "int", "default": 1048576},
        }
    )


if __name__ == "__main__":
    main()
