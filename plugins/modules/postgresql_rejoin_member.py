#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_rejoin_member
short_description: Bring back as standbys the members that do not stream from the primary
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Asks every member which one is the primary, and makes a standby of each other one that does not stream from it, by
    M(codeblue.recovery.postgresql_rejoin) on its machine.
  - Refuses when no member or more than one takes writes, and when a cluster manager looks after the member.
  - Commits that only the former primary had are gone afterwards; the failover has said how many. A full copy keeps the
    old data directory beside the new one.
  - A rejoined standby makes no summaries of the log, because a promotion would wait for them, and the primary makes
    them again where its configuration file says C(summarize_wal = on).
options:
  strategy:
    description: See M(codeblue.recovery.postgresql_rejoin).
    type: str
    choices: [rewind, copy, rewind_then_copy]
    default: rewind_then_copy
  slot_prefix:
    description: A member's replication slot at the primary is this and the name of its machine.
    type: str
    default: standby_
  timeout:
    description: Seconds for each member. A full copy of a large cluster needs more than the default.
    type: float
    default: 600.0
attributes:
  check_mode:
    support: full
    details: Each machine says what it would do.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A member that streams from the primary is left alone.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.postgresql_failover
  - module: codeblue.recovery.postgresql_rejoin
"""

EXAMPLES = r"""
- name: Bring the former primary back as a standby
  codeblue.recovery.postgresql_rejoin_member:
    strategy: rewind
"""

RETURN = r"""
primary:
  description: The member that is the primary.
  returned: success
  type: str
  sample: db2
members:
  description: How each member that was away was brought back.
  returned: success
  type: dict
  sample: {db1: {method: rewind, timeline: 2, kept_data_dir: null, rewind_error: null}}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rejoin
    target: patient_db
    summary: "brought back as standby of db2: db1 by rewind"
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "strategy": {
                "type": "str",
                "choices": ["rewind", "copy", "rewind_then_copy"],
                "default": "rewind_then_copy",
            },
            "slot_prefix": {"type": "str", "default": "standby_"},
            "timeout": {"type": "float", "default": 600.0},
        }
    )


if __name__ == "__main__":
    main()
