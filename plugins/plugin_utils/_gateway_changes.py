# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes of a gateway's servers, as one journalled step each."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_LOOK_SECONDS = 20.0


def gateway_look(gateway: Gateway, names: Iterable[str] | None = None) -> MachineCall:
    """Look at servers; what they are is `before` of the answer, by `backend/server`.

    :param names: members or instances; all of them by default.
    """
    # The module wants to be told a state. In check mode it only looks.
    changes = [
        {"backend": gateway.backend, "server": gateway.servers[name], "state": "ready"}
        for name in (gateway.servers if names is None else names)
        if name in gateway.servers
    ]
    return MachineCall(
        gateway.machine,
        "codeblue.recovery.haproxy_server",
        {"socket": gateway.socket, "changes": changes},
        _LOOK_SECONDS,
        check_mode=True,
    )


def gateway_change(
    gateway: Gateway,
    states: Mapping[str, str],
    action: str,
    target: str | None = None,
    reason: str = "",
    wait_for_up: bool = True,
    seconds: float = 15.0,
) -> Change:
    """Put servers into the given states.

    :param states: member or instance to `ready`, `drain` or `maint`.
    :param action: the part of the step key.
    """
    wanted = {name: {"state": state} for name, state in states.items()}
    return server_changes(gateway, wanted, action, reason, target, wait_for_up, seconds)


def server_changes(
    gateway: Gateway,
    wanted: Mapping[str, Mapping[str, t.Any]],
    action: str,
    reason: str = "",
    target: str | None = None,
    wait_for_up: bool = True,
    seconds: float = 15.0,
) -> Change:
    """Give servers states and weights.

    :param wanted: member or instance to `state`, `weight` or both, as the module `haproxy_server` takes them.
    :param action: the part of the step key.
    """
    arguments: dict[str, t.Any] = {
        "socket": gateway.socket,
        "changes": [
            {"backend": gateway.backend, "server": gateway.servers[name], **each}
            for name, each in wanted.items()
            if name in gateway.servers
        ],
        "wait_for_up": wait_for_up,
        "timeout": seconds,
    }
    if gateway.state_file is not None:
        arguments["state_file"] = gateway.state_file
    return Change(
        action=action,
        machine=gateway.machine,
        module="haproxy_server",
        arguments=arguments,
        decision={"backend": gateway.backend, "servers": {k: dict(v) for k, v in wanted.items()}, "reason": reason},
        seconds=seconds + 5.0,
        target=target,
    )
