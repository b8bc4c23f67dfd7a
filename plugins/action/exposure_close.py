# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes what exposes patients' data: pages at the gateway, logs on the machines. Nothing else is waited for."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        ClosedLogs,
        Exposure,
        closed_logs,
        policy_of,
        shipping_changes,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import (
        entries_change,
        gateway_change,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_STOP_SECONDS = 20.0
_CLOSE_SECONDS = 30.0


class ActionModule(StepAction):
    """See plugins/modules/exposure_close.py."""

    STAGE = "contain"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {"diagnosis": {"type": "dict", "required": True}}

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        policy_of(service)
        exposure = Exposure.of(arguments["diagnosis"])
        logs = closed_logs(exposure, "RUN" if self.check_mode else self.open_run().run_id)
        how, pages = self._close_pages(service, exposure)
        shipping = shipping_changes(policy_of(service), exposure.logs, "held")
        # All at once: what is sent until then is sent.
        done = self.changes([*pages, *(_close_logs(each) for each in logs), *shipping])
        for each in done:
            each.checked()
        said = [how] if exposure.pages else []
        said += [f"logs on {', '.join(sorted(exposure.logs))} kept closed"] if logs else []
        said += ["logs are not sent anywhere"] if shipping else []
        verb = "would be closed" if self.check_mode else "closed"
        return {
            "changed": any(bool(each.result.get("changed")) for each in done),
            "pages": list(exposure.pages),
            "service_off": how.startswith("the service"),
            "codeblue": {"summary": f"{verb}: {'; '.join(said)}" if said else "nothing is open that could be closed"},
        }

    def _close_pages(self, service: Service, exposure: Exposure) -> tuple[str, list[Change]]:
        """By the narrowest way that the site has: the pages, else the service at its gateway, else its processes."""
        if not exposure.pages:
            return "", []
        host, policy = service.require_host(), policy_of(service)
        reason = "patients' data is given to callers without a credential"
        if host.gateway is not None and policy.blocked_paths_file is not None:
            return f"{', '.join(exposure.pages)} refused at the gateway", [
                entries_change(
                    host.gateway,
                    policy.blocked_paths_file,
                    exposure.pages,
                    "block_pages",
                    {"pages": list(exposure.pages), "reason": reason},
                )
            ]
        if host.gateway is not None:
            states = dict.fromkeys(host.gateway.servers, "maint")
            return "the service is off at its gateway", [
                gateway_change(host.gateway, states, "take_off_the_gateway", reason=reason, wait_for_up=False)
            ]
        return "the service is stopped, because nothing stands before it", [
            Change(
                action=f"stop_{machine}",
                machine=machine,
                module="process_state",
                arguments={
                    "units": [{**instance.process.as_arguments(), "state": "held"}],
                    "timeout": _STOP_SECONDS,
                },
                decision={"unit": instance.process.unit, "reason": reason},
                seconds=_STOP_SECONDS + 10.0,
            )
            for machine, instance in host.instances.items()
        ]


def _close_logs(logs: ClosedLogs) -> Change:
    return Change(
        action=f"close_logs_{logs.name}",
        machine=logs.machine,
        module="log_scrub",
        arguments=logs.arguments("closed"),
        decision={"logs": list(logs.logs), "protected": logs.directory, "reason": "they hold patients' data"},
        seconds=_CLOSE_SECONDS,
    )
