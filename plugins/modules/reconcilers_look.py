#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks who else keeps files, units and databases of a machine, and whether what a run changed is still so."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reconcilers_look
short_description: See who would put a change back, and whether what was changed is still so
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Names configuration managements, supervisors and cluster managers that are at work on this machine and keep what
    is named here, with what a run would do about each.
  - Looks whether what steps left behind, their RV(ignore:left), is still so.
  - Only reads.
options:
  files:
    description: Paths of files and links.
    type: list
    elements: path
    default: []
  stopped_units:
    description: Units that are to stay stopped.
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
        description: Path of supervisord's unix socket. Required with O(stopped_units[].manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
  data_dir:
    description: Data directory of a PostgreSQL server.
    type: path
  left:
    description: What steps left behind, as they returned it.
    type: list
    elements: dict
    default: []
  lock_dir:
    description: Where runs have written down what they suspended.
    type: path
    default: /var/lib/codeblue
  reconcilers:
    description: Who of the site's own keeps what on this machine, as C(codeblue_reconcilers) has it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: As people know it.
        type: str
        required: true
      owns:
        description: Patterns of paths that it puts back.
        type: list
        elements: str
        default: []
      restarts:
        description: Units that it starts again.
        type: list
        elements: str
        default: []
      process:
        description: The unit that it runs as.
        type: dict
        suboptions:
          manager:
            description: Which process manager.
            type: str
            choices: [supervisor, systemd]
            required: true
          socket:
            description: Path of supervisord's unix socket. Required with O(reconcilers[].process.manager=supervisor).
            type: path
          unit:
            description: Name of the unit, also of a timer.
            type: str
            required: true
      status_command:
        description: Program and arguments; ends with 0 while it is at work.
        type: list
        elements: str
        default: []
      suspend_command:
        description: Suspends it.
        type: list
        elements: str
        default: []
      resume_command:
        description: Gives it back.
        type: list
        elements: str
        default: []
      advice:
        description: What a person does instead, where it has no switch.
        type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
seealso:
  - module: codeblue.recovery.reconciler_suspend
"""

EXAMPLES = r"""
- name: See who would put the configuration of records back
  codeblue.recovery.reconcilers_look:
    files: [/etc/records/config.json, /srv/records/current]
"""

RETURN = r"""
reconcilers:
  description: Who is at work, what is done about it, how that is undone, and what a person does otherwise.
  returned: success
  type: list
  elements: dict
  sample: [{name: puppet, treatment: suspend, about: [/etc/records/config.json], evidence: its agent runs,
            undo: puppet agent --enable, advice: null}]
no_longer_so:
  description: What is not as O(left) says, in one line each.
  returned: success
  type: list
  elements: str
  sample: [/srv/records/current points to releases/1.4.3 again]
not_seen:
  description: What of O(left) could not be looked at, and why.
  returned: success
  type: list
  elements: str
suspended:
  description: What runs have suspended on this machine and nobody has given back yet.
  returned: success
  type: list
  elements: dict
  sample: [{name: puppet, undo: puppet agent --enable, run_id: 01J9ZK3V8Q2D4T6Y8B0C2E4G6J}]
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options, reconcilers_argument
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import no_longer_so
from ansible_collections.codeblue.recovery.plugins.module_utils._reconciler_record import suspended_here
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Declared, Touched, find_reconcilers

_MOST_LEFT = 1000


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Ask everything."""
    if len(params["left"]) > _MOST_LEFT:
        raise BadInput("left: more than %d entries are given" % _MOST_LEFT)
    touched = Touched(
        files=tuple(params["files"]), stopped_units=tuple(params["stopped_units"]), data_dir=params["data_dir"]
    )
    declared = tuple(Declared.from_params(each) for each in params["reconcilers"])
    changed: t.List[str] = []
    unseen: t.List[str] = []
    for entry in params["left"]:
        try:
            said = no_longer_so(entry)
        except BadInput:
            raise
        except (CodeblueError, OSError) as error:
            unseen.append(str(error))
        else:
            changed += [said] if said is not None else []
    return {
        "reconcilers": [each.as_dict() for each in find_reconcilers(touched, declared)],
        "no_longer_so": changed,
        "not_seen": unseen,
        "suspended": suspended_here(params["lock_dir"]),
    }


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "files": {"type": "list", "elements": "path", "default": []},
            "stopped_units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": process_options(),
                "required_if": [("manager", "supervisor", ["socket"])],
            },
            "data_dir": {"type": "path"},
            "left": {"type": "list", "elements": "dict", "default": []},
            "lock_dir": {"type": "path", "default": "/var/lib/codeblue"},
            **reconcilers_argument(),
        },
        look,
    )


if __name__ == "__main__":
    main()
