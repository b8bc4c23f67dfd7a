#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what HAProxy has counted for backends."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_statistics
short_description: Read what HAProxy has counted for backends
version_added: 0.2.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads the counters of backends over the runtime socket. How often requests failed within a time follows from two
    readings.
  - Changes nothing. The socket's C(level user) is enough.
options:
  socket:
    description: Path of the runtime socket on the machine.
    type: path
    required: true
  backends:
    description: Which backends.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds for the answer, from 0.1 to 60.
    type: float
    default: 2.0
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
- name: Read the counters of the records service
  codeblue.recovery.haproxy_statistics:
    socket: /run/haproxy/admin.sock
    backends: [records]
"""

RETURN = r"""
backends:
  description:
    - By name, what was counted since HAProxy was started. C(errors) are those of the C(requests) that ended in a 5xx of
      a server or of HAProxy itself. In C(mode) tcp these are connections that failed, and sessions.
    - C(response) is HAProxy's moving average over the last 1,024 answers in seconds, V(null) where it measures none;
      C(queued) how many requests wait for a place.
  returned: success
  type: dict
  sample: {records: {mode: http, requests: 120442, errors: 17, response: 0.012, queued: 0}}
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Read the counters."""
    if not 0.1 <= params["timeout"] <= 60.0:
        raise BadInput("timeout: %g is not between 0.1 and 60" % params["timeout"])
    found = HaproxyRuntime(params["socket"], Deadline(params["timeout"])).backends()
    missing = [name for name in params["backends"] if name not in found]
    if missing:
        raise BadInput(
            "HAProxy knows no backend %s" % ", ".join(missing), "it knows %s" % (", ".join(sorted(found)) or "none")
        )
    return {"backends": {name: vars(found[name]) for name in params["backends"]}}


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "socket": {"type": "path", "required": True},
            "backends": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "float", "default": 2.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
