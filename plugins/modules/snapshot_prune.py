#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_prune
short_description: Remove base backups that are not kept any longer from the machines of a database
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks at the backups on all machines of the database and keeps the newest, those that are young enough, the last one
    that was proven, and what one of these is built upon. A damaged one takes no place of the newest. A machine
    keeps none when the kept ones are all on another one.
  - Removes the others by M(codeblue.recovery.postgresql_prune_backups) and writes it down in the catalog. A copy in the
    store is not touched and stays a snapshot of its own.
  - Removes archived log that no kept backup needs by M(codeblue.recovery.postgresql_prune_archive), where
    C(codeblue_host.postgresql.archive_pruned_by) is V(codeblue) and every machine of the database has answered.
  - A damaged record of a backup fails the task before anything is removed.
options:
  newest:
    description: So many stay whatever their age.
    type: int
    default: 10
  days:
    description: Younger ones stay however many there are.
    type: float
    default: 30.0
  timeout:
    description: Seconds for a removal on one machine.
    type: float
    default: 600.0
attributes:
  check_mode:
    support: full
    details: Says how many would go, and how much room they take.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.snapshot_create
  - module: codeblue.recovery.postgresql_prune_backups
  - module: codeblue.recovery.postgresql_prune_archive
"""

EXAMPLES = r"""
- name: Keep the ten newest backups, and all of the last two weeks
  codeblue.recovery.snapshot_prune:
    newest: 10
    days: 14
"""

RETURN = r"""
removed:
  description: Identifiers of the removed backups by machine.
  returned: success
  type: dict
  sample: {db1: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
kept:
  description: Identifiers of the backups that stay, and why.
  returned: success
  type: dict
  sample: {01K9ZAB1KE5W0V9T6J2D7C3XQM: among the newest 10}
freed_bytes:
  description: What the removed backups and segments took on the disk.
  returned: success
  type: int
  sample: 32505856
free_bytes:
  description: What is free now where the backups lie, by machine.
  returned: success
  type: dict
  sample: {db1: 82678120448}
archive_removed_segments:
  description: How many segments of log were removed from the archive.
  returned: success
  type: int
  sample: 316
silent:
  description: Machines that did not answer, and what was said instead.
  returned: success
  type: dict
  sample: {}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: snapshot
    target: patient_db
    summary: removed 3 base backups, 10 stay; 97.5 MB freed, 82.7 GB free on db1
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "newest": {"type": "int", "default": 10},
            "days": {"type": "float", "default": 30.0},
            "timeout": {"type": "float", "default": 600.0},
        }
    )


if __name__ == "__main__":
    main()
