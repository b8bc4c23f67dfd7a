#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Suspends who would put back what a run changes, and gives it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reconciler_suspend
short_description: Suspend a configuration management or a supervisor that would put a change back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Suspends one reconciler by the switch that it has for that, waits for what it is doing right now, and looks whether
    it holds. C(puppet) is disabled by its own lock, C(monit) unmonitors one check, units of C(systemd) are stopped
    with their timers, and those of O(reconcilers) by their process or command.
  - What was suspended is written down under O(step.lock_dir). V(resumed) gives back exactly that, and nothing that
    somebody else has suspended.
  - Every changing module of this collection asks for it by itself when it meets a reconciler.
options:
  name:
    description: The reconciler, as RV(ignore:reconcilers[].name) of the module that met it has it.
    type: str
    required: true
  about:
    description: What it keeps, as RV(ignore:reconcilers[].about) has it.
    type: list
    elements: str
    default: []
  state:
    description: Whether it is to do nothing, or to go on.
    type: str
    choices: [suspended, resumed]
    default: suspended
  timeout:
    description: Seconds for everything together, with the end of a run of it that is under way.
    type: float
    default: 30.0
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
  - module: codeblue.recovery.reconcilers_look
"""

EXAMPLES = r"""
- name: See whether puppet would be suspended here
  codeblue.recovery.reconciler_suspend:
    name: puppet
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether it was at work, and whether a run has suspended it.
  returned: success
  type: dict
  sample: {at_work: true, suspended: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {at_work: false, suspended: true}
undo:
  description: The command that gives it back.
  returned: success
  type: str
  sample: puppet agent --enable
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

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconciler_record import SuspendedRecord
from ansible_collections.codeblue.recovery.plugins.module_utils._reconciler_switches import (
    Switch,
    stopped_units,
    switch_named,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Declared


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Suspend it, or give it back."""
    step = params["step"]
    record = SuspendedRecord(step["lock_dir"] if step else None, params["name"])
    kept = record.read()
    if params["state"] == "resumed":
        return _resume(params, context, record, kept)
    declared = tuple(Declared.from_params(each) for each in params["reconcilers"])
    switch = switch_named(params["name"], declared)
    at_work = switch is not None and switch.at_work()
    before = {"at_work": at_work, "suspended": kept is not None}
    if switch is None or not at_work:
        undo = kept["undo"] if kept is not None else None
        return StepOutcome(False, before, before, {"undo": undo})
    after = {"at_work": False, "suspended": True}
    if context.check_mode:
        return StepOutcome(True, before, after, {"undo": switch.undo})
    context.accept(before)
    about = sorted({*(kept or {}).get("about", []), *params["about"]})
    # Written first: a suspension that is cut off is given back all the same.
    record.write(
        {
            "name": params["name"],
            "about": about[:100],
            "undo": switch.undo,
            "units": stopped_units(params["name"]),
            "run_id": step["run_id"],
        }
    )
    switch.suspend("codeblue: run %s changes what it keeps" % step["run_id"], Deadline(params["timeout"]))
    if switch.at_work():
        raise Refused("%s is at work again right after it was suspended" % params["name"], "find out who starts it")
    return StepOutcome(True, before, after, {"undo": switch.undo})


def _resume(
    params: t.Dict[str, t.Any],
    context: StepContext,
    record: SuspendedRecord,
    kept: t.Optional[t.Dict[str, t.Any]],
) -> StepOutcome:
    before = {"at_work": None, "suspended": kept is not None}
    if kept is None:
        return StepOutcome(False, before, before, {"undo": None})
    after = {"at_work": True, "suspended": False}
    if context.check_mode:
        return StepOutcome(True, before, after, {"undo": kept["undo"]})
    switch = _switch_of(params, kept)
    context.accept(before)
    switch.resume(Deadline(params["timeout"]))
    record.remove()
    return StepOutcome(True, before, {"at_work": switch.at_work(), "suspended": False}, {"undo": kept["undo"]})


def _switch_of(params: t.Dict[str, t.Any], kept: t.Dict[str, t.Any]) -> Switch:
    declared = tuple(Declared.from_params(each) for each in params["reconcilers"])
    switch = switch_named(kept["name"], declared, kept["units"])
    if switch is None:
        raise Refused("%s has no switch any more" % kept["name"], "give it back by hand: %s" % kept["undo"])
    return switch


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "name": {"type": "str", "required": True},
            "about": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["suspended", "resumed"], "default": "suspended"},
            "timeout": {"type": "float", "default": 30.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
