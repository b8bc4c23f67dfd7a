# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a service out of its gateway, drains it, or gives it traffic again."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction


class ActionModule(StepAction):
    """See plugins/modules/gateway_switch.py."""

    STAGE = "gateway"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "states": {"type": "dict", "required": True},
        "reason": {"type": "str", "default": ""},
        "wait_for_up": {"type": "bool", "default": True},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        gateway = self.service().require_host().gateway
        if gateway is None:
            raise BadInput(f"{self.target}: codeblue_host.gateway is missing", "name the gateway in front of it")
        states = arguments["states"]
        if set(states) == {"all"}:
            states = dict.fromkeys(gateway.servers, states["all"])
        for name, state in states.items():
            if name not in gateway.servers:
                raise BadInput(
                    f"{self.target}: {name!r} is no server of its gateway", f"known: {', '.join(gateway.servers)}"
                )
            if state not in ("ready", "drain", "maint"):
                raise BadInput(f"{self.target}: {state!r} is no state", "known: ready, drain, maint")
        key = "_".join(f"{name}_{state}" for name, state in sorted(states.items()))
        ended = self.change(
            gateway_change(gateway, states, f"switch_{key}", None, arguments["reason"], arguments["wait_for_up"])
        ).result
        verb = "would put" if self.check_mode else "put"
        return {
            "changed": bool(ended.get("changed")),
            "before": ended.get("before"),
            "after": ended.get("after"),
            "persisted": ended.get("persisted"),
            "codeblue": {"summary": f"{verb} " + ", ".join(f"{name} to {state}" for name, state in states.items())},
        }
