#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replaces a lost data directory by one that is restored from a base backup and the log archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore_in_place
short_description: Restore a lost PostgreSQL server from its base backup and the log archive
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Verifies the backup, restores it beside, replays the archive to its end, ends the recovery on a new timeline, stops
    the copy in order and flushes it. Then the lost data directory is renamed and the restored one takes its place, and
    the server is started by its process manager.
  - A damaged backup is found before anything is touched. A server that still runs in the data directory is never
    replaced.
  - The lost data directory stays beside as C(<data_dir>.lost-<run>) until a person removes it.
  - What was committed after the last archived segment is lost. The result says how far the restored log reaches.
options:
  destination:
    description: Directory of the base backups on this machine.
    type: path
    required: true
  backup_id:
    description: Which one.
    type: str
    required: true
  expected_digest:
    description: Digest of the backup's record, as the catalog has it. Another one is refused.
    type: str
  archive_dir:
    description: Directory of the log archive. Without it only the backup itself comes back.
    type: path
  timeout:
    description: Seconds for everything.
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
  - codeblue.recovery.postgresql.member
  - codeblue.recovery.process.required
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See what a restore would do
  codeblue.recovery.postgresql_restore_in_place:
    bin_dir: /usr/lib/postgresql/18/bin
    data_dir: /var/lib/postgresql/18/main
    process: {manager: systemd, unit: postgresql@18-main}
    destination: /var/backups/postgresql
    backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
    archive_dir: /var/lib/wal-archive
  check_mode: true
"""

RETURN = r"""
before:
  description: What the data directory was.
  returned: success
  type: dict
  sample: {data_dir: true, cluster_state: null, restored: false, lost_kept: false, sql: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {data_dir: true, cluster_state: in production, restored: true, lost_kept: true, sql: true}
restored:
  description: How far the restored log reaches, from which backups, and the seconds of each phase.
  returned: success, not in check mode
  type: dict
  sample: {backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB], timeline: 2, replayed_lsn: 0/5000148,
           last_transaction_at: "2026-01-31T14:04:59.998112Z", seconds: {verify: 0.4, copy: 0.6, recover: 0.9}}
lost_kept_in:
  description: Where the lost data directory is kept.
  returned: success
  type: str
  sample: /var/lib/postgresql/18/main.lost-01K9Z5V6A8T7Q2N4M3R1C0X9YB
archive_age_seconds:
  description: How long ago the log was archived last, V(null) when there is no archive.
  returned: success
  type: float
  sample: 41.7
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import os
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import member_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_start import (
    sql_answers,
    start_and_wait,
    stop_and_wait,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import FAILED, STOPPED, process_unit
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import RestoreRequest, plan_restore
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_in_place import RestoreInPlace


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Restore beside, swap, start; each part only where it is not done."""
    deadline = Deadline(params["timeout"])
    member = Member.from_params(params)
    unit = process_unit(params["process"])
    work = RestoreInPlace(member, (params["step"] or {}).get("run_id", "check"))
    request = RestoreRequest(
        login=member.login,
        destination=params["destination"],
        directory=work.beside,
        target=RecoveryTarget(kind="latest" if params["archive_dir"] else "immediate", action="promote"),
        backup_id=params["backup_id"],
        archive_dir=params["archive_dir"],
        expected_digest=params["expected_digest"],
    )
    before = {**work.look(deadline), "sql": sql_answers(member, deadline)}
    kept = {"lost_kept_in": work.lost, "archive_age_seconds": _archive_age(params["archive_dir"])}
    if work.is_in_place() and before["sql"]:
        return StepOutcome(False, before, before, {**kept, "restored": work.told()})
    plan_restore(request)
    if context.check_mode:
        return StepOutcome(
            True, before, {**before, "restored": True, "lost_kept": before["data_dir"], "sql": True}, kept
        )
    context.accept(before)
    if not work.is_in_place():
        if unit.status(deadline.within(5.0)).state not in (STOPPED, FAILED):
            # Nothing may start a server in either directory while they are exchanged.
            stop_and_wait(member, unit, deadline.within(30.0))
        work.refuse_if_in_use()
        if not work.is_prepared():
            work.restore(request, deadline)
        work.swap()
    start_and_wait(member, unit, deadline)
    work.tidy()
    after = {**work.look(deadline), "sql": sql_answers(member, deadline)}
    return StepOutcome(True, before, after, {**kept, "restored": work.told()})


def _archive_age(directory: t.Optional[str]) -> t.Optional[float]:
    """Seconds since something was archived last; None when nothing is there."""
    if directory is None or not os.path.isdir(directory):
        return None
    with os.scandir(directory) as entries:
        newest = max((entry.stat().st_mtime for entry in entries if entry.is_file()), default=None)
    return None if newest is None else round(max(0.0, time.time() - newest), 3)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **member_arguments(),
            "destination": {"type": "path", "required": True},
            "backup_id": {"type": "str", "required": True},
            "expected_digest": {"type": "str"},
            "archive_dir": {"type": "path"},
            "timeout": {"type": "float", "default": 3600.0},
        },
        perform,
        touches=lambda params: Touched(data_dir=params["data_dir"]),
    )


if __name__ == "__main__":
    main()
