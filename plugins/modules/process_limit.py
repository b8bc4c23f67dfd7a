#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the processor away from a job that runs wild."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_limit
short_description: Let a runaway job run only when nobody else wants the processor, pause it, or end it
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Works on the process group of one process, which is named by its number and its start, so that a number that was
    given to another process is never hit.
  - Refuses when one of the processes belongs to O(essential_units), to the system, or to this very step.
options:
  pid:
    description: The process that leads the group.
    type: int
  start_ticks:
    description: Its start in clock ticks since the machine started, field 22 of C(/proc/<pid>/stat).
    type: int
  state:
    description:
      - V(limited) gives it the scheduling policy C(SCHED_IDLE).
      - V(stopped) sends C(SIGSTOP); it keeps its memory and goes on with V(released).
      - V(ended) sends C(SIGTERM), then C(SIGKILL). There is no way back.
      - V(released) sets the processes of O(processes) as they were, and lets them go on.
    type: str
    choices: [limited, stopped, ended, released]
    default: limited
  processes:
    description: For O(state=released) what RV(undo) said.
    type: list
    elements: dict
    default: []
  essential_units:
    description: Units that the site needs.
    type: list
    elements: dict
    default: []
    suboptions:
      manager:
        description: Which process manager.
        type: str
        choices: [supervisor, systemd]
        required: true
      socket:
        description: Path of supervisord's unix socket. Required with V(supervisor).
        type: path
      unit:
        description: Name of the unit.
        type: str
        required: true
  timeout:
    description: Seconds for everything together.
    type: float
    default: 10.0
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
"""

EXAMPLES = r"""
- name: See which processes would be limited
  codeblue.recovery.process_limit:
    pid: 4711
    start_ticks: 883310
  check_mode: true
"""

RETURN = r"""
before:
  description: The processes with their scheduling policy and niceness.
  returned: success
  type: dict
  sample: {processes: [{pid: 4711, start_ticks: 883310, name: report, policy: other, nice: 0, stopped: false}]}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {processes: [{pid: 4711, start_ticks: 883310, name: report, policy: idle, nice: 0, stopped: false}]}
undo:
  description: Value for O(processes) that sets them as they were; empty when there is no way back.
  returned: success
  type: list
  elements: dict
  sample: [{pid: 4711, start_ticks: 883310, policy: other}]
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

import signal
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._essential_processes import (
    essential_processes,
    essential_units_argument,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import ProcessInfo
from ansible_collections.codeblue.recovery.plugins.module_utils._process_limit import (
    Known,
    describe,
    end,
    group_of,
    set_policy,
)

# A job that starts workers all the time is followed so often; what they start inherits the policy.
_MOST_ROUNDS = 5


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Limit, stop, end or release."""
    deadline = Deadline(params["timeout"])
    if params["state"] == "released":
        return _release(params, context)
    essential = essential_processes(params["essential_units"], deadline)
    leader = Known(params["pid"], params["start_ticks"])

    def look() -> t.List[ProcessInfo]:
        return group_of(leader, essential)

    found = look()
    before = _state(found)
    waiting = [info for info in found if not _holds(info, params["state"])]
    undo = _undo((context.before_first_attempt or before)["processes"], params["state"])
    if not waiting:
        return StepOutcome(False, before, before, {"undo": undo})
    if context.check_mode:
        return StepOutcome(True, before, _wished(before, params["state"]), {"undo": undo})
    context.accept(before)
    for _round in range(_MOST_ROUNDS):
        _apply(waiting, params["state"], deadline)
        waiting = [info for info in look() if not _holds(info, params["state"])]
        if not waiting:
            break
    else:
        raise CodeblueError(
            "process %d starts new processes faster than they can be limited" % params["pid"],
            "stop what starts it, then run this again",
        )
    return StepOutcome(True, before, _state(look()), {"undo": undo})


def _apply(processes: t.Sequence[ProcessInfo], state: str, deadline: Deadline) -> None:
    if state == "ended":
        left = end(processes, deadline)
        if left:
            raise CodeblueError("process %d does not end" % left[0].pid, "it waits for a disk or a device: see dmesg")
        return
    for info in processes:
        if state == "limited":
            set_policy(info, "idle")
        else:
            info.kill(signal.SIGSTOP)


def _holds(info: ProcessInfo, state: str) -> bool:
    now = describe(info)
    if state == "limited":
        return now["policy"] in ("idle", "gone")
    return state == "stopped" and bool(now.get("stopped"))


def _state(processes: t.Sequence[ProcessInfo]) -> t.Dict[str, t.Any]:
    return {"processes": [describe(info) for info in processes]}


def _wished(before: t.Dict[str, t.Any], state: str) -> t.Dict[str, t.Any]:
    if state == "ended":
        return {"processes": []}
    change = {"policy": "idle"} if state == "limited" else {"stopped": True}
    return {"processes": [{**each, **change} for each in before["processes"]]}


def _undo(processes: t.Sequence[t.Dict[str, t.Any]], state: str) -> t.List[t.Dict[str, t.Any]]:
    if state == "ended":
        return []
    return [{key: each[key] for key in ("pid", "start_ticks", "policy")} for each in processes]


def _release(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    wanted = {(int(each["pid"]), int(each["start_ticks"])): str(each["policy"]) for each in params["processes"]}
    found = {key: info for key in wanted for info in [Known(*key).find()] if info is not None}
    before = _state(list(found.values()))
    changes = [
        key for key, info in found.items() if describe(info)["policy"] != wanted[key] or describe(info).get("stopped")
    ]
    if changes and not context.check_mode:
        context.accept(before)
        for key in changes:
            set_policy(found[key], wanted[key])
            found[key].kill(signal.SIGCONT)
    after = {
        "processes": [
            {**each, "policy": wanted[(each["pid"], each["start_ticks"])], "stopped": False}
            for each in before["processes"]
        ]
    }
    return StepOutcome(bool(changes), before, after, {"undo": []})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "pid": {"type": "int"},
            "start_ticks": {"type": "int"},
            "state": {"type": "str", "default": "limited", "choices": ["limited", "stopped", "ended", "released"]},
            "processes": {"type": "list", "elements": "dict", "default": []},
            **essential_units_argument(),
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        required_if=[
            ("state", "limited", ["pid", "start_ticks"]),
            ("state", "stopped", ["pid", "start_ticks"]),
            ("state", "ended", ["pid", "start_ticks"]),
            ("state", "released", ["processes"]),
        ],
    )


if __name__ == "__main__":
    main()
