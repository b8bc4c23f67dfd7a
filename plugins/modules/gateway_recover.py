#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_recover
short_description: Get the gateway in front of a database to work again and lead to the primary
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Starts the gateway's process where a service of the inventory says which one that is, and gives traffic to the
    primary only.
  - To undo it, switch the servers by M(codeblue.recovery.gateway_switch).
options:
  primary:
    description: The member that is the primary now.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    details: Servers are not looked at when the process would be started first.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.gateway_switch
  - module: codeblue.recovery.haproxy_server
  - module: codeblue.recovery.process_state
"""

EXAMPLES = r"""
- name: Start the gateway and lead it to the primary
  codeblue.recovery.gateway_recover:
    primary: db1
"""

RETURN = r"""
changed:
  description: The process was started, or a server was switched.
  returned: success
  type: bool
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: gateway
    target: patient_db
    summary: the gateway on lb1 leads to db1
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "primary": {"type": "str", "required": True},
        }
    )


if __name__ == "__main__":
    main()
