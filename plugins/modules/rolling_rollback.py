#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rolling_rollback
short_description: Roll a release that still works back, one instance after the other, without an outage
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - For each instance in turn takes the traffic away in the gateway, switches the release, restarts the process, waits
    until the instance answers everything that its checks ask in time, and gives the traffic back.
  - Goes back to the version that ran before, is on every instance and is not marked bad. Marks O(version) as bad, for
    every later run as well.
  - An instance that does not come up well stays without traffic, and the step fails; the others still work.
  - Switching to O(version) again, after its mark was cleared, undoes it.
options:
  version:
    description: The version to leave.
    type: str
    required: true
  reason:
    description: One line for the history and the mark.
    type: str
    default: ""
  healthy_within:
    description: Seconds that an instance gets to come up. 30 intervals of its checks, at least 5, when it is left out.
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
  - module: codeblue.recovery.progressive_rollback
  - module: codeblue.recovery.release_switch
  - module: codeblue.recovery.haproxy_server
"""

EXAMPLES = r"""
- name: Leave the release that made records slow
  codeblue.recovery.rolling_rollback:
    version: 1.6.0
    reason: its answers take 0.6 s
"""

RETURN = r"""
rolled_back:
  description: From which version to which; C(to) is none when no instance ran it.
  returned: success
  type: dict
  sample: {service: records, from: 1.6.0, to: 1.1.0}
instances:
  description: The machines of the instances, in the order in which they were rolled back.
  returned: success
  type: list
  elements: str
  sample: [app1, app2]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rollback
    target: records
    summary: rolled back records from 1.6.0 to 1.1.0, 2 instances one after the other
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "version": {"type": "str", "required": True},
            "reason": {"type": "str", "default": ""},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
