# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What planned rotations have in common: files of consumers read and written, and processes reloaded one machine after
the other, each without traffic while it restarts."""

from __future__ import annotations

import base64
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change, look_at_gateways
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import (
    InstanceProbe,
    probe_calls,
    probe_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import (
    KnownSecret,
    look_for_consumers,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer, Gateway, Instance

#: Options that every planned rotation takes.
INTERRUPTION: dict[str, t.Any] = {"type": "str", "choices": ["refused", "accepted"], "default": "refused"}

_READ_SECONDS = 20.0
_RESTART_SECONDS = 20.0
_LEAST_PATIENCE = 5.0
_EMPTY_SECONDS = 5.0
_PAUSE = 0.1


@dataclass(frozen=True)
class HandOver:
    """What a consumer's file is to hold.

    :param old: what it held, put back when the machine does not work with the new.
    """

    consumer: Consumer
    value: str = field(repr=False)
    old: str = field(repr=False)
    kind: str = "secret"


@dataclass(frozen=True)
class Place:
    """A process that is restarted, and the instance that it is; None when it is no service's."""

    machine: str
    consumer: Consumer
    service: Service | None = None
    instance: Instance | None = None

    @property
    def gateway(self) -> Gateway | None:
        """What sends it traffic."""
        gateway = None if self.service is None else self.service.require_host().gateway
        return gateway if gateway is not None and self.machine in gateway.servers else None


class RotationAction(StepAction):
    """Base of `session_keys_renew`, `postgresql_renew_password` and `api_keys_renew`."""

    STAGE = "rotate_secrets"

    def every_service(self) -> dict[str, Service]:
        """All services on hosts."""
        names = [str(name) for name in self._variables["groups"].get("codeblue_services", [])]
        return {name: each for name, each in self.services(names).items() if each.host is not None}

    def next_attempt(self, prefix: str) -> int:
        """The number of this attempt; what an earlier one left in doubt is closed, for its secret is lost.

        :param prefix: all steps of this rotation begin with it and end with the number of their attempt.
        """
        run = self.open_run()
        earlier = [
            step
            for step in run.store.steps(run.run_id)
            if (step.target, step.stage) == (self.target, self.STAGE) and step.action.startswith(prefix)
        ]
        attempt = 1 + max((int(step.action.rsplit("_", 1)[1]) for step in earlier), default=0)
        for step in earlier:
            if step.finished_at is None:
                lost = {"error": f"its secret is lost, attempt {attempt} replaces it"}
                run.store.finish_step(step, "failed", lost, changed=True)
        return attempt

    def done_earlier(self, action: str) -> bool:
        """This run did that step before it was cut off."""
        run = self.open_run()
        return any(
            (step.target, step.stage, step.action, step.state) == (self.target, self.STAGE, action, "done")
            for step in run.store.steps(run.run_id)
        )

    def read_files(self, consumers: Iterable[Consumer]) -> dict[tuple[str, str], str]:
        """What the files of the consumers hold, by machine and path; in memory only.

        :raises CodeblueError: one cannot be read.
        """
        places = list(dict.fromkeys((each.machine, each.secret_file) for each in consumers))
        calls = [
            MachineCall(machine, "ansible.builtin.slurp", {"src": path}, _READ_SECONDS, check_mode=True)
            for machine, path in places
        ]
        found = {}
        for place, answer in zip(places, self.look(calls), strict=True):
            text = base64.b64decode(answer.result_or_raise().get("content", "")).decode("utf-8", "replace")
            self._secrets.update(line for line in (text, *text.split()) if len(line) >= 12)
            found[place] = text
        return found

    def refuse_missing_consumers(self, known: Sequence[KnownSecret]) -> None:
        """:raises Refused: a file that no consumer names holds one of these secrets."""
        machines = [str(name) for name in self._variables["groups"].get("codeblue_machines", [])]
        usage = look_for_consumers(known, self._variables["hostvars"], machines, self.look)
        if usage.missing:
            more = f", and {len(usage.missing) - 1} more" if len(usage.missing) > 1 else ""
            raise Refused(f"{usage.missing[0]}{more}: nothing was changed", "name it as a consumer, or remove it")

    # -- reloading ---------------------------------------------------------------------------------------------

    def interrupted_by(self, consumers: Iterable[Consumer], every: Mapping[str, Service]) -> list[str]:
        """Whose restart fails requests, because nobody else serves them meanwhile."""
        states = self._gateway_states(every)
        found = []
        for place in _places(consumers, every):
            gateway = place.gateway
            others = (
                []
                if gateway is None
                else [
                    name
                    for name in gateway.servers
                    if name != place.machine and states.get(_server(gateway, name), {}).get("serves")
                ]
            )
            if not others:
                found.append(f"{place.consumer.process.unit} on {place.machine}")
        return found

    def check_interruption(
        self, consumers: Iterable[Consumer], every: Mapping[str, Service], interruption: str
    ) -> list[str]:
        """Whose restart fails requests.

        :param interruption: `accepted` when that is wanted.
        :raises Refused: somebody's does and it is not wanted.
        """
        found = self.interrupted_by(consumers, every)
        if found and interruption == "refused":
            raise Refused(
                f"{self.target}: nobody serves in place of {', '.join(found)} while it restarts: nothing was changed",
                "bring its other instances back, or accept it: -e codeblue_secrets_interruption=accepted",
            )
        return found

    def roll(
        self,
        phase: str,
        attempt: int,
        items: Sequence[HandOver],
        every: Mapping[str, Service],
        reason: str,
        proof: Callable[[], None] | None = None,
    ) -> None:
        """Write and reload, one machine after the other.

        A machine that does not work with the new gets the old back and its traffic again.

        :param proof: called after each machine; raises CodeblueError when the new does not work.
        :raises CodeblueError: a machine does not work with it.
        """
        for machine in dict.fromkeys(item.consumer.machine for item in items):
            here = [item for item in items if item.consumer.machine == machine]
            try:
                self._wave(phase, attempt, machine, [(item, item.value) for item in here], every, reason)
                if proof is not None:
                    proof()
            except Refused:
                # The gate is closed: another run has the target now, and nothing is this one's to put back.
                raise
            except CodeblueError as error:
                back = [(item, item.old) for item in here]
                self._wave(f"{phase}_back", attempt, machine, back, every, "it does not work with the new one")
                raise CodeblueError(
                    f"{error.message}; {machine} has the old one back and serves", error.hint, error.exit_code
                ) from error

    def _wave(
        self,
        phase: str,
        attempt: int,
        machine: str,
        items: Sequence[tuple[HandOver, str]],
        every: Mapping[str, Service],
        reason: str,
    ) -> None:
        places = _places([item.consumer for item, _value in items], every)
        salt = f"{phase}{attempt}"
        files: dict[str, tuple[HandOver, str]] = {item.consumer.secret_file: (item, value) for item, value in items}
        fronted = [place for place in places if self._takes_traffic(place, every)]
        self._checked(self._traffic(fronted, "drain", f"{phase}_drain", attempt, reason))
        if fronted:
            self._wait_empty(fronted)
        self._checked(
            [
                Change(
                    action=f"{phase}_write_{machine}_{number}_{attempt}",
                    machine=machine,
                    module="secret_file",
                    arguments={"path": path, "value": value, "digest_salt": self._salt(salt), "kind": item.kind},
                    decision={"file": path, "reason": reason},
                )
                for number, (path, (item, value)) in enumerate(files.items())
            ]
        )
        if places:
            self._checked([self._restart(places, f"{phase}_reload_{machine}_{attempt}", reason)])
            self._wait_well(places)
        self._checked(self._traffic(fronted, "ready", f"{phase}_ready", attempt, "it works with the new one"))

    def _salt(self, name: str) -> str:
        """Digests in results are comparable within one wave and tell nothing outside of this process."""
        import secrets

        salts: dict[str, str] = self.__dict__.setdefault("_salts", {})
        return salts.setdefault(name, secrets.token_hex(16))

    def _checked(self, changes: Sequence[Change]) -> None:
        for ended in self.changes(changes):
            ended.checked()

    def _traffic(self, places: Sequence[Place], state: str, action: str, attempt: int, reason: str) -> list[Change]:
        return [
            gateway_change(
                t.cast("Gateway", place.gateway),
                {place.machine: state},
                f"{action}_{t.cast('Service', place.service).name}_{place.machine}_{attempt}",
                None,
                reason,
            )
            for place in places
        ]

    def _restart(self, places: Sequence[Place], action: str, reason: str) -> Change:
        units: list[dict[str, t.Any]] = []
        for place in places:
            unit: dict[str, t.Any] = {**place.consumer.process.as_arguments(), "state": "restarted"}
            if place.instance is not None:
                unit["wait_for"] = {"address": place.instance.address, "port": place.instance.port}
            units.append(unit)
        return Change(
            action=action,
            machine=places[0].machine,
            module="process_state",
            arguments={"units": units, "timeout": _RESTART_SECONDS},
            decision={"units": [each["unit"] for each in units], "reason": reason},
            seconds=_RESTART_SECONDS + 10.0,
        )

    def _takes_traffic(self, place: Place, every: Mapping[str, Service]) -> bool:
        """Whether it is taken out of its gateway first: not when it was out before, or when it is alone."""
        if place.gateway is None or self.interrupted_by([place.consumer], every):
            return False
        return bool(self._gateway_states(every).get(_server(place.gateway, place.machine), {}).get("ready"))

    def _gateway_states(self, every: Mapping[str, Service]) -> dict[str, dict[str, bool]]:
        """How the gateways stood when the run began; a resumed run gives traffic back by the same."""
        if "_states" not in self.__dict__:
            if self.check_mode:
                self._states = self._look_at_gateways(every)["states"]
            else:
                kept = self.local_change("gateway_states", {}, lambda _run: self._look_at_gateways(every))
                self._states = kept["states"]
        return t.cast("dict[str, dict[str, bool]]", self._states)

    def _look_at_gateways(self, every: Mapping[str, Service]) -> dict[str, t.Any]:
        gateways = [gateway for each in every.values() if (gateway := each.require_host().gateway) is not None]
        states: dict[str, dict[str, bool]] = {}
        for answer in look_at_gateways(gateways, self.look):
            for name, seen in answer.result_or_raise()["before"].items():
                ready = seen["state"] == "ready"
                serves = ready and (not seen.get("checked") or str(seen["status"]).startswith("UP"))
                states[name] = {"ready": ready, "serves": serves}
        return {"changed": False, "states": states}

    def _wait_empty(self, places: Sequence[Place]) -> None:
        """A connection that is kept open without a request is closed by the restart; the gateway opens another."""
        deadline = time.monotonic() + _EMPTY_SECONDS
        gateways = list({each.backend: each for place in places if (each := place.gateway) is not None}.values())
        names = {_server(t.cast("Gateway", place.gateway), place.machine) for place in places}
        while True:
            answers = look_at_gateways(gateways, self.look)
            seen = {name: each for answer in answers for name, each in answer.result_or_raise()["before"].items()}
            if not any(seen[name]["sessions"] for name in names) or time.monotonic() >= deadline:
                return
            time.sleep(_PAUSE)

    def _wait_well(self, places: Sequence[Place]) -> None:
        """Until every instance answers everything that its checks ask, asked on its own machine. How soon it does says
        nothing about a secret.

        :raises CodeblueError: one does not.
        """
        asked = []
        for place in places:
            call = None if place.service is None else probe_calls(place.service, self._secrets.add).get(place.machine)
            if call is not None and place.service is not None:
                asked.append((place.service, place.machine, call))
        longest = max((patience(service) for service, _machine, _call in asked), default=0.0)
        deadline = time.monotonic() + max(_LEAST_PATIENCE, longest)
        while asked:
            answers = self.look([call for _service, _machine, call in asked])
            problems = [
                f"{service.name}: {problem}"
                for (service, machine, _call), answer in zip(asked, answers, strict=True)
                if (problem := _wrong(machine, probe_of(answer)))
            ]
            if not problems:
                return
            if time.monotonic() >= deadline:
                raise CodeblueError(f"{self.target}: after its restart {problems[0]}", "see its log there")
            time.sleep(_PAUSE)


def _wrong(machine: str, probe: InstanceProbe) -> str:
    """What an instance does not answer rightly; empty when it answers everything."""
    if probe.unknown:
        return f"{machine} could not be asked: {probe.unknown}"
    failed = {name: answered for name, answered in probe.answers.items() if not answered.ok}
    return next((f"{machine}: {name} fails ({answered.worst})" for name, answered in failed.items()), "")


def _places(consumers: Iterable[Consumer], every: Mapping[str, Service]) -> list[Place]:
    """The processes that are restarted, each once."""
    found: dict[tuple[str, t.Any], Place] = {}
    for consumer in consumers:
        if consumer.reload != "restart":
            continue
        place = Place(consumer.machine, consumer)
        for service in every.values():
            instance = service.require_host().instances.get(consumer.machine)
            if instance is not None and instance.process == consumer.process:
                place = Place(consumer.machine, consumer, service, instance)
        found.setdefault((consumer.machine, consumer.process), place)
    return list(found.values())


def _server(gateway: Gateway, name: str) -> str:
    return f"{gateway.backend}/{gateway.servers[name]}"
