# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a service into quarantine, proves it, and gives it back exactly."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._intrusion_looks import look_call, traces_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import Isolation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._quarantine_changes import (
    ACCEPTANCE,
    closes_egress,
    end_strays_change,
    filter_change,
    health_urls,
    refused_sources_change,
    states_before,
    stop_changes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._quarantine_proof import (
    OpenWays,
    let_through,
    newly_answered,
    ways_to,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import restart_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Changed, StepAction

_PROOF_SECONDS = 8.0
_PAUSE = 0.1
_STABLE = 3


class ActionModule(StepAction):
    """See plugins/modules/service_quarantine.py."""

    STAGE = "quarantine"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "scope": {"type": "str", "choices": ["service", "addresses"], "default": "service"},
        "machines": {"type": "list", "elements": "str", "default": []},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "confirm_within": {"type": "str", "default": "30s"},
        "clean_within": {"type": "str", "default": "30s"},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        host = service.require_host()
        if not host.instances:
            raise BadInput(f"{self.target}: only a service with instances can be put into quarantine")
        if host.isolation is None:
            raise BadInput(
                f"{self.target}: codeblue_host.isolation is missing", "name the known_networks of the site there"
            )
        self._changed = False
        unknown = [name for name in arguments["machines"] if name not in host.instances]
        if unknown:
            raise BadInput(f"{self.target}: no instance runs on {unknown[0]}", f"known: {', '.join(host.instances)}")
        machines = arguments["machines"] or list(host.instances)
        if arguments["scope"] == "addresses":
            return self._addresses(service, arguments)
        if arguments["state"] == "absent":
            return self._release(service, machines, parse_duration(arguments["clean_within"], "clean_within"))
        return self._close(service, machines, arguments)

    # -- closing -----------------------------------------------------------------------------------------------

    def _close(self, service: Service, machines: list[str], arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        host = service.require_host()
        isolation = host.isolation or Isolation()
        self._accepted(service, machines, arguments["addresses"])
        ways = ways_to(service, machines, whole=len(machines) == len(host.instances))
        confirm = parse_duration(arguments["confirm_within"], "confirm_within")
        before = self._gateway_before(service, machines)
        with OpenWays([] if self.check_mode else ways) as held:
            changes = [
                filter_change(
                    service, machine, self._lock_dir(machine), arguments["addresses"], confirm, {"gateway": before}
                )
                for machine in machines
            ]
            if host.gateway is not None:
                changes.append(
                    gateway_change(
                        host.gateway, dict.fromkeys(machines, "maint"), "gateway_maint", None, arguments["reason"]
                    )
                )
            closed = [self._note(each) for each in self.changes(changes)]
            filters = {each.change.machine: each.result for each in closed if each.change.module != "haproxy_server"}
            unfiltered = [machine for machine in machines if not filters[machine]["filtered"]]
            confirmed = [
                filter_change(service, machine, self._lock_dir(machine), state="confirmed")
                for machine in machines
                if machine not in unfiltered
            ]
            for each in self.changes(confirmed) if confirmed else []:
                self._note(each)
            if unfiltered:
                # The next best: who does not run sends nothing.
                for each in self.changes(stop_changes(service, unfiltered)):
                    self._note(each)
                for each in self.changes([end_strays_change(service, host.instances[name]) for name in unfiltered]):
                    self._note(each)
            proof = "" if self.check_mode else self._prove(service, machines, held, ways, isolation)
        said = f"cut {self.target} off on {', '.join(machines)}" + proof
        reasons = {machine: filters[machine]["not_filtered_because"] for machine in unfiltered}
        for machine, reason in reasons.items():
            said += f"; {machine} cannot filter ({reason}): its processes were stopped instead"
        if self.check_mode:
            said = f"would cut {self.target} off on {', '.join(machines)}"
        return {
            "changed": self._changed,
            "machines": machines,
            "filtered": [machine for machine in machines if machine not in unfiltered],
            "not_filtered": reasons,
            "persisted": {machine: result["after"].get("persisted_in") for machine, result in filters.items()},
            "gateway_before": before,
            "codeblue": {"summary": said},
        }

    def _accepted(self, service: Service, machines: Sequence[str], addresses: Sequence[str]) -> None:
        """Isolation of a clinical service needs a person's word, but for a lab. The data stops leaving before that.

        :raises Refused: nobody accepted it.
        """
        if self.check_mode or service.environment == "lab" or ACCEPTANCE in accepted(self.open_run(), ()):
            return
        stopped = ""
        if addresses:
            ended = self.changes(
                [
                    filter_change(service, machine, self._lock_dir(machine), addresses, only_addresses=True)
                    for machine in machines
                ]
            )
            if all(self._note(each).result["filtered"] for each in ended):
                stopped = f" The way to {', '.join(addresses[:5])} is closed meanwhile."
        raise Refused(
            f"{self.target} would be cut off from everybody, and its users with it.{stopped}",
            f"its manual fallback has to be announced first; then: --accept {ACCEPTANCE}",
        )

    def _gateway_before(self, service: Service, machines: Sequence[str]) -> dict[str, str]:
        """How each server of the gateway was before the first change of this run."""
        gateway = service.require_host().gateway
        if gateway is None:
            return {}

        def look(_run: t.Any = None) -> dict[str, t.Any]:
            return {"changed": False, "servers": states_before(gateway, machines, self.look)}

        if self.check_mode:
            return dict(look()["servers"])
        kept = self.local_change("gateway_before", {"backend": gateway.backend}, look)
        return {str(name): str(state) for name, state in kept["servers"].items()}

    def _prove(
        self, service: Service, machines: Sequence[str], held: OpenWays, ways: Sequence[t.Any], isolation: Isolation
    ) -> str:
        """What is proven, as the end of a sentence.

        :raises CodeblueError: something still comes through.
        """
        skipped = let_through(held.sources(), isolation.management)
        problem = ""
        deadline = time.monotonic() + _PROOF_SECONDS
        while True:
            through = [f"{name}, opened before" for name in held.still_answered(skipped)]
            through += newly_answered(ways, skipped)
            traces = self._traces(service, machines)
            established = [each for each in traces if each["state"] == "ESTABLISHED"]
            if not through and not established:
                break
            problem = (
                f"the service still answers by {through[0]}"
                if through
                else (f"{len(established)} connections to {established[0]['address']} are still open")
            )
            if time.monotonic() >= deadline:
                raise CodeblueError(
                    f"{self.target} is not cut off: {problem}", "close it by hand as the runbook says, and resume"
                )
            time.sleep(_PAUSE)
        proven = len(ways) - len(skipped)
        said = f"; {proven} ways to it fail, {held.count} of them on connections that were open before"
        if skipped:
            said += f"; {', '.join(skipped)} cannot be proven from here, because this controller is let through"
        self._record_proof(proven, held.count)
        return said

    def _traces(self, service: Service, machines: Sequence[str]) -> list[dict[str, t.Any]]:
        instances = service.require_host().instances
        answers = self.look([look_call(service, instances[name], 1.0, logs=False) for name in machines])
        return [connection for answer in answers for connection in answer.result_or_raise()["connections"]]

    def _record_proof(self, ways: int, held: int) -> None:
        run = self.open_run()
        run.store.record(
            run.run_id,
            "measurement",
            {"target": self.target, "name": "ways_closed", "value": ways, "summary": f"{held} opened before"},
        )

    # -- single addresses --------------------------------------------------------------------------------------

    def _addresses(self, service: Service, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Nobody at the gateway and at the service's machines speaks with these addresses any more."""
        host = service.require_host()
        fronts = host.gateway.every if host.gateway is not None else ()
        machines = list(dict.fromkeys([*(each.machine for each in fronts), *host.instances]))
        present = arguments["state"] == "present"
        if present and not arguments["addresses"]:
            raise BadInput("addresses: is missing", "name who is to be kept away")
        confirm = parse_duration(arguments["confirm_within"], "confirm_within")

        def change(machine: str, state: str) -> t.Any:
            return filter_change(
                service,
                machine,
                self._lock_dir(machine),
                arguments["addresses"],
                confirm,
                state=state,
                only_addresses=True,
            )

        ended = [
            self._note(each)
            for each in self.changes([change(each, "present" if present else "absent") for each in machines])
        ]
        results = {each.change.machine: each.result for each in ended}
        filtered = [machine for machine in machines if results[machine]["filtered"]]
        if present and filtered:
            for each in self.changes([change(machine, "confirmed") for machine in filtered]):
                self._note(each)
        at_gateway = ""
        bare = [each for each in fronts if each.machine not in filtered and each.refused_sources_file]
        if bare and arguments["addresses"]:
            # The next best: the gateway itself takes no new connection from there.
            gateway = dataclasses.replace(bare[0], beside=tuple(bare[1:]))
            self._note(self.change(refused_sources_change(gateway, arguments["addresses"], arguments["state"])))
            where = ", ".join(each.machine for each in bare)
            at_gateway = f"; the gateway on {where} {'refuses' if present else 'takes'} new connections"
        verb = "keep" if self.check_mode else "kept"
        where = ", ".join(filtered) or "no machine"
        said = f"{verb} {', '.join(arguments['addresses'][:5])} away from {where}"
        if not present:
            said = f"{'would let' if self.check_mode else 'let'} everybody in again at {where}"
        said += at_gateway
        reasons = {machine: results[machine]["not_filtered_because"] for machine in machines if machine not in filtered}
        for machine, reason in reasons.items():
            said += f"; {machine} cannot filter ({reason})"
        return {
            "changed": self._changed,
            "machines": machines,
            "filtered": filtered,
            "not_filtered": reasons,
            "codeblue": {"summary": said},
        }

    # -- opening -----------------------------------------------------------------------------------------------

    def _release(self, service: Service, machines: list[str], seconds: float) -> dict[str, t.Any]:
        host = service.require_host()
        # Where its own connections are closed, it needs those to what it depends on to show that it works.
        observed = [
            filter_change(service, machine, self._lock_dir(machine), state="observed")
            for machine in machines
            if closes_egress(service, machine)
        ]
        for each in self.changes(observed) if observed else []:
            self._note(each)
        # Where nothing could be filtered they were stopped; what runs is left alone.
        for each in self.changes(
            [restart_change(service, host.instances[name], f"run_{name}", "started") for name in machines]
        ):
            self._note(each)
        if not self.check_mode:
            self._until_clean(service, machines, seconds)
        opened = [
            self._note(each)
            for each in self.changes(
                [filter_change(service, machine, self._lock_dir(machine), state="absent") for machine in machines]
            )
        ]
        before: dict[str, str] = {}
        for each in opened:
            before |= (each.result.get("notes") or {}).get("gateway") or {}
        before = before or dict.fromkeys(machines, "ready")
        if host.gateway is not None:
            restored = self.change(gateway_change(host.gateway, before, "gateway_as_before", None, "out of quarantine"))
            self._note(restored)
        verb = "would give" if self.check_mode else "gave"
        states = ", ".join(f"{name} {state}" for name, state in before.items())
        return {
            "changed": self._changed,
            "machines": machines,
            "gateway": before,
            "codeblue": {"summary": f"{verb} {self.target} back on {', '.join(machines)}; in the gateway {states}"},
        }

    def _until_clean(self, service: Service, machines: Sequence[str], seconds: float) -> None:
        """Inside of its quarantine the service has to work, and to speak with nobody outside.

        :raises CodeblueError: it does not; it stays in quarantine.
        """
        instances = service.require_host().instances
        urls = {name: health_urls(service, instances[name]) for name in machines}
        deadline = time.monotonic() + seconds
        good = 0
        while good < _STABLE:
            answers = self.look([look_call(service, instances[name], 1.0, urls[name], logs=False) for name in machines])
            problem = _unclean({answer.machine: answer.result_or_raise() for answer in answers})
            good = 0 if problem else good + 1
            if problem and time.monotonic() >= deadline:
                raise CodeblueError(
                    f"{self.target} stays in quarantine: {problem}",
                    "find out what is wrong with it, then: codeblue run release_service",
                )
            if problem:
                time.sleep(_PAUSE)

    def _note(self, ended: Changed) -> Changed:
        ended.checked()
        if ended.result.get("changed") and not ended.earlier:
            self._changed = True
        return ended


def _unclean(results: Mapping[str, Mapping[str, t.Any]]) -> str:
    """Why it cannot be let out; empty when it can."""
    traces = traces_of(results)
    if traces.connections:
        return f"it holds connections to {', '.join(traces.peers[:5])}"
    if traces.strays:
        return f"{traces.strays} processes run from its directories and belong to no unit"
    for machine, result in results.items():
        for url, status in result["probes"].items():
            if status != 200:
                return f"{url} on {machine} answers {status}"
    return ""
