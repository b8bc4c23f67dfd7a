#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a PostgreSQL server unable to take writes, now and after a restart of its machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_fence
short_description: Make an old primary unable to take writes, now and later
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Places C(standby.signal), has the process manager stop the unit and leave it so, and ends what is left of the
    server.
  - A server that was stopped by a signal or hangs is killed. Only processes that work in O(data_dir) are touched.
  - Looks afterwards. RV(fenced) is true only when no process is left, the port is closed, the unit is stopped and the
    data directory would start as a standby only, or cannot be read.
  - What it changed for good is kept in a file under O(step.lock_dir), and O(state=released) undoes exactly that.
options:
  state:
    description:
      - V(fenced) stops the server and keeps it from coming back as a primary.
      - V(released) takes that back. It does not start the server.
    type: str
    choices: [fenced, released]
    required: true
  grace:
    description:
      - Seconds that a server which still reacts gets to stop in order. One that was stopped by a signal gets none.
    type: float
    default: 2.0
  read_log:
    description: Read on the disk of a fenced server how it ended and where its log does, for RV(log).
    type: bool
    default: false
  timeout:
    description: Seconds for everything together.
    type: float
    default: 15.0
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
- name: See what fencing the old primary would do
  codeblue.recovery.postgresql_fence:
    state: fenced
    bin_dir: /usr/lib/postgresql/18/bin
    data_dir: /var/lib/postgresql/18/main
    process: {manager: systemd, unit: postgresql@18-main}
  check_mode: true
"""

RETURN = r"""
fenced:
  description: Every decisive condition of RV(evidence) holds.
  returned: success
  type: bool
evidence:
  description: The conditions, whether each holds, and what was seen.
  returned: success
  type: list
  elements: dict
  sample: [{check: processes_gone, holds: true, decisive: true, seen: 0}]
before:
  description: What was seen before.
  returned: success
  type: dict
  sample: {processes: 7, port_open: true, process: {state: running, starts_at_boot: true}, data_dir_readable: true,
           standby_signal: false}
after:
  description: What was seen afterwards.
  returned: success
  type: dict
log:
  description:
    - How the server ended, by its control file, and where its log does. With C(clean) it was shut down in order, which
      a primary does when every standby that streams has confirmed all of the log.
  returned: when O(read_log) and RV(fenced) are true
  type: dict
  sample: {clean: true, timeline: 1, end_lsn: 0/5000148, error: null}
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

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import member_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_fence import (
    FenceRecord,
    fence,
    is_fenced,
    judge,
    look_at_fence,
    look_at_log,
    release,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_LOG_SECONDS = 10.0


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Fence or release."""
    deadline = Deadline(params["timeout"])
    member = Member.from_params(params)
    unit = process_unit(params["process"])
    wants_fence = params["state"] == "fenced"
    step = params["step"]
    record_path = FenceRecord.path(step["lock_dir"], step["target"], member.port) if step else None
    before = look_at_fence(member, unit, deadline)
    if wants_fence:
        done = is_fenced(judge(before))
    elif record_path is None:
        # In check mode there is no lock directory to look into.
        done = not before["standby_signal"]
    else:
        done = FenceRecord.read(record_path) is None
    if done or context.check_mode or record_path is None:
        evidence = judge(before)
        wished = {"processes": 0, "port_open": False, "standby_signal": before["data_dir_readable"]}
        after = before if done or not wants_fence else {**before, **wished}
        extra = {"fenced": is_fenced(evidence), "evidence": evidence, **_log(params, member, is_fenced(evidence))}
        return StepOutcome(not done, before, after, extra)
    context.accept(before)
    if wants_fence:
        fence(member, unit, record_path, params["grace"], deadline)
    else:
        release(member, unit, record_path, deadline)
    after = look_at_fence(member, unit, Deadline(5.0))
    evidence = judge(after)
    fenced = is_fenced(evidence)
    extra = {"fenced": fenced, "evidence": evidence, **_log(params, member, fenced)}
    return StepOutcome(True, before, after, extra, finished=fenced or not wants_fence)


def _log(params: t.Dict[str, t.Any], member: Member, fenced: bool) -> t.Dict[str, t.Any]:
    return {"log": look_at_log(member, Deadline(_LOG_SECONDS))} if params["read_log"] and fenced else {}


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **member_arguments(),
            "state": {"type": "str", "required": True, "choices": ["fenced", "released"]},
            "grace": {"type": "float", "default": 2.0},
            "read_log": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 15.0},
        },
        perform,
        touches=lambda params: Touched(data_dir=params["data_dir"]),
    )


if __name__ == "__main__":
    main()
