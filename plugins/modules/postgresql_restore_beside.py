#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores a cluster beside the real one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore_beside
short_description: Restore PostgreSQL to a point in time beside the real cluster, and remove the copy again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Verifies a base backup, copies it into O(directory), replays the archived log up to O(target) and leaves the copy
    running there, for counting, comparing and proving.
  - The copy cannot touch the production. It reads the archive and never writes there, has no upstream, no
    subscriptions and no preloaded libraries, listens at no address, and its unix socket lies in a directory that
    only O(os_user) and root can enter.
  - When the backup is damaged or the target cannot be reached, nothing stays behind.
options:
  state:
    description: V(absent) stops the copy and removes it. A directory that is no copy is never touched.
    type: str
    choices: [present, absent]
    default: present
  directory:
    description: Where the copy lives. It must not exist; the one above it has to.
    type: path
    required: true
  destination:
    description: Directory on the machine that holds the backups. Required when O(state=present).
    type: path
  backup_id:
    description: The backup to start from. The newest one from which O(target) can be reached when it is left out.
    type: str
  expected_digest:
    description: C(digest) of the backup as the catalog has it.
    type: str
  archive_dir:
    description: The log archive. Required for a O(target) of kind V(time), V(lsn), V(xid) or V(name).
    type: path
  target:
    description: Where replay ends.
    type: dict
    default: {}
    suboptions:
      kind:
        description: V(latest) is all that is archived, V(immediate) the first consistent state of the backup.
        type: str
        choices: [latest, immediate, time, lsn, xid, name]
        default: latest
      value:
        description: A moment with its offset (RFC 3339), a position, a transaction, or the name of a restore point.
        type: str
      inclusive:
        description: Whether what lies exactly at the target is replayed too.
        type: bool
        default: true
      timeline:
        description: V(latest), V(current) (that of the backup) or a number.
        type: str
        default: latest
      action:
        description: V(pause) leaves the copy readable and safe from writes. With V(latest) it is always promoted.
        type: str
        choices: [pause, promote]
        default: pause
  copy_port:
    description: The number in the name of the copy's socket. A free one when it is left out.
    type: int
  verify:
    description: Read the backup back before. Off only right after M(codeblue.recovery.postgresql_verify_backup).
    type: bool
    default: true
  settings:
    description: Further settings of the copy, such as C(shared_buffers). Those that keep it apart are refused.
    type: dict
    default: {}
  queries:
    description: What to ask the copy, by name. They run read-only in O(database) as O(admin_user).
    type: dict
    default: {}
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
- name: See which backup would be used for the state before the mistake
  codeblue.recovery.postgresql_restore_beside:
    bin_dir: /usr/lib/postgresql/18/bin
    destination: /var/backups/patient_db
    archive_dir: /var/lib/wal-archive
    directory: /var/lib/postgresql/beside
    target: {kind: time, value: "2026-01-31T14:05:00+00:00", inclusive: false}
    database: clinic
    queries: {sentinels: SELECT count(*) FROM sentinel}
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether a copy lived in the directory and ran.
  returned: success
  type: dict
  sample: {present: false, running: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {present: true, running: true, ready: true, backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
copy:
  description: How the copy is reached, how far it was replayed, and in C(last_transaction_at) its last commit.
  returned: when O(state=present) and not in check mode
  type: dict
  sample: {directory: /var/lib/postgresql/beside, data_dir: /var/lib/postgresql/beside/data, port: 41873,
           socket_dir: /var/lib/postgresql/beside/socket, backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB], in_recovery: true,
           timeline: 1, replayed_lsn: 0/5000148, last_transaction_at: "2026-01-31T14:04:59.998112Z",
           seconds: {verify: 0.4, copy: 0.6, recover: 0.9}}
answers:
  description: What the copy said to O(queries); rows in lines, columns divided by C(|).
  returned: when O(state=present) and not in check mode
  type: dict
  sample: {sentinels: "4711"}
backups:
  description: The backups that would be used, the full one first.
  returned: in check mode with O(state=present)
  type: list
  elements: str
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
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    RestoreRequest,
    ask_copy,
    beside_state,
    discard_unfinished,
    plan_restore,
    restore_beside,
    running_copy,
    stop_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import (
    TARGET_ACTIONS,
    TARGET_KINDS,
    RecoveryTarget,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Make the copy, or remove it."""
    if params["state"] == "absent":
        return _remove(params, context)
    deadline = Deadline(params["timeout"])
    request = RestoreRequest(
        login=Login.from_params(params),
        destination=params["destination"],
        directory=params["directory"],
        target=RecoveryTarget(**params["target"]),
        backup_id=params["backup_id"],
        archive_dir=params["archive_dir"],
        port=params["copy_port"],
        verify=params["verify"],
        expected_digest=params["expected_digest"],
        settings={name: str(value) for name, value in params["settings"].items()},
        pass_fds=context.lock_descriptors,
    )
    before = beside_state(request.directory)
    copy = running_copy(request, deadline)
    changed = copy is None
    if copy is None:
        backups = [record.backup_id for record in plan_restore(request)]
        after = {"present": True, "running": True, "ready": True, "backups": backups}
        if context.check_mode:
            return StepOutcome(True, before, after, {"backups": backups})
        context.accept(before)
        discard_unfinished(request.directory)
        copy = restore_beside(request, deadline)
    answers = ask_copy(copy, params["queries"], deadline)
    return StepOutcome(changed, before, beside_state(request.directory), {"copy": copy.as_dict(), "answers": answers})


def _remove(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    before = beside_state(params["directory"])
    after = {"present": False, "running": False}
    if before["present"] and not context.check_mode:
        context.accept(before)
        stop_beside(params["directory"])
    return StepOutcome(bool(before["present"]), before, after)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "directory": {"type": "path", "required": True},
            "destination": {"type": "path"},
            "backup_id": {"type": "str"},
            "expected_digest": {"type": "str"},
            "archive_dir": {"type": "path"},
            "target": {
                "type": "dict",
                "default": {},
                "options": {
                    "kind": {"type": "str", "choices": list(TARGET_KINDS), "default": "latest"},
                    "value": {"type": "str"},
                    "inclusive": {"type": "bool", "default": True},
                    "timeline": {"type": "str", "default": "latest"},
                    "action": {"type": "str", "choices": list(TARGET_ACTIONS), "default": "pause"},
                },
            },
            "copy_port": {"type": "int"},
            "verify": {"type": "bool", "default": True},
            "settings": {"type": "dict", "default": {}},
            "queries": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 3600.0},
        },
        perform,
        required_if=[("state", "present", ["destination"])],
    )


if __name__ == "__main__":
    main()
