#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts, stops and restarts units of process managers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_state
short_description: Start, stop or restart units, several at once, and see that they stay up
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Brings units of C(supervisord) or C(systemd) into a state, all at once, and waits until they are there.
  - A unit that ends again, or that its manager starts over and over, is a failure that comes with the end of its log.
options:
  units:
    description: The units. They do not depend on each other; units that do belong into two calls.
    type: list
    elements: dict
    required: true
    suboptions:
      manager:
        description: Which process manager.
        type: str
        choices: [supervisor, systemd]
        required: true
      socket:
        description: Path of supervisord's unix socket. Required with O(units[].manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
      state:
        description:
          - V(started) leaves a running unit alone, V(restarted) stops and starts it.
          - V(held) stops it and keeps others from starting it. In C(systemd) its sockets, paths and timers are stopped
            and it is masked, or disabled where its file is in C(/etc/systemd/system). C(supervisord) starts it again
            only when it starts itself. V(started) and V(restarted) undo exactly that.
        type: str
        choices: [started, stopped, held, restarted]
        required: true
      wait_for:
        description: What shows that a started unit works.
        type: dict
        suboptions:
          address:
            description: Address of O(units[].wait_for.port).
            type: str
            default: 127.0.0.1
          port:
            description: A port that takes TCP connections.
            type: int
          url:
            description: A C(http) URL that answers with a status below 400.
            type: str
  settle:
    description: Seconds after which it looks whether units with V(held) are still stopped.
    type: float
    default: 0.5
  timeout:
    description: Seconds for each unit. They run side by side.
    type: float
    default: 20.0
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
- name: See which services would be restarted
  codeblue.recovery.process_state:
    units:
      - {manager: systemd, unit: records.service, state: restarted, wait_for: {url: "http://127.0.0.1:8101/health"}}
      - {manager: supervisor, socket: /run/supervisor.sock, unit: auth, state: started, wait_for: {port: 8102}}
  check_mode: true
"""

RETURN = r"""
before:
  description: Each unit as its manager saw it.
  returned: success
  type: dict
  sample: {records.service: {state: failed, manager_state: failed/failed, pid: null, exit_status: 1}}
after:
  description: Each unit afterwards.
  returned: success
  type: dict
  sample: {records.service: {state: running, manager_state: active/running, pid: 4711, exit_status: null}}
failures:
  description: Units that are not as wanted, with the reason and the last lines of their log.
  returned: always
  type: dict
  sample: {records.service: {reason: it does not stay up, crash_looping: true, log: ["ImportError: ..."]}}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: unit, unit: records.service, process: {manager: systemd, unit: records.service}, value: stopped}]
reconcilers:
  description: Who else keeps what was changed and is only told of. In check mode also who would be suspended or asked.
  returned: when there is one
  type: list
  elements: dict
  sample: [{name: puppet, treatment: suspend, about: [/etc/records/config.json], evidence: its agent runs,
            undo: puppet agent --enable, advice: null}]
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
from dataclasses import replace

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import unit_left
from ansible_collections.codeblue.recovery.plugins.module_utils._process_hold import (
    HoldRecord,
    hold,
    release,
    started_again,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    RUNNING,
    STOPPED,
    UnitStatus,
    process_unit,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._process_state import (
    UnitWish,
    WaitFor,
    bring_about,
    look_at_units,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_LOOK_SECONDS = 5.0
_STOPS = ("stopped", "held")


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Bring all units where they should be."""
    lock_dir = params["step"]["lock_dir"] if params["step"] and not context.check_mode else None
    wishes = [_wish(options, lock_dir) for options in params["units"]]
    names = [wish.unit.unit for wish in wishes]
    if len(set(names)) != len(names):
        raise BadInput("units: a unit is named twice", "say once what each unit should be")
    statuses = look_at_units(wishes, Deadline(_LOOK_SECONDS))
    before = {name: status.as_dict() for name, status in zip(names, statuses)}  # noqa: B905 - Python 3.8
    earlier = context.before_first_attempt or {}
    wishes = [_unless_restarted(wish, before[wish.unit.unit], earlier.get(wish.unit.unit)) for wish in wishes]
    needed = [not wish.holds(status) for wish, status in zip(wishes, statuses)]  # noqa: B905 - Python 3.8
    if context.check_mode:
        after = {name: _wished(wish, status) for name, wish, status in zip(names, wishes, statuses)}  # noqa: B905
        return StepOutcome(any(needed), before, after, {"failures": {}})
    if any(needed):
        context.accept(before)
    for wish in wishes:
        record = HoldRecord(lock_dir, wish.unit)
        if wish.kept:
            hold(wish.unit, record, Deadline(params["timeout"]))
        elif wish.held and wish.state != "stopped":
            release(wish.unit, record, Deadline(params["timeout"]))
    results = dict(zip(names, bring_about(wishes, statuses, params["timeout"])))  # noqa: B905 - Python 3.8
    _look_again([wish for wish in wishes if wish.kept], params["settle"], results)
    after = {name: result["status"] for name, result in results.items()}
    failures = {
        name: {key: result[key] for key in ("reason", "crash_looping", "log")}
        for name, result in results.items()
        if not result["ok"]
    }
    if failures:
        first = sorted(failures)[0]
        raise StepFailed(
            "%s: %s" % (first, failures[first]["reason"]),
            "the end of its log is in failures.%s.log" % first,
            {"changed": any(needed), "before": before, "after": after, "failures": failures},
        )
    return StepOutcome(any(needed), before, after, {"failures": {}})


def _wish(options: t.Dict[str, t.Any], lock_dir: t.Optional[str]) -> UnitWish:
    wait_for = options["wait_for"]
    unit, kept = process_unit(options), options["state"] == "held"
    return UnitWish(
        unit,
        "stopped" if kept else options["state"],
        WaitFor(**wait_for) if wait_for else None,
        kept,
        # In check mode there is no lock directory to look into.
        kept if lock_dir is None else HoldRecord(lock_dir, unit).read() is not None,
    )


def _look_again(wishes: t.Sequence[UnitWish], seconds: float, results: t.Dict[str, t.Dict[str, t.Any]]) -> None:
    """Whether units that were stopped for good are so after a moment."""
    for number, wish in enumerate(wish for wish in wishes if results[wish.unit.unit]["ok"]):
        status = started_again(wish.unit, seconds if number == 0 else 0.0)
        if status is not None:
            said = {"ok": False, "reason": "it was stopped, and somebody started it again", "status": status.as_dict()}
            results[wish.unit.unit] = {**results[wish.unit.unit], **said}


def _unless_restarted(wish: UnitWish, now: t.Dict[str, t.Any], earlier: t.Optional[t.Dict[str, t.Any]]) -> UnitWish:
    """A restart that an earlier attempt of this step has done is not done again."""
    if wish.state != "restarted" or earlier is None:
        return wish
    done = now["state"] == RUNNING and now["pid"] != earlier.get("pid")
    return replace(wish, state="started") if done else wish


def _wished(wish: UnitWish, status: UnitStatus) -> t.Dict[str, t.Any]:
    if wish.holds(status):
        return status.as_dict()
    return {"state": STOPPED if wish.state == "stopped" else RUNNING}


def _stopped(params: t.Dict[str, t.Any]) -> t.Tuple[t.Dict[str, t.Any], ...]:
    return tuple(unit for unit in params["units"] if unit["state"] in _STOPS)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    **process_options(),
                    "state": {"type": "str", "required": True, "choices": ["started", "stopped", "held", "restarted"]},
                    "wait_for": {
                        "type": "dict",
                        "options": {
                            "address": {"type": "str", "default": "127.0.0.1"},
                            "port": {"type": "int"},
                            "url": {"type": "str"},
                        },
                        "required_one_of": [("port", "url")],
                        "mutually_exclusive": [("port", "url")],
                    },
                },
                "required_if": [("manager", "supervisor", ["socket"])],
            },
            "settle": {"type": "float", "default": 0.5},
            "timeout": {"type": "float", "default": 20.0},
        },
        perform,
        touches=lambda params: Touched(stopped_units=_stopped(params)),
        leaves=lambda params: [unit_left(unit, unit["state"] in _STOPS) for unit in params["units"]],
    )


if __name__ == "__main__":
    main()
