# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gets the gateway in front of a database to work again and lead to the primary."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_START_SECONDS = 20.0


class ActionModule(StepAction):
    """See plugins/modules/gateway_recover.py."""

    STAGE = "gateway"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {"primary": {"type": "str", "required": True}}

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        host = self.service().require_host()
        if host.gateway is None or host.postgresql is None or arguments["primary"] not in host.postgresql.members:
            raise BadInput(
                f"{self.target}: needs codeblue_host.gateway and the member {arguments['primary']!r}",
                "name the present primary",
            )
        started = self.changes([change for each in host.gateway.every for change in self._starts(each)])
        # One that starts is enough: the other ones are told of by the change that follows.
        ended = [each for each in started if each.answer.ok] or [each.checked() for each in started]
        states = {name: "ready" if name == arguments["primary"] else "maint" for name in host.gateway.servers}
        if not self.check_mode or not ended:
            reason = "clients have to reach the primary"
            ended.append(self.change(gateway_change(host.gateway, states, "lead_to_primary", reason=reason)).checked())
        where = ", ".join(each.machine for each in host.gateway.every)
        verb = "would lead" if self.check_mode else "leads"
        return {
            "changed": any(each.result.get("changed") for each in ended),
            "codeblue": {"summary": f"the gateway on {where} {verb} to {arguments['primary']}"},
        }

    def _starts(self, gateway: Gateway) -> list[Change]:
        """Starting the gateway's own process, where a service of the inventory tells which one that is."""
        names = [str(name) for name in self._variables["groups"].get("codeblue_gateways", [])]
        found = []
        for name, service in self.services(names).items():
            instance = service.host.instances.get(gateway.machine) if service.host is not None else None
            if instance is None:
                continue
            unit = {
                **instance.process.as_arguments(),
                "state": "started",
                "wait_for": {"address": instance.address, "port": instance.port},
            }
            found.append(
                Change(
                    action=f"start_{name}_{gateway.machine}",
                    machine=gateway.machine,
                    module="process_state",
                    arguments={"units": [unit], "timeout": _START_SECONDS},
                    decision={"unit": instance.process.unit, "reason": "the gateway has to run"},
                    seconds=_START_SECONDS + 10.0,
                )
            )
        return found
