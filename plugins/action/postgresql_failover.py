# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings a database without a primary back: starts the old one, or fences it and promotes a standby."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import format_lsn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import MemberLook, member_look
from ansible_collections.codeblue.recovery.plugins.plugin_utils._failover_choice import choose_failover
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import (
    login_arguments,
    member_arguments,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_PROBE_SECONDS = 1.0
_LOOK_SECONDS = 8.0

# StepAction says which package is missing.
with contextlib.suppress(ImportError):
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._usable import wait_until_usable


class ActionModule(StepAction):
    """See plugins/modules/postgresql_failover.py."""

    STAGE = "failover"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "accept": {"type": "list", "elements": "str", "default": []},
        "start_timeout": {"type": "float", "default": 60.0},
        "promote_timeout": {"type": "float", "default": 30.0},
        "usable_within": {"type": "float", "default": 15.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        database = service.require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "failover is for databases")
        choice = self._decided(arguments["diagnosis"].get("failover"))
        if choice["path"] == "restore":
            return {"changed": False, "path": "restore", "codeblue": {"summary": choice["reason"]}}
        if choice["path"] == "refuse":
            raise Refused(f"{self.target}: {choice['reason']}")
        if choice["path"] == "start_primary" and self._hangs(arguments["diagnosis"], choice) and not self.check_mode:
            choice = self._fence_and_look_again(service, database, choice)
        if choice["path"] == "start_primary":
            started, failure = self._start_primary(service, database, choice, arguments)
            if started is not None:
                return started
            if choice["if_that_fails"] != "promote":
                return {
                    "changed": False,
                    "path": "restore",
                    "failure": failure,
                    "codeblue": {"summary": f"{choice['primary']} cannot be started ({failure}): a snapshot is needed"},
                }
        return self._fail_over(service, database, choice, arguments)

    def _decided(self, choice: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """The decision of the first attempt, when this is a later one: nothing is decided anew in a run."""
        earlier = None if self.check_mode else self._earlier_decision()
        decided = earlier or choice
        if not decided:
            raise BadInput(f"{self.target}: the diagnosis names no failover", "run diagnose first")
        if earlier is None and not self.check_mode:
            run = self.open_run()
            run.store.record(run.run_id, "note", {"target": self.target, "text": f"decided: {decided['reason']}"})
        return decided

    def _earlier_decision(self) -> dict[str, t.Any] | None:
        run = self.open_run()
        for step in run.store.steps(run.run_id):
            if step.target == self.target and step.stage == self.STAGE and step.decision.get("choice"):
                return dict(step.decision["choice"])
        return None

    # -- a primary that hangs ----------------------------------------------------------------------------------

    @staticmethod
    def _hangs(diagnosis: dict[str, t.Any], choice: dict[str, t.Any]) -> bool:
        """Its process is there and nothing answers: it cannot be started, and its log is still being written to."""
        seen = (diagnosis.get("members") or {}).get(choice["primary"]) or {}
        return bool(seen.get("alive")) and not seen.get("answers")

    def _fence_and_look_again(
        self, service: Service, database: HostDatabase, choice: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """End the server that hangs; what its disk then says decides whether the standby has everything."""
        primary = database.members[choice["primary"]]
        self._fence(service, database, primary, choice)
        members = {name: self._member_now(database, name) for name in database.members}
        standby = members[choice["standby"]] if choice["standby"] else None
        if standby is not None and standby.received is not None:
            position = format_lsn(standby.received)
            members[primary.machine] = self._member_now(database, primary.machine, position)
        again = choose_failover(members[primary.machine], members, service.objectives.rpo, None, time.time())
        if again.path == "start_primary":
            released = {**member_arguments(database, primary), "state": "released"}
            reason = {"reason": f"fenced to be looked at; {again.reason}"}
            self.change(Change("release", primary.machine, "postgresql_fence", released, reason)).checked()
        run = self.open_run()
        run.store.record(run.run_id, "note", {"target": self.target, "text": f"decided after fencing: {again.reason}"})
        return dataclasses.asdict(again)

    def _member_now(self, database: HostDatabase, name: str, count_after: str | None = None) -> MemberLook:
        arguments = member_arguments(database, database.members[name])
        if count_after is not None:
            arguments["count_commits_after"] = count_after
        call = MachineCall(name, "codeblue.recovery.postgresql_status", arguments, _LOOK_SECONDS, check_mode=True)
        answer = self.look([call])[0]
        return member_look(name, answer.result, answer.unreachable or (answer.failure if not answer.ok else None))

    # -- the old primary again ---------------------------------------------------------------------------------

    def _start_primary(
        self, service: Service, database: HostDatabase, choice: dict[str, t.Any], arguments: dict[str, t.Any]
    ) -> tuple[dict[str, t.Any] | None, str]:
        member = database.members[choice["primary"]]
        others = [each for each in database.members.values() if each.machine != member.machine]
        gateway = service.require_host().gateway
        changes = [self._start(database, member, "start_primary", arguments["start_timeout"], choice)]
        # Standbys come up by themselves beside it, and are not waited for when they do not.
        changes += [self._start(database, each, f"start_{each.machine}", 20.0, choice) for each in others]
        ended = self.changes(changes)
        if not ended[0].answer.ok:
            return None, ended[0].answer.failure or f"{member.machine} cannot be reached: {ended[0].answer.unreachable}"
        if gateway is not None:
            states = {member.machine: "ready", **{each.machine: "maint" for each in others}}
            ended.append(
                self.change(gateway_change(gateway, states, "lead_to_primary", reason="the primary is back")).checked()
            )
        self._until_usable(service, arguments["usable_within"])
        return {
            "changed": any(each.result.get("changed") for each in ended if each.answer.ok),
            "path": "start_primary",
            "primary": member.machine,
            "lost_bytes": 0,
            "codeblue": {
                "summary": f"{self._would('started')} {member.machine} again; nothing is lost ({choice['reason']})"
            },
        }, ""

    def _start(
        self, database: HostDatabase, member: Member, action: str, seconds: float, choice: dict[str, t.Any]
    ) -> Change:
        return Change(
            action=action,
            machine=member.machine,
            module="postgresql_start",
            arguments={**member_arguments(database, member), "timeout": seconds},
            decision={"choice": choice, "reason": choice["reason"]},
            seconds=seconds + 10.0,
        )

    # -- failover ----------------------------------------------------------------------------------------------

    def _fail_over(
        self, service: Service, database: HostDatabase, choice: dict[str, t.Any], arguments: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        primary, standby = database.members[choice["primary"]], database.members[choice["standby"]]
        self._accepted(choice, arguments)
        self._fence_is_possible(database, primary, arguments["diagnosis"])
        evidence = self._fence(service, database, primary, choice)
        members = arguments["diagnosis"].get("members") or {}
        promoted = self.change(
            Change(
                action="promote",
                machine=standby.machine,
                module="postgresql_promote",
                arguments={
                    **login_arguments(database, standby),
                    "system_identifier": (members.get(standby.machine) or {}).get("system_identifier"),
                    "minimum_lsn": (arguments["diagnosis"].get("received_lsn") or {}).get(standby.machine),
                    "timeout": arguments["promote_timeout"],
                },
                decision={"choice": choice, "reason": choice["reason"], "fenced": evidence},
                seconds=arguments["promote_timeout"] + 10.0,
            )
        ).checked()
        gateway = service.require_host().gateway
        ended = [promoted]
        if gateway is not None:
            states = {standby.machine: "ready"} | {
                name: "maint" for name in database.members if name != standby.machine
            }
            ended.append(self.change(gateway_change(gateway, states, "lead_to_standby", reason="promoted")).checked())
        self._until_usable(service, arguments["usable_within"])
        return {
            "changed": any(each.result.get("changed") for each in ended) or not self.check_mode,
            "path": "promote",
            "primary": standby.machine,
            "fenced": evidence,
            "lost_bytes": choice["loss_bytes"],
            "lost_commits": choice["loss_commits"],
            "lost_seconds": choice["loss_seconds"],
            "codeblue": {"summary": f"{self._would('promoted')} {standby.machine}: {_loss(choice)}"},
        }

    def _accepted(self, choice: dict[str, t.Any], arguments: dict[str, t.Any]) -> None:
        granted = accepted(None if self.check_mode else self.open_run(), arguments["accept"])
        missing = [each for each in choice["acceptances"] if each not in granted]
        if missing:
            raise Refused(
                f"{self.target}: {choice['reason']}; with {choice['standby']} {_loss(choice)}",
                f"staff would have to enter it again; to do it all the same: --accept {missing[0]}",
            )

    def _fence_is_possible(self, database: HostDatabase, primary: Member, diagnosis: dict[str, t.Any]) -> None:
        """Refuse before the first change when nothing can prove that the old primary takes no writes."""
        silent = (diagnosis.get("unreachable") or {}).get(primary.machine)
        if silent is not None and "direct" in database.write_paths and not _port_refuses(primary):
            raise Refused(
                f"{self.target}: {primary.machine} cannot be reached ({silent}) and clients may write to it directly, "
                f"so it cannot be fenced",
                f"cut {primary.machine} off by hand (power, network), see that its port is closed, run again",
            )

    def _fence(self, service: Service, database: HostDatabase, primary: Member, choice: dict[str, t.Any]) -> list[str]:
        """Close every way to the old primary and look whether it is closed.

        :raises Refused: one of them is not.
        """
        gateway = service.require_host().gateway
        changes = [
            Change(
                action="fence",
                machine=primary.machine,
                module="postgresql_fence",
                arguments={**member_arguments(database, primary), "state": "fenced"},
                decision={"choice": choice, "reason": f"{primary.machine} must take no writes any more"},
                seconds=25.0,
            )
        ]
        if gateway is not None:
            changes.append(
                gateway_change(
                    gateway, {primary.machine: "maint"}, "close_gateway", reason="no write to the old primary"
                )
            )
        ended = self.changes(changes)
        evidence = []
        missed: t.Mapping[str, str] = {}
        if gateway is not None:
            missed = ended[1].checked().missed
            where = f" on {', '.join(each.machine for each in gateway.every if each.machine not in missed)}"
            evidence.append(f"the gateway{where if gateway.beside else ''} has {primary.machine} in maintenance")
        fenced = ended[0].answer
        if fenced.result is not None:
            if not fenced.result.get("fenced") and not self.check_mode:
                raise Refused(
                    f"{self.target}: {primary.machine} is not fenced: {_open_points(fenced.result)}",
                    "stop it by hand, then codeblue resume this run",
                )
            return [*evidence, f"{primary.machine} is stopped and would start as a standby only"]
        if fenced.unreachable is None:
            fenced.result_or_raise()
        if "direct" in database.write_paths:
            if not _port_refuses(primary):
                raise Refused(
                    f"{self.target}: {primary.machine} is silent ({fenced.unreachable}) and its port may take writes",
                    "cut it off by hand (power, network), then codeblue resume this run",
                )
            evidence.append(f"{primary.address}:{primary.port} refuses connections")
        elif gateway is None:
            raise Refused(
                f"{self.target}: {primary.machine} is silent ({fenced.unreachable}), no gateway closes the way to it",
                "cut it off by hand (power, network), then codeblue resume this run",
            )
        elif missed:
            raise Refused(
                f"{self.target}: {primary.machine} is silent ({fenced.unreachable}), and the gateway on "
                f"{', '.join(missed)} may still lead to it",
                "see that nobody reaches that gateway, or bring it back, then codeblue resume this run",
            )
        return [*evidence, f"{primary.machine} is silent, and clients reach it by the gateway only"]

    def _until_usable(self, service: Service, seconds: float) -> None:
        """Wait until the database's own checks pass on the way that clients take."""
        if not self.check_mode:
            wait_until_usable(service, seconds, "look at the gateway and at the new primary's log")

    def _would(self, verb: str) -> str:
        return {"started": "would start", "promoted": "would promote"}[verb] if self.check_mode else verb


def _port_refuses(member: Member) -> bool:
    """The port is closed. No answer is no proof: what is cut off here may be reached from elsewhere."""
    try:
        with socket.create_connection((member.address, member.port), timeout=_PROBE_SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _open_points(result: dict[str, t.Any]) -> str:
    missing = [each for each in result.get("evidence", []) if not each.get("holds")]
    return "; ".join(f"{each.get('check')}: {each.get('seen')}" for each in missing) or "no evidence"


def _loss(choice: dict[str, t.Any]) -> str:
    if choice["in_step"]:
        return "nothing is lost"
    if choice["loss_commits"] is not None:
        return f"{choice['loss_commits']} commits ({choice['loss_bytes']} bytes of log) are lost"
    if choice["loss_seconds"] is not None:
        return f"up to {choice['loss_seconds']:.1f} s of commits are lost"
    return "an unknown number of commits is lost"
