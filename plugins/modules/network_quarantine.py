#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cuts a service off from the network of its machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: network_quarantine
short_description: Cut a service off from the network by a table of nftables of its own, and give it back exactly
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Loads one table of nftables as a whole. Other tables stay as they are, and their accept rules do not defeat it.
  - TCP is answered with a reset, so that connections that existed before end at their next packet.
  - Refuses rules that would close O(management_ports) or the connection that it is called over. With O(confirm_within)
    the rules go by themselves unless O(state=confirmed) comes in time over a new connection.
  - Writes down on the machine what is to be undone before the first rule, and puts the rules where the machine's own
    configuration brings them back after a reload, or has a unit of C(systemd) do so once they are confirmed.
  - What is closed by O(units) does not come back after a restart of the machine.
  - Where nothing can be filtered, which RV(filtered) says, nothing is changed and the task does not fail.
options:
  name:
    description: What is put into quarantine; a machine may hold several under different names.
    type: str
    required: true
  state:
    description: >-
      V(present) closes, V(confirmed) keeps what was closed for good, V(absent) removes the table and all that came with
      it.
    type: str
    choices: [present, confirmed, absent]
    default: present
  ports:
    description: TCP ports of this machine that nobody reaches any more.
    type: list
    elements: int
    default: []
  users:
    description: Names of users whose processes reach nobody any more. Not root.
    type: list
    elements: str
    default: []
  units:
    description: >-
      Units of systemd whose processes reach nobody any more. Needs control groups of version 2 and a unit that runs;
      RV(not_cut) names those that cannot be told from others. A unit that is restarted gets a new control group.
    type: list
    elements: str
    default: []
  peers:
    description: Networks and addresses with which nobody on this machine speaks any more, in either direction.
    type: list
    elements: str
    default: []
  allowed:
    description: Networks that O(users) and O(units) may still reach.
    type: list
    elements: str
    default: []
  management:
    description: Networks that everything stays open for.
    type: list
    elements: str
    default: []
  management_ports:
    description: Ports by which operators come in. They cannot be closed.
    type: list
    elements: int
    default: [22]
  confirm_within:
    description: Seconds after which the rules go unless they were confirmed, V(0) to keep them at once.
    type: float
    default: 0.0
  notes:
    description: What the release has to know; kept with the rules, without secrets.
    type: dict
    default: {}
  record_directory:
    description: Where it is written down what is to be undone.
    type: path
    default: /var/lib/codeblue/quarantine
  configuration_file:
    description: What the machine's nftables reads when it is reloaded.
    type: path
    default: /etc/nftables.conf
  timeout:
    description: Seconds for everything together.
    type: float
    default: 15.0
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
  - module: codeblue.recovery.service_quarantine
"""

EXAMPLES = r"""
- name: See what cutting off records would change
  codeblue.recovery.network_quarantine:
    name: records
    ports: [8080]
    users: [records]
    management: [10.20.9.0/24]
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether it was in quarantine, by which table, confirmed or not, and where the rules are kept.
  returned: success
  type: dict
  sample: {quarantined: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {quarantined: true, table: codeblue_records_0a1b2c3d, confirmed: true, persisted_in: null}
filtered:
  description: Whether this machine can filter.
  returned: success
  type: bool
  sample: true
not_filtered_because:
  description: Why it cannot.
  returned: success
  type: str
not_persisted_because:
  description: Why a reload of the machine's own rules would lose these.
  returned: success
  type: str
egress:
  description: By what the service's own connections are known, C(units), C(users) or C(peers).
  returned: success
  type: list
  elements: str
  sample: [users]
not_cut:
  description: Unit to why its own connections could not be closed. Its ports and the peers are closed all the same.
  returned: success
  type: dict
  sample: {}
refused_packets:
  description: How many packets the table has refused so far.
  returned: success
  type: int
  sample: 211
notes:
  description: What was given when it was closed.
  returned: success
  type: dict
  sample: {}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: table, table: codeblue_records_0a1b2c3d, value: true}]
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

from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import table_left
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine_of_service import ServiceQuarantine


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Close, confirm or open."""
    return ServiceQuarantine(params).perform(context)


def _left(params: t.Dict[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
    quarantine = ServiceQuarantine(params)
    if quarantine.unusable is not None:
        return []
    return [table_left(quarantine.table, params["state"] != "absent")]


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "confirmed", "absent"], "default": "present"},
            "ports": {"type": "list", "elements": "int", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "peers": {"type": "list", "elements": "str", "default": []},
            "allowed": {"type": "list", "elements": "str", "default": []},
            "management": {"type": "list", "elements": "str", "default": []},
            "management_ports": {"type": "list", "elements": "int", "default": [22]},
            "confirm_within": {"type": "float", "default": 0.0},
            "notes": {"type": "dict", "default": {}},
            "record_directory": {"type": "path", "default": "/var/lib/codeblue/quarantine"},
            "configuration_file": {"type": "path", "default": "/etc/nftables.conf"},
            "timeout": {"type": "float", "default": 15.0},
        },
        perform,
        leaves=_left,
    )


if __name__ == "__main__":
    main()
