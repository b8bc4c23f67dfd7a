#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends processes of a service that no unit knows."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stray_processes
short_description: End processes that run from a service's directories and belong to none of its units
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - A process that somebody has hidden leaves its unit, and lives on when that is stopped. It is found by its program or
    script, which lies below one of O(directories).
  - They are killed, again and again until none is left, because such processes start each other. Take evidence before.
options:
  units:
    description: Units whose processes are left alone, with all that came out of them.
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
        description: Path of supervisord's unix socket. Required with O(units[].manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
  directories:
    description: Where the service's programs lie.
    type: list
    elements: path
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
seealso:
  - module: codeblue.recovery.intrusion_look
"""

EXAMPLES = r"""
- name: See which processes of records no unit knows
  codeblue.recovery.stray_processes:
    units: [{manager: systemd, unit: records}]
    directories: [/srv/records]
  check_mode: true
"""

RETURN = r"""
before:
  description: Numbers of the processes that were found.
  returned: success
  type: dict
  sample: {strays: [4711]}
after:
  description: None of them is left.
  returned: success
  type: dict
  sample: {strays: []}
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

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import processes_of
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import ProcessInfo
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """End them."""
    deadline = Deadline(params["timeout"])
    found = _strays(params, deadline)
    before = {"strays": [each.pid for each in found]}
    if not found or context.check_mode:
        return StepOutcome(bool(found), before, {"strays": []})
    context.accept(before)

    def gone() -> bool:
        for each in _strays(params, deadline):
            each.kill(signal.SIGKILL)
        return not _strays(params, deadline)

    if not deadline.wait_until(gone, 0.05):
        left = [each.pid for each in _strays(params, Deadline(5.0))]
        raise StepFailed(
            "process %d does not end" % left[0] if left else "they did not end in time",
            "somebody starts them anew: look for their parent, timers and crontabs",
            {"changed": True, "before": before, "after": {"strays": left}},
        )
    return StepOutcome(True, before, {"strays": []})


def _strays(params: t.Dict[str, t.Any], deadline: Deadline) -> t.List[ProcessInfo]:
    statuses = [process_unit(options).status(deadline) for options in params["units"]]
    processes = processes_of([each.pid for each in statuses if each.pid is not None], params["directories"])
    return [each.process for each in processes if not each.of_unit and not each.process.gone]


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": process_options(),
                "required_if": [("manager", "supervisor", ["socket"])],
            },
            "directories": {"type": "list", "elements": "path", "required": True},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
