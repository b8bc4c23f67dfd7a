#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_objects_restore
short_description: Bring the objects of a bucket back to what they were at a moment
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks through all versions of the objects under the given prefixes of C(codeblue_aws.bucket), and copies the
    version that each had at the moment on top of what is there. A deleted object comes back, one that is right
    already is left alone.
  - No version is taken out of the history. The way back is the same step with a later moment, which the record names.
  - What came later stays, unless it is to be removed; then a delete marker is put on top of it.
  - Looks again afterwards. Keys of objects can tell of patients, so results and record hold counts only.
  - Stop writes before. The action fails when objects change meanwhile.
options:
  moment:
    description: At which all was well, in RFC 3339 with a time zone.
    type: str
    required: true
  prefixes:
    description: Of the keys; all objects when it is left out.
    type: list
    elements: str
    default: [""]
  side:
    description: The bucket of the region itself, or its copy in the standby region.
    type: str
    choices: [primary, standby]
    default: primary
  new_objects:
    description: What happens with objects that were not there at the moment.
    type: str
    choices: [keep, remove]
    default: keep
  most:
    description: Refuse when more objects than this are not as they were; up to 100,000.
    type: int
    default: 10000
  timeout:
    description: Seconds for all of it.
    type: float
    default: 1800.0
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: partial
    details: Shows counts.
  idempotent:
    support: full
    details: Objects with the same content are left alone, by ETag or by a checksum that S3 keeps.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_maintenance
"""

EXAMPLES = r"""
- name: Bring the configuration back to this morning
  codeblue.recovery.aws_objects_restore:
    moment: "2026-01-15T10:00:00Z"
    prefixes: [config/]
"""

RETURN = r"""
moment:
  description: The moment.
  returned: success
  type: str
copied:
  description: How many objects were brought back.
  returned: success
  type: int
removed:
  description: How many that came later were taken away.
  returned: success
  type: int
new_kept:
  description: How many that came later stay.
  returned: success
  type: int
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
    stage: objects
    target: frontend
    summary: brought back 12 objects of bucket clinic-frontend to 2026-01-15T10:00:00+00:00
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "moment": {"type": "str", "required": True},
            "prefixes": {"type": "list", "elements": "str", "default": [""]},
            "side": {"type": "str", "choices": ["primary", "standby"], "default": "primary"},
            "new_objects": {"type": "str", "choices": ["keep", "remove"], "default": "keep"},
            "most": {"type": "int", "default": 10000},
            "timeout": {"type": "float", "default": 1800.0},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
