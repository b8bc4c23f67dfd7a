#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks for traces of an intrusion at a service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: intrusion_look
short_description: See with whom the processes of a service speak, and from where its users come
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Finds the processes of units, all that came out of them, and whatever else runs from O(directories), which a hidden
    process does that has left its unit.
  - Names their TCP connections, and the users in access logs, whose address is in none of O(known_networks).
  - Asks O(probe_urls) with the mark that a quarantine of C(network_quarantine) lets through. Changes nothing.
options:
  units:
    description: The units of the service.
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
        description: Path of supervisord's unix socket. Required with O(units[].manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
  directories:
    description: Where the service's programs lie.
    type: list
    elements: path
    default: []
  known_networks:
    description: Networks and addresses that belong here; everything else is foreign.
    type: list
    elements: str
    required: true
  access_logs:
    description: Access logs of JSON lines.
    type: list
    elements: path
    default: []
  access_log_names:
    description: The logs' own names of C(time), C(subject), C(client) and C(status), where they differ.
    type: dict
    default: {}
  window:
    description: How many of the last seconds of the access logs count.
    type: float
    default: 300.0
  bytes_per_log:
    description: At most so much of the end of each access log is read.
    type: int
    default: 4194304
  probe_urls:
    description: URLs with C(http) that are asked from the machine itself.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for each of O(probe_urls).
    type: float
    default: 3.0
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
  - module: codeblue.recovery.network_quarantine
"""

EXAMPLES = r"""
- name: See whether records speaks with anybody outside
  codeblue.recovery.intrusion_look:
    units: [{manager: systemd, unit: records}]
    directories: [/srv/records]
    known_networks: [10.20.0.0/16]
    access_logs: [/var/log/records/access.log]
"""

RETURN = r"""
connections:
  description: Connections of the service's processes to addresses that are not known.
  returned: success
  type: list
  elements: dict
  sample: [{address: 203.0.113.9, port: 443, state: ESTABLISHED, pid: 4711, of_unit: false}]
strays:
  description: Processes that run from the directories and that no unit knows.
  returned: success
  type: list
  elements: int
  sample: [4711]
processes:
  description: How many processes the service has.
  returned: success
  type: int
  sample: 2
callers:
  description: Users who were answered at addresses that are not known, the most frequent first.
  returned: success
  type: list
  elements: dict
  sample: [{subject: nurse7, address: 203.0.113.77, requests: 42, first: 1795225858.2, last: 1795225870.9}]
logs_unread:
  description: Access logs that could not be read, and why.
  returned: success
  type: dict
  sample: {}
probes:
  description: URL to status, or to what went wrong.
  returned: success
  type: dict
  sample: {"http://127.0.0.1:8080/health": 200}
"""

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import process_options
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import (
    foreign_callers,
    foreign_connections,
    parse_networks,
    processes_of,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_probe import marked_probe
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit

_STATUS_SECONDS = 3.0
_NAMES = {"time": "time", "subject": "subject", "client": "client", "status": "status"}


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Look once."""
    known = parse_networks(params["known_networks"], "known_networks")
    statuses = [process_unit(options).status(Deadline(_STATUS_SECONDS)) for options in params["units"]]
    processes = processes_of([each.pid for each in statuses if each.pid is not None], params["directories"])
    callers: t.List[t.Dict[str, t.Any]] = []
    unread: t.Dict[str, str] = {}
    names = {**_NAMES, **{str(key): str(value) for key, value in params["access_log_names"].items()}}
    for path in params["access_logs"]:
        try:
            callers += foreign_callers(path, known, time.time() - params["window"], params["bytes_per_log"], names)
        except OSError as error:
            unread[path] = error.strerror or "cannot be read"
    return {
        "connections": foreign_connections(processes, known),
        "strays": [each.process.pid for each in processes if not each.of_unit],
        "processes": len(processes),
        "callers": callers,
        "logs_unread": unread,
        "probes": {url: marked_probe(url, params["timeout"]) for url in params["probe_urls"]},
    }


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": process_options(),
                "required_if": [("manager", "supervisor", ["socket"])],
            },
            "directories": {"type": "list", "elements": "path", "default": []},
            "known_networks": {"type": "list", "elements": "str", "required": True},
            "access_logs": {"type": "list", "elements": "path", "default": []},
            "access_log_names": {"type": "dict", "default": {}},
            "window": {"type": "float", "default": 300.0},
            "bytes_per_log": {"type": "int", "default": 4 * 1024 * 1024},
            "probe_urls": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 3.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
