# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action beside every module for machines: a task of anybody's playbook passes the gate here.

Ansible takes the action of a name before the module of that name, so that the module cannot be called past it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_COLLECTION = "codeblue.recovery."
_READ_ONLY = frozenset(
    (
        "access_extract",
        "file_read_stream",
        "haproxy_statistics",
        "http_probe",
        "infrastructure_look",
        "intrusion_look",
        "machine_evidence",
        "machine_resources",
        "phi_scan",
        "postgresql_activity",
        "postgresql_integrity",
        "postgresql_login_roles",
        "postgresql_status",
        "postgresql_verify_backup",
        "reconcilers_look",
        "secret_usage",
    )
)
_SECONDS = 120.0
# Reading a whole database takes longer; their own `timeout` says how long.
_LONGEST_SECONDS = {
    "postgresql_base_backup": 3600.0,
    "postgresql_clean_point": 900.0,
    "postgresql_compare_tables": 600.0,
    "postgresql_rejoin": 600.0,
    "postgresql_replay_rows": 600.0,
    "postgresql_restore_beside": 3600.0,
    "postgresql_restore_in_place": 3600.0,
    "postgresql_verify_backup": 3600.0,
}
# Connection, start of Python and the answer, beside what the module itself may take.
_AROUND_SECONDS = 30.0


class MachineModuleAction(StepAction):
    """Runs the module of its own name on the machine that the task runs for."""

    STAGE = "module"

    def _typed_arguments(self) -> dict[str, t.Any]:
        # The module holds them against its own spec.
        return dict(self._task.args)

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        module = self._task.action.removeprefix(_COLLECTION)
        if "step" in arguments:
            raise BadInput("step: is filled in by the action", "leave it out")
        seconds = _seconds(module, arguments)
        if self._reads_only(module, arguments) or self.check_mode:
            call = MachineCall(self.target, _COLLECTION + module, arguments, seconds)
            result = self.look([call])[0].result_or_raise()
        else:
            target = self._service_of_this_machine()
            result = self.change(
                Change(
                    action=f"{module}_{self.target}_{self._task._uuid[-12:]}",
                    machine=self.target,
                    module=module,
                    arguments=arguments,
                    seconds=seconds,
                    target=target,
                )
            ).result
        return {**result, "codeblue": {"summary": f"{module} on {self.target}"}}

    @staticmethod
    def _reads_only(module: str, arguments: dict[str, t.Any]) -> bool:
        return (
            module in _READ_ONLY
            or (module in ("release_switch", "configuration_switch") and arguments.get("mode") == "list")
            or (module == "release_restore" and arguments.get("mode", "inspect") != "restore")
            or (module == "feature_flag" and not arguments.get("flags"))
            or (module == "schema_migration" and arguments.get("mode") == "status")
        )

    def _service_of_this_machine(self) -> str:
        """A service whose lease this process holds and which runs on this machine.

        :raises Refused: there is none.
        """
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity

        for lease in self.store.leases_held_by(ProcessIdentity.parent()):
            service = self.service(lease.target)
            if service.host is not None and self.target in service.host.machines():
                return lease.target
        raise Refused(
            f"no run is open for a service on {self.target} in this process: nothing was changed",
            "start the runbook whole: codeblue run RUNBOOK, or ansible-playbook codeblue.recovery.RUNBOOK",
        )


def _seconds(module: str, arguments: dict[str, t.Any]) -> float:
    """The deadline of the call: the module ends by itself before it.

    :raises BadInput: `timeout` is no number.
    """
    given = arguments.get("timeout")
    if given is None:
        return _LONGEST_SECONDS.get(module, _SECONDS) + _AROUND_SECONDS
    try:
        return max(_SECONDS, float(given)) + _AROUND_SECONDS
    except (TypeError, ValueError):
        raise BadInput(f"timeout: {given!r} is no number of seconds", "write it like 600") from None
