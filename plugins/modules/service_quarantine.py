#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_quarantine
short_description: Put a service into quarantine, prove it, and give it back exactly as it was
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Takes the service out of its gateway, cuts it off on each of its machines by M(codeblue.recovery.network_quarantine)
    and confirms the rules over a new connection, without which they go by themselves.
  - Proves it. Connections that this controller opened before must fail, new ones must fail, and the processes of the
    service must hold no connection to a foreign address any more.
  - Where a machine cannot filter, RV(not_filtered) says why, and the processes there are stopped instead.
  - With O(state=absent) the service has to work inside its quarantine first, and to speak with nobody outside. Then the
    rules go, and the gateway's servers become what they were.
  - With O(scope=addresses) only addresses are kept away, at the gateway and at the service's machines; the service goes
    on.
options:
  state:
    description: V(present) closes, V(absent) opens.
    type: str
    choices: [present, absent]
    default: present
  scope:
    description: Whether the service itself is cut off, or only O(addresses) are.
    type: str
    choices: [service, addresses]
    default: service
  machines:
    description: Only the instances on these machines; all of them when it is empty.
    type: list
    elements: str
    default: []
  addresses:
    description: Networks and addresses with which nobody there speaks any more.
    type: list
    elements: str
    default: []
  confirm_within:
    description: Without a new connection within this time the rules go by themselves.
    type: str
    default: 30s
  clean_within:
    description: How long the service may take until it works inside its quarantine.
    type: str
    default: 30s
  reason:
    description: Why, for the record.
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
  - module: codeblue.recovery.network_quarantine
  - module: codeblue.recovery.gateway_switch
"""

EXAMPLES = r"""
- name: Cut the service off
  codeblue.recovery.service_quarantine:
    addresses: [203.0.113.9]
    reason: it sends data outside

- name: Give it back
  codeblue.recovery.service_quarantine:
    state: absent
"""

RETURN = r"""
machines:
  description: The machines that it is about.
  returned: success
  type: list
  elements: str
  sample: [app1, app2]
filtered:
  description: Those that filter.
  returned: when it was closed
  type: list
  elements: str
  sample: [app1, app2]
not_filtered:
  description: Why the others do not.
  returned: when it was closed
  type: dict
  sample: {}
persisted:
  description: Machine to the file that brings the rules back after a reload of its own; null when nothing does.
  returned: when the service was closed
  type: dict
  sample: {app1: /etc/nftables.d/codeblue-codeblue_records_0a1b2c3d.nft}
gateway_before:
  description: What the servers of the gateway were before.
  returned: when the service was closed
  type: dict
  sample: {app1: ready, app2: ready}
gateway:
  description: What they are again.
  returned: when the service was opened
  type: dict
  sample: {app1: ready, app2: ready}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: quarantine
    target: records
    summary: cut records off on app1, app2; 3 ways to it fail, 3 of them on connections that were open before
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "scope": {"type": "str", "choices": ["service", "addresses"], "default": "service"},
            "machines": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "confirm_within": {"type": "str", "default": "30s"},
            "clean_within": {"type": "str", "default": "30s"},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
