# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a bottleneck away: the session, the job, the source or the instance that makes a service answer late."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_performance import essential_units
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import entries_change, gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_END_SECONDS = 10.0


class ActionModule(StepAction):
    """See plugins/modules/performance_relieve.py."""

    STAGE = "relieve"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "guard": {"type": "str", "default": "60s"},
        "process_state": {"type": "str", "choices": ["limited", "stopped", "ended"], "default": "limited"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        ways: Mapping[str, Callable[[Mapping[str, t.Any], dict[str, t.Any]], tuple[Change, str]]] = {
            "end_blocker": self._end_blocker,
            "limit_process": self._limit_process,
            "refuse_source": self._refuse_source,
            "drain": self._drain,
        }
        diagnosis = arguments["diagnosis"]
        treatment = str(diagnosis.get("treatment"))
        if treatment not in ways:
            raise BadInput(
                f"{self.target}: there is no relief for {diagnosis.get('cause')!r}",
                f"the diagnosis must call for one of: {', '.join(ways)}",
            )
        change, what = ways[treatment](diagnosis, arguments)
        ended = self.change(change).result
        verb = "would have" if self.check_mode else "has"
        return {
            "changed": bool(ended.get("changed")),
            "treatment": treatment,
            "before": ended.get("before"),
            "after": ended.get("after"),
            # What the module of this change takes to go back; a gateway's is the state from before.
            "undo": ended.get("undo"),
            "codeblue": {"summary": f"{verb} {what}"},
        }

    def _end_blocker(self, diagnosis: Mapping[str, t.Any], arguments: dict[str, t.Any]) -> tuple[Change, str]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        member, session = database.members[diagnosis["member"]], diagnosis["session"]
        change = Change(
            action=f"end_session_{session['pid']}",
            machine=member.machine,
            module="postgresql_end_blocker",
            arguments={
                **login_arguments(database, member),
                **{key: session[key] for key in ("pid", "backend_start", "user")},
                "guard": arguments["guard"] or None,
                "service_roles": list(database.service_roles),
                "timeout": _END_SECONDS,
            },
            decision={"session": dict(session), "reason": "it makes others wait and waits for nobody itself"},
        )
        return change, f"ended session {session['pid']} of {session['user']} and bounded its idle transactions"

    def _limit_process(self, diagnosis: Mapping[str, t.Any], arguments: dict[str, t.Any]) -> tuple[Change, str]:
        machine, process = diagnosis["machine"], diagnosis["process"]
        everything = self.services([str(name) for name in self._variables["groups"].get("codeblue_services", [])])
        change = Change(
            action=f"limit_{machine}_{process['pid']}",
            machine=machine,
            module="process_limit",
            arguments={
                "pid": process["pid"],
                "start_ticks": process["start_ticks"],
                "state": arguments["process_state"],
                "essential_units": essential_units(machine, list(everything.values())),
                "timeout": _END_SECONDS,
            },
            decision={"process": dict(process), "reason": "it takes the processors and no service needs it"},
        )
        return change, f"{arguments['process_state']} {process['name']} (process {process['pid']}) on {machine}"

    def _refuse_source(self, diagnosis: Mapping[str, t.Any], _arguments: dict[str, t.Any]) -> tuple[Change, str]:
        gateway = self.service().require_host().gateway
        if gateway is None or gateway.refused_sources_file is None:
            raise BadInput(
                f"{self.target}: codeblue_host.gateway.refused_sources_file is missing",
                "keep the source out at the firewall",
            )
        source = str(diagnosis["source"])
        decision = {"source": source, "reason": "it holds most of the connections to the gateway"}
        change = entries_change(gateway, gateway.refused_sources_file, [source], f"refuse_{source}", decision)
        return change, f"had the gateway refuse {source}"

    def _drain(self, diagnosis: Mapping[str, t.Any], _arguments: dict[str, t.Any]) -> tuple[Change, str]:
        gateway = self.service().require_host().gateway
        if gateway is None:
            raise BadInput(f"{self.target}: codeblue_host.gateway is missing", "name the gateway in front of it")
        slow = [str(name) for name in diagnosis["instances"]]
        if not set(gateway.servers) - set(slow):
            raise BadInput(f"{self.target}: no instance would be left", "somebody has to answer, however late")
        states = dict.fromkeys(slow, "drain")
        change = gateway_change(gateway, states, f"drain_{'_'.join(slow)}", None, "it answers late, others do not")
        return change, f"drained {', '.join(slow)} in the gateway"
