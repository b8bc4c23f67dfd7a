#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a base backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_base_backup
short_description: Take a full or incremental base backup of a running PostgreSQL
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Runs C(pg_basebackup) on the machine and keeps the backup in a directory of its own below O(destination).
  - A backup exists when its record C(backup.json) does; what a killed backup left is removed by the next one.
  - The record holds the digests of the files that C(pg_verifybackup) leaves out, so that no byte goes unwatched.
options:
  destination:
    description: Directory on the machine. Made for O(os_user) alone when it is missing; the one above it has to exist.
    type: path
    required: true
  backup_id:
    description: Name of the backup. When it exists already, nothing is done.
    type: str
    required: true
  kind:
    description:
      - V(incremental) keeps only what changed since another backup. It needs PostgreSQL 17 and C(summarize_wal).
      - V(auto) is incremental where that is possible and full where it is not; RV(reason) says why.
    type: str
    choices: [auto, full, incremental]
    default: auto
  parent:
    description: The backup to build upon. The newest of the same cluster when it is left out.
    type: str
  longest_chain:
    description: So many backups may be built upon each other before the next one is full.
    type: int
    default: 24
  replication_user:
    description: The role that C(pg_basebackup) logs in as. O(admin_user) when it is left out.
    type: str
  verify_checksums:
    description: Fail when a page of the database is damaged. V(false) keeps a damaged state as it is, for evidence.
    type: bool
    default: true
  max_rate:
    description: Kilobytes per second that the server may send. No limit when it is left out.
    type: int
  timeout:
    description: Seconds for everything together.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether the next backup would be incremental
  codeblue.recovery.postgresql_base_backup:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    destination: /var/backups/patient_db
    backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
  check_mode: true
"""

RETURN = r"""
before:
  description: The backups that were there, oldest first.
  returned: success
  type: dict
  sample: {backups: []}
after:
  description: The backups that are there now.
  returned: success
  type: dict
  sample: {backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
backup:
  description:
    - What is known about the backup. C(digest) belongs into the catalog, C(start_lsn) is where the log has to begin,
      C(end_lsn) and C(finished_at) are the earliest target of a restore.
  returned: when there is one
  type: dict
  sample: {backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB, kind: full, parent: null, system_identifier: "7710436348559800248",
           server_version: 180006, timeline: 1, start_lsn: 0/2000028, end_lsn: 0/2000120, bytes: 31457280, files: 971,
           seconds: 0.61, digest: 5d0c…}
reason:
  description: Why the backup is of this kind.
  returned: success
  type: str
  sample: summarize_wal is off on the server
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

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import (
    BackupRequest,
    base_backup,
    plan_backup,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import check_backup_id, list_backups


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Take the backup unless it is there."""
    deadline = Deadline(params["timeout"])
    request = BackupRequest(
        login=Login.from_params(params),
        destination=params["destination"],
        backup_id=check_backup_id(params["backup_id"]),
        kind=params["kind"],
        parent=params["parent"],
        replication_user=params["replication_user"],
        max_rate=params["max_rate"],
        verify_checksums=params["verify_checksums"],
        longest_chain=params["longest_chain"],
    )
    existing = list_backups(request.destination)
    before = {"backups": [record.backup_id for record in existing]}
    same = [record for record in existing if record.backup_id == request.backup_id]
    if same:
        return StepOutcome(False, before, before, {"backup": same[0].as_dict(), "reason": "it exists already"})
    plan = plan_backup(request, deadline)
    after = {"backups": [*before["backups"], request.backup_id]}
    if context.check_mode:
        return StepOutcome(True, before, after, {"reason": plan.reason})
    context.accept(before)
    record = base_backup(request, plan, deadline, context.lock_descriptors)
    reason = plan.reason
    if record.kind != plan.kind:
        reason = "the server could not tell what changed since %s" % (plan.parent.backup_id if plan.parent else "")
    return StepOutcome(True, before, after, {"backup": record.as_dict(), "reason": reason})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "destination": {"type": "path", "required": True},
            "backup_id": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
            "parent": {"type": "str"},
            "longest_chain": {"type": "int", "default": 24},
            "replication_user": {"type": "str"},
            "max_rate": {"type": "int"},
            "verify_checksums": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 3600.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
