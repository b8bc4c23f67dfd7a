#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removes base backups of PostgreSQL that are not kept any longer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_prune_backups
short_description: Remove base backups of PostgreSQL from a machine
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Removes the named backups of M(codeblue.recovery.postgresql_base_backup). A backup stops being one by a rename that
    is flushed before its first file goes. What a killed backup or removal left behind goes as well.
  - Refuses with C(exit_code=3), and removes nothing, when one that stays is built upon one of them, or when none would
    stay and O(last_one=refuse). A damaged record in the directory stops the removal too, because what it needs cannot
    be known.
  - In check mode it says what is there and what would go; this needs no step.
options:
  destination:
    description: Directory on the machine that holds the backups.
    type: path
    required: true
  remove:
    description: Identifiers of the backups that go. Those that are gone already are passed over.
    type: list
    elements: str
    default: []
  last_one:
    description: Whether the directory may become empty. V(remove) is for a machine whose database has its backups on
      another one by now.
    type: str
    choices: [refuse, remove]
    default: refuse
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.step
seealso:
  - module: codeblue.recovery.snapshot_prune
  - module: codeblue.recovery.postgresql_base_backup
"""

EXAMPLES = r"""
- name: See which backups are there, and how much room is left
  codeblue.recovery.postgresql_prune_backups:
    destination: /var/backups/codeblue/patient_db
  check_mode: true
"""

RETURN = r"""
before:
  description: The backups that were there, oldest first, and the bytes that are free on their file system.
  returned: success
  type: dict
  sample: {backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB, 01K9ZAB1KE5W0V9T6J2D7C3XQM], free_bytes: 81604378624}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {backups: [01K9ZAB1KE5W0V9T6J2D7C3XQM], free_bytes: 82678120448}
records:
  description: What is known about each backup that was there.
  returned: success
  type: list
  elements: dict
  sample:
    - {backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB, kind: full, parent: null, start_lsn: 0/2000028, segment_bytes: 16777216,
       finished_at: "2026-01-31T14:04:59.998112Z", bytes: 31457280, digest: 5d0c…}
freed_bytes:
  description: What the removed backups took on the disk.
  returned: success
  type: int
  sample: 32505856
accepted_at:
  description: Unix time of the first change, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._backup_retention import (
    allocated_bytes,
    free_bytes,
    plan_removal,
    remove_backups,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    backup_directory,
    check_backup_id,
    list_backups,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Remove what is still there of the named ones."""
    destination = params["destination"]
    remove = [check_backup_id(each) for each in params["remove"]]
    records = list_backups(destination)
    before = {"backups": [record.backup_id for record in records], "free_bytes": free_bytes(destination)}
    told: t.Dict[str, t.Any] = {"records": [record.as_dict() for record in records]}
    others_elsewhere = params["last_one"] == "remove"
    plan = plan_removal(destination, remove, others_elsewhere)
    told["freed_bytes"] = sum(allocated_bytes(backup_directory(destination, each.backup_id)) for each in plan.removed)
    if not plan.removed:
        return StepOutcome(False, before, before, told)
    if context.check_mode:
        kept = [record.backup_id for record in plan.kept]
        return StepOutcome(True, before, {**before, "backups": kept}, told)
    context.accept(before)
    remove_backups(destination, remove, others_elsewhere)
    left = [record.backup_id for record in list_backups(destination)]
    return StepOutcome(True, before, {"backups": left, "free_bytes": free_bytes(destination)}, told)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "destination": {"type": "path", "required": True},
            "remove": {"type": "list", "elements": "str", "default": []},
            "last_one": {"type": "str", "choices": ["refuse", "remove"], "default": "refuse"},
        },
        perform,
    )


if __name__ == "__main__":
    main()
