#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_recover
short_description: Bring every instance of a service back by mending its release, or by the release before
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - V(restore) compares the current release of every instance with its manifest, restores damaged files from intact
    copies of the same version and restarts. Copies are looked for in C(release_copies) of the instance, then on the
    other instances. Where there is none, it goes on with V(rollback).
  - V(rollback) marks the current version bad, for every later run as well, switches all instances to the newest version
    that ran before, is there on every one and is not marked, and restarts them.
  - V(restart) only restarts. Where that does not help, it goes on with V(rollback).
  - The real use of the service is asked of every instance, on its own machine, past the gateway. A version that does
    not prove itself is marked bad too, and the one before it is tried.
options:
  way:
    description: What the diagnosis asks for.
    type: str
    choices: [rollback, restore, restart]
    required: true
  reason:
    description: Why the version is bad, for the mark and the record.
    type: str
    default: ""
  most:
    description: At most so many versions are left.
    type: int
    default: 3
  healthy_within:
    description: Seconds that instances get to work. 30 intervals of their checks, and at least 5, when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Says what would be done first; what follows depends on whether that helps.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.release_restore
  - module: codeblue.recovery.release_switch
  - module: codeblue.recovery.progressive_rollback
"""

EXAMPLES = r"""
- name: Leave the release that crashes
  codeblue.recovery.release_recover:
    way: rollback
    reason: its process ends with every inference
"""

RETURN = r"""
rolled_back:
  description: From which version to which, in this order.
  returned: success
  type: list
  elements: dict
  sample: [{from: 1.3.0, to: 1.1.0}]
restored:
  description: Machine to the files that were restored there.
  returned: success
  type: dict
  sample: {app1: [model.json]}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: release
    target: ai
    summary: rolled back from 1.3.0 to 1.1.0; every instance answers as it should, in time
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "way": {"type": "str", "choices": ["rollback", "restore", "restart"], "required": True},
            "reason": {"type": "str", "default": ""},
            "most": {"type": "int", "default": 3},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
