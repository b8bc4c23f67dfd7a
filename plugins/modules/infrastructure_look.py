#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what of the infrastructure around a service is in force on a machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: infrastructure_look
short_description: Read what of the infrastructure around a service is in force on a machine
version_added: 0.2.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Asks each HAProxy for its server states and for the files that it was started with and goes by. These are its
    configuration, patterns, maps, and certificates with their keys. Their content is not read.
  - Lists the rules of nftables without their counters, and resolves names as programs on the machine would.
  - Changes nothing and never fails as a whole. What cannot be learned is in RV(unknown).
options:
  sockets:
    description: Paths of runtime sockets of HAProxy on the machine. They need C(level admin) to list all files.
    type: list
    elements: path
    default: []
  files:
    description: Further files that belong to it, such as a saved server state.
    type: list
    elements: path
    default: []
  names:
    description: Names to resolve.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for everything together, from 0.1 to 60.
    type: float
    default: 10.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
"""

EXAMPLES = r"""
- name: Look at the gateway and at what the database's name resolves to
  codeblue.recovery.infrastructure_look:
    sockets: [/run/haproxy/admin.sock]
    files: [/var/lib/haproxy/server-state]
    names: [db.clinic.example]
"""

RETURN = r"""
files:
  description: Absolute paths of files that are there and can be read.
  returned: success
  type: list
  elements: str
  sample: [/etc/haproxy/haproxy.cfg, /etc/haproxy/login.pem, /var/lib/haproxy/server-state]
servers:
  description: By runtime socket, what C(show servers state) answers.
  returned: success
  type: dict
rules:
  description: All rules of nftables; V(null) when they are not known.
  returned: success
  type: str
names:
  description: By name, its sorted C(addresses), and the C(reason) when it has none, else V(null).
  returned: success
  type: dict
  sample: {db.clinic.example: {addresses: [10.0.0.11], reason: null}}
unknown:
  description: What could not be learned and why, one line each.
  returned: success
  type: list
  elements: str
  sample: ["nftables: only root may filter, and this is user 1000"]
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._infrastructure import (
    addresses_of,
    gateway_in_force,
    readable_files,
    rules_in_force,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Nftables

# Names get the last part of the time: a resolver may be what is broken.
_SHARE_OF_TOOLS = 0.5


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Look at all of it."""
    if not 0.1 <= params["timeout"] <= 60.0:
        raise BadInput("timeout: %g is not between 0.1 and 60" % params["timeout"])
    deadline = Deadline(params["timeout"])
    tools = deadline.within(params["timeout"] * _SHARE_OF_TOOLS)
    gateways = {path: gateway_in_force(HaproxyRuntime(path, tools)) for path in params["sockets"]}
    named = [path for gateway in gateways.values() for path in gateway.files]
    files, unknown = readable_files([*named, *params["files"]])
    unknown += ["%s: %s" % (path, line) for path, gateway in gateways.items() for line in gateway.unknown]
    rules, reason = rules_in_force(Nftables(tools))
    if reason is not None:
        unknown.append("nftables: %s" % reason)
    return {
        "files": files,
        "servers": {path: gateway.servers for path, gateway in gateways.items() if gateway.servers},
        "rules": rules,
        "names": addresses_of(params["names"], deadline),
        "unknown": unknown,
    }


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "sockets": {"type": "list", "elements": "path", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 10.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
