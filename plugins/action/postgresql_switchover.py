# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a standby the primary and the primary a standby, while both work, and loses no write."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import (
    BadInput,
    CodeblueError,
    NotLeftSafe,
    Refused,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import (
    login_arguments,
    member_arguments,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import Members, find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rejoin_changes import slot_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed, StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._switchover_changes import (
    BACK,
    LEAD,
    STOP,
    Switch,
    SwitchChanges,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._switchover_choice import (
    SwitchoverChoice,
    SwitchoverLimits,
    choose_switchover,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._switchover_result import (
    seconds_between,
    switchover_result,
)

# StepAction says which package is missing.
with contextlib.suppress(ImportError):
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import PlannedCheck, plan_checks
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._usable import wait_until_usable
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._write_outage import (
        WriteOutageMeter,
        writing_checks,
    )

_COLLECTION = "codeblue.recovery."
_LOOK_SECONDS = 20.0
# For the log that is written while the other members follow.
_LEAST_FREE_BYTES = 512 * 1024 * 1024
_STREAM_SECONDS = 15.0
_WRITE_SECONDS = 5.0
_BY_HAND = "codeblue run database_connection_failure"


class ActionModule(StepAction):
    """See plugins/modules/postgresql_switchover.py."""

    STAGE = "switchover"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "to": {"type": "str"},
        "lag_bytes": {"type": "int", "default": 16777216},
        "transaction_seconds": {"type": "float", "default": 30.0},
        "slot_prefix": {"type": "str", "default": "standby_"},
        "checkpoint_timeout": {"type": "float", "default": 300.0},
        "stop_timeout": {"type": "float", "default": 30.0},
        "promote_timeout": {"type": "float", "default": 30.0},
        "rejoin_timeout": {"type": "float", "default": 120.0},
        "start_timeout": {"type": "float", "default": 60.0},
        "usable_within": {"type": "float", "default": 15.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        host = service.require_host()
        if host.postgresql is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "a switchover is for databases")
        if host.postgresql.replication_user is None:
            raise BadInput(f"{self.target}: codeblue_host.postgresql.replication_user is missing", "name the role")
        tried = writing_checks(plan_checks({self.target: service.checks}, "deep"))
        if not tried:
            raise BadInput(
                f"{self.target}: codeblue_checks names no check that writes",
                "add one with writes: true, or of type sentinel: the outage is measured by it",
            )
        self._host_database, self._gateway = host.postgresql, host.gateway
        earlier = None if self.check_mode else self._earlier_switch()
        if earlier is not None:
            return self._resumed(service, earlier, arguments)
        choice, switch = self._decide(arguments, tried)
        if switch is None:
            return choice
        if self.check_mode:
            return self._plan(switch, choice, arguments)
        meter = WriteOutageMeter(tried, self._longest_seconds(arguments))
        try:
            ended = self._switch_over(service, switch, arguments)
            outage = meter.measured()
        finally:
            meter.end()
        return switchover_result(switch, ended, outage.seconds, "from outside")

    # -- before anything changes -------------------------------------------------------------------------------

    def _decide(
        self, arguments: dict[str, t.Any], tried: Sequence[PlannedCheck]
    ) -> tuple[dict[str, t.Any], Switch | None]:
        """What is to be done, looked at twice: a checkpoint lies between, and may take minutes."""
        members, choice, before = self._looked(arguments, arguments["to"])
        if choice is None:
            primary = members.primary.machine
            return {"primary": primary, "codeblue": {"summary": f"{primary} is the primary already"}}, None
        self._require_writes(tried)
        if not self.check_mode:
            self.change(self._checkpoint(members.primary, arguments["checkpoint_timeout"])).checked()
            members, choice, before = self._looked(arguments, choice.new)
            if choice is None:
                raise Refused(f"{self.target}: another member became the primary meanwhile", "run it again")
        slots = {name: slot_of(members.status(choice.new), name, arguments["slot_prefix"]) for name in choice.followers}
        switch = Switch(choice.old, choice.new, choice.system_identifier, choice.followers, slots, before)
        return {"lag_bytes": choice.lag_bytes, "left_behind": list(choice.left_behind)}, switch

    def _require_writes(self, tried: Sequence[PlannedCheck]) -> None:
        failing: list[str] = []

        def work() -> bool:
            failing[:] = [f"{each.id} fails ({each.error_class})" for each in run_checks(tried) if not each.ok]
            return not failing

        if not Deadline(_WRITE_SECONDS).wait_until(work, 0.2):
            raise Refused(
                f"{self.target}: writes do not work now: {', '.join(failing)}", f"this mends nothing: {_BY_HAND}"
            )

    def _members(self) -> Members:
        """Asked again before it is refused: a machine under load may answer late, and nothing is urgent yet."""
        try:
            return find_primary(self.target, self._host_database, self.look)
        except Refused:
            return find_primary(self.target, self._host_database, self.look)

    def _looked(
        self, arguments: dict[str, t.Any], wanted: str | None
    ) -> tuple[Members, SwitchoverChoice | None, dict[str, str]]:
        """The members, the choice, and the gateway's servers; no choice when `wanted` is the primary already."""
        members = self._members()
        if wanted == members.primary.machine:
            return members, None, {}
        limits = SwitchoverLimits(arguments["lag_bytes"], arguments["transaction_seconds"])
        choice = choose_switchover(self.target, members, wanted, limits)
        return members, choice, self._gateway_and_disk(choice)

    def _gateway_and_disk(self, choice: SwitchoverChoice) -> dict[str, str]:
        """The states of the gateway's servers, by member.

        :raises Refused: the gateway does not answer or would forget the switch, or the disk is nearly full.
        """
        new = self._host_database.members[choice.new]
        disk = {"disks": [new.data_dir], "seconds": 0.1, "most": 1}
        calls = [MachineCall(new.machine, f"{_COLLECTION}machine_resources", disk, _LOOK_SECONDS, check_mode=True)]
        bare = Switch(choice.old, choice.new, choice.system_identifier, (), {}, {})
        lead = SwitchChanges(self._host_database, self._gateway, bare, "").lead()
        for change in (each for one in lead for each in one.every):
            module = f"{_COLLECTION}{change.module}"
            calls.append(MachineCall(change.machine, module, change.arguments, _LOOK_SECONDS, check_mode=True))
        answers = self.look(calls)
        free = int(answers[0].result_or_raise()["disks"][0]["available_bytes"])
        if free < _LEAST_FREE_BYTES:
            raise Refused(
                f"{self.target}: {choice.new} has {free >> 20} MB free below {new.data_dir}", "make room first"
            )
        if self._gateway is None:
            return {}
        # A switchover is planned, and waits for a gateway that does not answer: all of them have to follow.
        found = [self._servers_of(each, answer) for each, answer in zip(self._gateway.every, answers[1:], strict=True)]
        return found[0]

    def _servers_of(self, gateway: Gateway, answer: MachineAnswer) -> dict[str, str]:
        if answer.result is None:
            raise Refused(
                f"{self.target}: the gateway on {gateway.machine} cannot be switched: "
                f"{answer.unreachable or answer.failure}",
                "bring the gateway back first",
            )
        if not answer.result.get("persisted"):
            raise Refused(
                f"{self.target}: a restart of HAProxy on {gateway.machine} would undo the switch: "
                f"{answer.result.get('not_persisted_because')}",
                "see codeblue_host.gateway.state_file",
            )
        before = answer.result["before"]
        return {name: str(before[f"{gateway.backend}/{server}"]["state"]) for name, server in gateway.servers.items()}

    def _checkpoint(self, primary: Member, seconds: float) -> Change:
        return Change(
            action="checkpoint",
            machine=primary.machine,
            module="postgresql_checkpoint",
            arguments={**login_arguments(self._host_database, primary), "timeout": seconds},
            decision={"reason": "what memory holds is written before writes are held, not while"},
            seconds=seconds + 10.0,
        )

    def _plan(self, switch: Switch, found: dict[str, t.Any], arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        make = self._make(switch, arguments)
        stop = make.stop(arguments["stop_timeout"])
        ended = self.changes([stop, *make.hold(), make.promote(None, arguments["promote_timeout"]), *make.lead()])
        for each in ended:
            each.checked()
        # The old primary still runs as one, and would refuse to say how it follows.
        self._planned += [f"{each.action} on {each.machine}" for each in make.rejoin(arguments["rejoin_timeout"])]
        return {
            "changed": True,
            "primary": switch.new,
            "former_primary": switch.old,
            **found,
            "codeblue": {
                "summary": f"would make {switch.new} the primary instead of {switch.old}; {switch.new} is "
                f"{found['lag_bytes']} bytes behind"
            },
        }

    # -- the switch --------------------------------------------------------------------------------------------

    def _switch_over(self, service: Service, switch: Switch, arguments: dict[str, t.Any]) -> list[Changed]:
        make = self._make(switch, arguments)
        stopped, *held = self.changes([make.stop(arguments["stop_timeout"]), *make.hold()])
        reason = next((self._why_not(each) for each in held if not each.answer.ok), None) or self._not_stopped(stopped)
        if reason is None and stopped.earlier:
            reason = self._writes_again(make.old)
        if reason is not None:
            self._go_back(service, switch, reason, arguments)
        log = stopped.result["log"]
        promoted = self.change(make.promote(str(log["end_lsn"]), arguments["promote_timeout"]))
        if not promoted.answer.ok:
            self._not_promoted(service, switch, promoted, arguments)
        try:
            led = [self.change(each).checked() for each in make.lead()]
            joined = self.changes(make.rejoin(arguments["rejoin_timeout"]))
            # After the others follow: commits may wait for one of them.
            wait_until_usable(service, arguments["usable_within"], f"see the gateway and the log of {switch.new}")
        except CodeblueError as error:
            raise NotLeftSafe(
                f"{self.target}: {switch.new} is the primary, and clients do not reach it: {error.message}",
                f"bring the gateway back, then {_BY_HAND}",
            ) from error
        self._all_follow(switch, joined)
        return [stopped, *held, promoted, *led, *joined]

    def _make(self, switch: Switch, arguments: dict[str, t.Any]) -> SwitchChanges:
        return SwitchChanges(self._host_database, self._gateway, switch, arguments["slot_prefix"])

    @staticmethod
    def _why_not(changed: Changed) -> str:
        return f"{changed.change.machine}: {changed.answer.failure or changed.answer.unreachable}"

    def _not_stopped(self, stopped: Changed) -> str | None:
        """Why the old primary's log cannot be taken for complete, or None."""
        machine = stopped.change.machine
        if not stopped.answer.ok:
            return self._why_not(stopped)
        log = stopped.result.get("log")
        if not stopped.result.get("fenced") or not log:
            return f"{machine} does not stop"
        if log.get("error"):
            return f"how {machine} ended cannot be read: {log['error']}"
        return None if log.get("clean") else f"{machine} did not shut down in order in time"

    def _writes_again(self, old: Member) -> str | None:
        """Whether somebody has started the old primary since an earlier attempt of this run stopped it."""
        status = self._look_at(old).result or {}
        writes = (status.get("sql") or {}).get("answers") and status.get("in_recovery") is False
        return f"{old.machine} was started again as a primary" if writes and not self._was_promoted() else None

    def _was_promoted(self) -> bool:
        return any(step.action == "promote_new" and step.outcome == "ok" for step in self._steps())

    def _not_promoted(
        self, service: Service, switch: Switch, promoted: Changed, arguments: dict[str, t.Any]
    ) -> t.NoReturn:
        """Go back when the standby is certainly none, or can be written to by nobody."""
        answer = promoted.answer
        refused = answer.unreachable is None and (answer.failed_result or {}).get("accepted_at") is None
        only_by_gateway = self._gateway is not None and "direct" not in self._host_database.write_paths
        if refused or (answer.unreachable is not None and only_by_gateway):
            self._go_back(service, switch, self._why_not(promoted), arguments)
        raise NotLeftSafe(
            f"{self.target}: whether {switch.new} is the primary is not known ({self._why_not(promoted)}), so "
            f"{switch.old} stays stopped",
            f"look at the log of {switch.new}; when it is back: {_BY_HAND}",
        )

    def _all_follow(self, switch: Switch, joined: Sequence[Changed]) -> None:
        """Every member that streamed before streams from the new primary.

        :raises CodeblueError: one does not; the service works all the same.
        """
        failed = [self._why_not(each) for each in joined if not each.answer.ok]
        away: list[str] = list(switch.followers)

        def settled() -> bool:
            members = self._members()
            if members.primary.machine != switch.new:
                raise NotLeftSafe(f"{self.target}: {members.primary.machine} is the primary", "look who changed that")
            away[:] = [name for name in switch.followers if not members.streams(name)]
            return not away

        if not failed and Deadline(_STREAM_SECONDS).wait_until(settled, 0.2):
            return
        raise CodeblueError(
            f"{self.target}: {switch.new} is the primary and takes writes; "
            f"{', '.join(failed) or ', '.join(away)} does not follow it",
            "bring it back: codeblue run database_rejoin",
        )

    # -- the way back ------------------------------------------------------------------------------------------

    def _go_back(self, service: Service, switch: Switch, reason: str, arguments: dict[str, t.Any]) -> t.NoReturn:
        """The old primary takes writes again, and the gateway is as before.

        :raises CodeblueError: always; exit code 1 when that worked.
        """
        make = self._make(switch, arguments)
        try:
            self.change(make.back_release(reason)).checked()
            self.change(make.back_start(arguments["start_timeout"])).checked()
            for each in make.back_gateway():
                self.change(each).checked()
            primary = self._members().primary.machine
            if primary != switch.old:
                raise CodeblueError(f"{primary} is the primary")
            wait_until_usable(service, arguments["usable_within"], f"see the gateway and the log of {switch.old}")
        except CodeblueError as error:
            raise NotLeftSafe(
                f"{self.target}: not switched over ({reason}), and {switch.old} is not back: {error.message}", _BY_HAND
            ) from error
        raise CodeblueError(
            f"{self.target}: not switched over: {reason}; {switch.old} is the primary as before",
            "mend that, then run it again",
        )

    # -- resumed -----------------------------------------------------------------------------------------------

    def _steps(self) -> list[t.Any]:
        run = self.open_run()
        return [step for step in run.store.steps(run.run_id) if step.target == self.target and step.stage == self.STAGE]

    def _earlier_switch(self) -> Switch | None:
        """What an earlier attempt of this run had begun."""
        return next((Switch.from_decision(step.decision) for step in self._steps() if step.action == STOP), None)

    def _resumed(self, service: Service, switch: Switch, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        back = next((step for step in self._steps() if step.action.startswith(BACK)), None)
        if back is not None:
            self._go_back(service, switch, str(back.decision.get("reason") or "it was interrupted"), arguments)
        ended = self._switch_over(service, switch, arguments)
        steps = {step.action: step for step in self._steps()}
        began, last = steps[STOP], steps[LEAD if LEAD in steps else "promote_new"]
        outage = seconds_between(began.started_at, last.finished_at)
        return switchover_result(switch, ended, outage, "by the journal")

    # -- pieces ------------------------------------------------------------------------------------------------

    def _longest_seconds(self, arguments: Mapping[str, t.Any]) -> float:
        """Beyond the sum of everything that is waited for."""
        bounds = ("stop_timeout", "promote_timeout", "rejoin_timeout", "start_timeout", "usable_within")
        return sum(float(arguments[name]) for name in bounds) + 300.0

    def _look_at(self, member: Member) -> MachineAnswer:
        arguments = member_arguments(self._host_database, member)
        module = f"{_COLLECTION}postgresql_status"
        return self.look([MachineCall(member.machine, module, arguments, _LOOK_SECONDS, check_mode=True)])[0]
