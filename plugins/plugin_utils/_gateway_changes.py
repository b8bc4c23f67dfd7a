# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes of a gateway's servers, as one journalled step each."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_LOOK_SECONDS = 20.0


# From what takes the least traffic to what takes the most.
_STATES = ("maint", "drain", "ready")


def gateway_looks(gateway: Gateway, names: Iterable[str] | None = None) -> list[MachineCall]:
    """Look at servers, one call for each gateway; see `gateway_answer`.

    :param names: members or instances; all of them by default.
    """
    chosen = list(gateway.servers if names is None else names)
    return [_look(each, chosen) for each in gateway.every]


def _look(gateway: Gateway, names: Iterable[str]) -> MachineCall:
    # The module wants to be told a state. In check mode it only looks.
    changes = [
        {"backend": gateway.backend, "server": gateway.servers[name], "state": "ready"}
        for name in names
        if name in gateway.servers
    ]
    return MachineCall(
        gateway.machine,
        "codeblue.recovery.haproxy_server",
        {"socket": gateway.socket, "changes": changes},
        _LOOK_SECONDS,
        check_mode=True,
    )


def gateway_answer(gateway: Gateway, answers: Sequence[MachineAnswer]) -> MachineAnswer:
    """One answer out of those of all gateways in front of a service: what servers are is `before` of it.

    Each server is as at the gateway that gives it the least traffic; sessions are counted together. Gateways that do
    not answer are left out, unless none does.

    :param answers: of `gateway_looks`, in that order.
    :returns: servers by `backend/server` of the first gateway.
    """
    if not gateway.beside:
        return answers[0]
    seen = [(each, a.result["before"]) for each, a in zip(gateway.every, answers, strict=True) if a.result is not None]
    if not seen:
        return answers[0]
    before: dict[str, t.Any] = {}
    for name, server in gateway.servers.items():
        found = [b[key] for each, b in seen if (key := f"{each.backend}/{each.servers.get(name)}") in b]
        if found:
            least = min(found, key=lambda one: (_STATES.index(str(one["state"])), str(one["status"]).startswith("UP")))
            before[f"{gateway.backend}/{server}"] = {**least, "sessions": sum(int(one["sessions"]) for one in found)}
    return MachineAnswer(gateway.machine, result={"before": before})


def look_at_gateways(
    gateways: Sequence[Gateway], look: Callable[[Sequence[MachineCall]], list[MachineAnswer]]
) -> list[MachineAnswer]:
    """The answer about each, all asked at once; see `gateway_answer`."""
    calls = [gateway_looks(each) for each in gateways]
    answers = iter(look([call for of_one in calls for call in of_one]))
    return [
        gateway_answer(each, [next(answers) for _call in of_one]) for each, of_one in zip(gateways, calls, strict=True)
    ]


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
    """Give servers states and weights, at every gateway in front of the service.

    :param wanted: member or instance to `state`, `weight` or both, as the module `haproxy_server` takes them.
    :param action: the part of the step key.
    """
    made = [
        _server_change(each, wanted, _nth(action, number), reason, target, wait_for_up, seconds)
        for number, each in enumerate(gateway.every, 1)
    ]
    return dataclasses.replace(made[0], beside=tuple(made[1:]))


def entries_change(
    gateway: Gateway,
    file: str,
    entries: Sequence[str],
    action: str,
    decision: Mapping[str, t.Any],
    state: str = "present",
) -> Change:
    """Put entries into a pattern file, or take them out, at every gateway in front of a service.

    :param file: the path of it, the same at all of them.
    :param action: the part of the step key.
    :param state: `present` or `absent`.
    """
    made = [
        Change(
            action=_nth(action, number),
            machine=each.machine,
            module="haproxy_acl",
            arguments={"socket": each.socket, "file": file, "entries": list(entries), "state": state},
            decision=decision,
        )
        for number, each in enumerate(gateway.every, 1)
    ]
    return dataclasses.replace(made[0], beside=tuple(made[1:]))


def _nth(action: str, number: int) -> str:
    """The part of the step key at the gateway with that number."""
    return action if number == 1 else f"{action}@{number}"


def _server_change(
    gateway: Gateway,
    wanted: Mapping[str, Mapping[str, t.Any]],
    action: str,
    reason: str,
    target: str | None,
    wait_for_up: bool,
    seconds: float,
) -> Change:
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
