#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: intrusion_remove
short_description: End the processes that an intruder left and replace the release that brought them
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Stops the service's instances, ends processes that run from its directories and that no unit knows, marks the
    present release bad, switches to the last good one and starts it.
  - Meant for a service in quarantine, with its evidence taken. Without a good release nothing is stopped.
options:
  machines:
    description: Only the instances on these machines; all of them when it is empty.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record and for the mark of the bad release.
    type: str
    default: ''
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.service_quarantine
  - module: codeblue.recovery.stray_processes
"""

EXAMPLES = r"""
- name: Take what the intruder left out of the service
  codeblue.recovery.intrusion_remove:
    reason: it sent data outside
"""

RETURN = r"""
releases:
  description: For each machine from which release to which.
  returned: success
  type: dict
  sample: {app1: {from: 1.9.0, to: 1.1.0}}
strays_ended:
  description: How many processes were found that no unit knows.
  returned: success
  type: int
  sample: 2
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: remove
    target: records
    summary: ended 2 hidden processes of records, went from release 1.9.0 to 1.1.0
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "machines": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
