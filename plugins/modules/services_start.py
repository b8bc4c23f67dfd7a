#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services_start
short_description: Start what is down, wave by wave in recovery order
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Orders the targets by what they depend on and by tier, starts all instances of a wave at once, and gives a wave a
    moment to work before the next one builds on it.
  - An instance that runs already is left alone. What does not come up is named in RV(problems) and does not fail the
    task, so that the rest is started and a rollback can follow.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  kinds:
    description: Only services of these kinds. All when the list is empty.
    type: list
    elements: str
    default: []
  start_timeout:
    description: Seconds that a process gets to start and to listen.
    type: float
    default: 20.0
  healthy_within:
    description: Seconds that a wave gets until its checks pass. 30 intervals of the checks when it is left out.
    type: float
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
  - module: codeblue.recovery.process_state
  - module: codeblue.recovery.progressive_rollback
"""

EXAMPLES = r"""
- name: Start the gateways
  codeblue.recovery.services_start:
    kinds: [gateway]
  run_once: true
"""

RETURN = r"""
started:
  description: Service to the machines on which it was started.
  returned: success
  type: dict
  sample: {records: [app1, app2]}
problems:
  description: Service to the reason why it does not work yet.
  returned: success
  type: dict
  sample: {records: "http fails (status): 503 instead of 200"}
order:
  description: The waves in which they were started.
  returned: success
  type: list
  elements: list
  sample: [[auth], [ai, records]]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: start
    target: auth, records
    summary: started records on app1 and app2
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "kinds": {"type": "list", "elements": "str", "default": []},
            "start_timeout": {"type": "float", "default": 20.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
