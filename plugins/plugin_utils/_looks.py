# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at everything behind the targets at once: members, gateways, processes and credentials. Changes nothing."""

from __future__ import annotations

import base64
import dataclasses
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    CheckResult,
    PlannedCheck,
    PostgresqlCheck,
    SentinelCheck,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import (
    GatewayLook,
    LoginLook,
    MemberLook,
    member_look,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_answer, gateway_looks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import (
    Batch,
    MachineAnswer,
    MachineCall,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import Machines
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostPlatform, Member, Process
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import member_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference

_COLLECTION = "codeblue.recovery."
# The look of the module itself takes 3 s at most. The rest is for the connection and the start of Python, on a
# machine that may be overloaded: taking a slow machine for a dead one does more harm than waiting.
_LOOK_SECONDS = 20.0
_LOGIN_SECONDS = 2.0
_TRIES_OF_A_FULL_SERVER = 3
_LARGEST_SECRET = 64 * 1024


@dataclass(frozen=True)
class HeldSecret(SecretReference):
    """A secret that was fetched from a machine and is in memory only. Prints as the place it came from."""

    value: str = field(default="", repr=False)

    def resolve(self) -> str:
        return self.value


@dataclass(frozen=True)
class ServiceLook:
    """What was seen of one target.

    :param statuses: member to what `postgresql_status` returned, for what only the treatment needs.
    :param units: instance to the state of its process, such as `running` or `stopped`; None when not seen.
    :param unreachable: machines that did not answer, with the reason.
    """

    members: Mapping[str, MemberLook] = field(default_factory=dict)
    statuses: Mapping[str, Mapping[str, t.Any]] = field(default_factory=dict)
    gateway: GatewayLook | None = None
    logins: tuple[LoginLook, ...] = ()
    units: Mapping[str, str | None] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Question:
    target: str
    kind: str
    name: str
    call: MachineCall


class Looks:
    """Asks the machines of the targets in one batch, while the caller does something else.

    Members and processes are asked first. Gateway and credentials matter only when a primary answers and has places
    left, and wait until that is known: an emergency is not kept waiting by questions that have nothing to do with it.

    :param hold: told every secret that was fetched, before anything can be said about it.
    """

    def __init__(self, machines: Machines, services: Mapping[str, Service], hold: Callable[[str], None]) -> None:
        self._machines = machines
        self._services = services
        self._hold = hold
        self._questions = [
            question
            for name, service in services.items()
            if service.host is not None
            for question in _first_questions(name, service.host)
        ]
        self._batch: Batch = machines.start([question.call for question in self._questions])

    def answers(self, failing: Collection[str]) -> dict[str, ServiceLook]:
        """Wait for the machines, ask what follows from their answers, and sort everything by target.

        :param failing: targets that have failing checks, or services depending on them that have.
        """
        answered = list(zip(self._questions, self._batch.answers(), strict=True))
        for _again in range(_TRIES_OF_A_FULL_SERVER):
            full = [position for position, (_question, answer) in enumerate(answered) if _is_full(answer)]
            if not full:
                break
            again = self._machines.run_all([answered[position][0].call for position in full])
            for position, answer in zip(full, again, strict=True):
                answered[position] = (answered[position][0], answer)
        further = [
            question
            for name, service in self._services.items()
            if name in failing and service.host is not None and _primary_has_places(name, answered)
            for question in _further_questions(name, service.host)
        ]
        answered += list(zip(further, self._machines.run_all([question.call for question in further]), strict=True))
        return {
            name: self._service_look(service, [(q, a) for q, a in answered if q.target == name])
            for name, service in self._services.items()
        }

    def end(self) -> None:
        """End what is still being asked; nobody wants the answers any more."""
        self._batch.end()

    def _service_look(self, service: Service, answered: Sequence[tuple[_Question, MachineAnswer]]) -> ServiceLook:
        statuses = {q.name: a.result for q, a in answered if q.kind == "member" and a.result is not None}
        members = {
            q.name: member_look(q.name, a.result, a.unreachable or (a.failure if a.result is None else None))
            for q, a in answered
            if q.kind == "member"
        }
        return ServiceLook(
            members=members,
            statuses=statuses,
            gateway=self._gateway_look(service, answered),
            logins=self._logins(service, answered),
            units={q.name: _unit_state(a) for q, a in answered if q.kind == "unit"},
            unreachable={q.call.machine: a.unreachable for q, a in answered if a.unreachable is not None},
        )

    @staticmethod
    def _gateway_look(service: Service, answered: Sequence[tuple[_Question, MachineAnswer]]) -> GatewayLook | None:
        gateway = service.require_host().gateway
        answers = [answer for question, answer in answered if question.kind == "gateway"]
        if gateway is None or not answers:
            return None
        answer = gateway_answer(gateway, answers)
        if answer.result is None:
            return GatewayLook(None if answer.unreachable else False, {})
        seen = answer.result["before"]
        return GatewayLook(
            True,
            {
                member: _server_state(seen[f"{gateway.backend}/{server}"])
                for member, server in gateway.servers.items()
                if f"{gateway.backend}/{server}" in seen
            },
        )

    def _logins(self, service: Service, answered: Sequence[tuple[_Question, MachineAnswer]]) -> tuple[LoginLook, ...]:
        """Try every consumer's own credential, on the way that clients take."""
        if not any(question.kind == "credential" for question, _answer in answered):
            return ()
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks

        way = next(
            (check for _level, check in service.checks.up_to("deep") if isinstance(check, PostgresqlCheck)), None
        )
        looks: list[LoginLook] = []
        plan: list[PlannedCheck] = []
        tried: list[tuple[str, str]] = []
        for question, answer in answered:
            if question.kind != "credential":
                continue
            role, _slash, machine = question.name.partition("/")
            if answer.result is None:
                looks.append(LoginLook(role, machine, None, answer.failure or answer.unreachable or ""))
            elif way is None:
                looks.append(LoginLook(role, machine, None, "no check tells the way that clients take"))
            else:
                text = base64.b64decode(answer.result.get("content", "")).decode("utf-8", "replace").rstrip("\r\n")
                self._hold(text)
                # Whatever else a file holds is tried as the password, and refused.
                login, secret = service.require_host().credentials[role].read(text) or (role, text)
                self._hold(secret)
                held = HeldSecret("file", f"{machine}", secret[:_LARGEST_SECRET])
                check = dataclasses.replace(
                    way, id=role, user=login, password=held, query="SELECT true", writes=False, timeout=_LOGIN_SECONDS
                )
                if isinstance(check, SentinelCheck):
                    check = _plain_login(check)
                plan.append(PlannedCheck(service.name, "deep", check))
                tried.append((role, machine))
        for (role, machine), result in zip(tried, run_checks(plan) if plan else [], strict=True):
            looks.append(LoginLook(role, machine, _accepted(result), result.detail))
        return tuple(looks)


def _plain_login(check: PostgresqlCheck) -> PostgresqlCheck:
    names = [each.name for each in dataclasses.fields(PostgresqlCheck)]
    return PostgresqlCheck(**{name: getattr(check, name) for name in names})


def _accepted(result: CheckResult) -> bool | None:
    """A refusal is one; that nobody answered says nothing about the password."""
    if result.ok:
        return True
    return False if result.error_class == "credentials_refused" else None


def _is_full(answer: MachineAnswer) -> bool:
    """Even the administrator was refused, which lasts a moment while many clients are being refused."""
    return answer.result is not None and (answer.result.get("sql") or {}).get("kind") == "too_many_connections"


def _primary_has_places(target: str, answered: Sequence[tuple[_Question, MachineAnswer]]) -> bool:
    """A primary answers and would let services in, so that something on the way to it must be wrong."""
    looks = (
        member_look(question.name, answer.result)
        for question, answer in answered
        if question.target == target and question.kind == "member" and answer.result is not None
    )
    return any(look.is_primary and look.free_for_services != 0 for look in looks)


def _first_questions(target: str, host: HostPlatform) -> list[_Question]:
    found = []
    if host.postgresql is not None:
        for name, member in host.postgresql.members.items():
            arguments = {
                **member_arguments(host.postgresql, member),
                "service_roles": list(host.postgresql.service_roles),
            }
            found.append(_question(target, "member", name, member.machine, "postgresql_status", arguments))
    for name, instance in host.instances.items():
        units = {"units": [_wish(instance.process)]}
        found.append(_question(target, "unit", name, instance.machine, "process_state", units))
    return found


def _further_questions(target: str, host: HostPlatform) -> list[_Question]:
    found = []
    if host.gateway is not None:
        found += [_Question(target, "gateway", call.machine, call) for call in gateway_looks(host.gateway)]
    for role, credential in host.credentials.items():
        for consumer in credential.consumers:
            call = MachineCall(
                consumer.machine, "ansible.builtin.slurp", {"src": consumer.secret_file}, _LOOK_SECONDS, check_mode=True
            )
            found.append(_Question(target, "credential", f"{role}/{consumer.machine}", call))
    return found


def count_commits_call(database: t.Any, member: Member, received: str) -> MachineCall:
    """Asks a silent primary's disk what was committed after the position that a standby has received."""
    return MachineCall(
        member.machine,
        _COLLECTION + "postgresql_status",
        {**member_arguments(database, member), "count_commits_after": received},
        _LOOK_SECONDS,
        check_mode=True,
    )


def _question(
    target: str, kind: str, name: str, machine: str, module: str, arguments: Mapping[str, t.Any]
) -> _Question:
    return _Question(
        target, kind, name, MachineCall(machine, _COLLECTION + module, arguments, _LOOK_SECONDS, check_mode=True)
    )


def _wish(process: Process) -> dict[str, t.Any]:
    return {**process.as_arguments(), "state": "started"}


def _unit_state(answer: MachineAnswer) -> str | None:
    if answer.result is None:
        return None
    states = list(answer.result["before"].values())
    return str(states[0].get("state")) if states else None


def _server_state(seen: Mapping[str, t.Any]) -> str:
    """`maint` and `drain` as somebody switched it, else what its health check says."""
    state = str(seen.get("state", "")).lower()
    return state if state in ("maint", "drain") else str(seen.get("status", "")).partition(" ")[0].lower()
