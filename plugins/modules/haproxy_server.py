#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches servers of HAProxy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_server
short_description: Switch HAProxy servers to ready, drain or maintenance, over restarts too
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes a list of changes over the runtime socket, in the order of the list, and waits until traffic goes that way.
  - Ends the sessions of a server that goes into maintenance.
  - Writes the runtime state into O(state_file), because HAProxy itself forgets it when it restarts, and says in
    RV(persisted) whether the configuration would read that file.
options:
  socket:
    description: Path of HAProxy's stats socket. It needs C(level admin).
    type: path
    required: true
  changes:
    description: What each server should be. Parts that are left out stay as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      backend:
        description: Name of the backend.
        type: str
        required: true
      server:
        description: Name of the server in it.
        type: str
        required: true
      state:
        description: V(ready) takes traffic, V(drain) keeps the sessions that it has, V(maint) takes none.
        type: str
        choices: [ready, drain, maint]
      weight:
        description: From 0 to 256.
        type: int
  end_sessions:
    description: End the sessions of a server that goes into maintenance.
    type: bool
    default: true
  wait_for_up:
    description: Wait until a server that was made ready passes its health checks.
    type: bool
    default: true
  state_file:
    description: Where HAProxy's C(server-state-file) lies. Without it nothing is persisted.
    type: path
  config_file:
    description: HAProxy's configuration. Taken from the running process when it is left out.
    type: path
  timeout:
    description: Seconds for everything together.
    type: float
    default: 10.0
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
"""

EXAMPLES = r"""
- name: See what sending the traffic to db2 would change
  codeblue.recovery.haproxy_server:
    socket: /run/haproxy/admin.sock
    state_file: /var/lib/haproxy/server-state
    changes:
      - {backend: patient_db, server: db1, state: maint}
      - {backend: patient_db, server: db2, state: ready}
  check_mode: true
"""

RETURN = r"""
before:
  description: State, status, weight and sessions of each server named, as C(backend/server).
  returned: success
  type: dict
  sample: {patient_db/db1: {state: ready, status: UP, weight: 1, sessions: 12, checked: true}}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {patient_db/db1: {state: maint, status: MAINT, weight: 1, sessions: 0, checked: false}}
persisted:
  description: A restarted HAProxy would come up in this state.
  returned: success
  type: bool
not_persisted_because:
  description: Why it would not.
  returned: success
  type: str
  sample: the section global has no server-state-file
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: server, server: patient_db/db1, socket: /run/haproxy/admin.sock, value: {state: maint, weight: null}}]
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

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import (
    HaproxyRuntime,
    ServerChange,
    ServerState,
    find_servers,
    loads_state_file,
    reached,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import server_left

_Servers = t.Dict[str, ServerState]


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Switch what is not so yet."""
    deadline = Deadline(params["timeout"])
    runtime = HaproxyRuntime(params["socket"], deadline)
    changes = [ServerChange(**change) for change in params["changes"]]
    found = find_servers(runtime, changes)
    before = _describe(found)
    needed = [change for change in changes if not reached(change, found[change.name], params["end_sessions"], False)]
    persists, reason = _persistence(runtime, params)
    if context.check_mode:
        wished = {change.name: _wished(change, found[change.name]) for change in changes}
        return StepOutcome(bool(needed), before, {**before, **wished}, _extra(persists, reason))
    if needed:
        context.accept(before)
        for change in needed:
            runtime.apply(change, found[change.name], params["end_sessions"])
    after, missed = _wait(runtime, changes, params, deadline)
    if params["state_file"] and (needed or context.before_first_attempt is not None):
        _write_state_file(runtime, params["state_file"])
    if missed:
        raise StepFailed(
            "HAProxy did not bring %s to where it should be within %.1f s" % (", ".join(missed), params["timeout"]),
            "look at the health checks of the backend",
            {"changed": bool(needed), "before": before, "after": _describe(after), **_extra(persists, reason)},
        )
    return StepOutcome(bool(needed), before, _describe(after), _extra(persists, reason))


def _wait(
    runtime: HaproxyRuntime, changes: t.List[ServerChange], params: t.Dict[str, t.Any], deadline: Deadline
) -> t.Tuple[_Servers, t.List[str]]:
    """The last state seen, and the servers that did not get there."""
    seen: t.List[_Servers] = []
    missed: t.List[str] = []

    def settled() -> bool:
        seen.append(find_servers(runtime, changes))
        missed[:] = [
            change.name
            for change in changes
            if not reached(change, seen[-1][change.name], params["end_sessions"], params["wait_for_up"])
        ]
        return not missed

    # The last second is kept for the state file.
    deadline.within(max(0.0, deadline.remaining() - 1.0)).wait_until(settled, 0.03)
    return seen[-1], list(missed)


def _persistence(runtime: HaproxyRuntime, params: t.Dict[str, t.Any]) -> t.Tuple[bool, str]:
    if not params["state_file"]:
        return False, "no state_file is given"
    files = [params["config_file"]] if params["config_file"] else runtime.configuration_files()
    for backend in sorted({change["backend"] for change in params["changes"]}):
        loads, reason = loads_state_file(files, params["state_file"], backend)
        if not loads:
            return False, reason
    return True, ""


def _write_state_file(runtime: HaproxyRuntime, path: str) -> None:
    try:
        status = os.stat(path)
        owner: t.Optional[t.Tuple[int, int]] = (status.st_uid, status.st_gid)
        mode = status.st_mode & 0o777
    except FileNotFoundError:
        owner, mode = None, 0o644
    write_file(path, runtime.state_for_file().encode(), mode, owner if os.geteuid() == 0 else None)


def _extra(persists: bool, reason: str) -> t.Dict[str, t.Any]:
    return {"persisted": persists, "not_persisted_because": reason or None}


def _describe(servers: _Servers) -> t.Dict[str, t.Any]:
    return {name: dict(vars(state)) for name, state in servers.items()}


def _wished(change: ServerChange, current: ServerState) -> t.Dict[str, t.Any]:
    wished = dict(vars(current))
    wished.update(
        {key: value for key, value in (("state", change.state), ("weight", change.weight)) if value is not None}
    )
    return wished


def _left(params: t.Dict[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
    wanted = [ServerChange(**change) for change in params["changes"]]
    return [server_left(params["socket"], each.name, each.state, each.weight) for each in wanted]


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "socket": {"type": "path", "required": True},
            "changes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "backend": {"type": "str", "required": True},
                    "server": {"type": "str", "required": True},
                    "state": {"type": "str", "choices": ["ready", "drain", "maint"]},
                    "weight": {"type": "int"},
                },
                "required_one_of": [("state", "weight")],
            },
            "end_sessions": {"type": "bool", "default": True},
            "wait_for_up": {"type": "bool", "default": True},
            "state_file": {"type": "path"},
            "config_file": {"type": "path"},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        leaves=_left,
    )


if __name__ == "__main__":
    main()
