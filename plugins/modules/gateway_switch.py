#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_switch
short_description: Take servers of a service out of its gateway, drain them, or give them traffic again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Switches the servers of the service in HAProxy, over restarts too, and waits until traffic goes that way.
  - RV(before) holds the states to switch back to.
options:
  states:
    description:
      - Member or instance to V(ready), V(drain) or V(maint).
      - The single key V(all) stands for all servers of the service.
    type: dict
    required: true
  reason:
    description: Why, for the record.
    type: str
    default: ""
  wait_for_up:
    description: Wait until a server that was made ready passes the health checks of the gateway.
    type: bool
    default: true
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
  - module: codeblue.recovery.haproxy_server
"""

EXAMPLES = r"""
- name: Take the second instance out
  codeblue.recovery.gateway_switch:
    states: {app2: drain}
    reason: kernel update
"""

RETURN = r"""
before:
  description: State, status, weight and sessions of each server named, as C(backend/server).
  returned: success
  type: dict
  sample: {records/app2: {state: ready, status: UP, weight: 1, sessions: 4, checked: true}}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {records/app2: {state: drain, status: DRAIN, weight: 1, sessions: 0, checked: true}}
persisted:
  description: A restarted gateway would come up in this state.
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
    target: records
    summary: put app2 to drain
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "states": {"type": "dict", "required": True},
            "reason": {"type": "str", "default": ""},
            "wait_for_up": {"type": "bool", "default": True},
        }
    )


if __name__ == "__main__":
    main()
