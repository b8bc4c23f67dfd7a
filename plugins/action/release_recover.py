# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the instances of a service back by their release: mends it, leaves it for the one before, or starts it.

Proven on every single instance by its real use, on its own machine, before anybody is told that it works.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._health_gate import HealthGate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    KIND,
    LOOK_SECONDS,
    Candidate,
    candidate_of,
    list_call,
    restart_change,
    switch_change,
    with_releases,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed, StepAction

_RESTORE_SECONDS = 120.0
_PAUSE = 0.1
# A model is loaded before the first answer.
_LEAST_PATIENCE = 5.0


class ActionModule(StepAction):
    """See plugins/modules/release_recover.py."""

    STAGE = "release"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "way": {"type": "str", "choices": ["rollback", "restore", "restart"], "required": True},
        "reason": {"type": "str", "default": ""},
        "most": {"type": "int", "default": 3},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        way, reason = arguments["way"], arguments["reason"] or "the service did not work with it"
        self._changed = False
        said: list[str] = []
        restored: dict[str, list[str]] = {}
        rolled: list[dict[str, str]] = []
        problem = ""
        if way == "restore":
            restored, problem = self._restore(service)
            said += [f"restored {', '.join(names)} on {machine}" for machine, names in restored.items()]
        if way in ("restore", "restart") and not problem:
            problem = self._restart(service, "as_it_is", arguments["healthy_within"])
        while way == "rollback" or problem:
            if len(rolled) >= arguments["most"]:
                raise CodeblueError(f"{self.target}: {problem}, after {len(rolled)} rollbacks", "see its logs")
            rolled.append(self._roll_back(service, len(rolled) + 1, problem or reason))
            said.append(f"rolled back from {rolled[-1]['from']} to {rolled[-1]['to']}")
            problem = self._restart(service, rolled[-1]["to"], arguments["healthy_within"])
            if not problem:
                break
        proof = "every instance answers as it should, in time"
        return {
            "changed": self._changed,
            "rolled_back": rolled,
            "restored": restored,
            "codeblue": {"summary": self._summary(said or ["restarted every instance"], proof)},
        }

    # -- the release before ------------------------------------------------------------------------------------

    def _roll_back(self, service: Service, number: int, reason: str) -> dict[str, str]:
        chosen = self._choice(service, number, reason)
        if not self.check_mode:
            # Marked before the switch: a crash in between must not make the bad version look good.
            run = self.open_run()
            run.store.mark_bad(service.name, KIND, chosen["from"], run.run_id, reason[:200])
        bad, good = chosen["from"], chosen["to"]
        switches = [switch_change(service, each, bad, good, reason[:200]) for each in with_releases(service)]
        for ended in self.changes(switches):
            self._note(ended.checked())
        return chosen

    def _choice(self, service: Service, number: int, reason: str) -> dict[str, str]:
        """From which version to which, written down before the first change, so that a resumed run does not go on."""

        def choose(_run: t.Any = None) -> dict[str, t.Any]:
            candidate = self._candidate(service)
            return {"changed": False, "from": candidate.bad, "to": candidate.good}

        kept = choose() if self.check_mode else self.local_change(f"choose_{number}", {"reason": reason[:200]}, choose)
        return {"from": str(kept["from"]), "to": str(kept["to"])}

    def _candidate(self, service: Service) -> Candidate:
        marked: set[str] = set()
        if not self.check_mode:
            run = self.open_run()
            marked = {each.version for each in run.store.bad_versions(service.name, KIND)}
        instances = with_releases(service)
        answers = self.look([list_call(instance) for instance in instances])
        found = [
            candidate
            for answer in answers
            if answer.result is not None
            and (candidate := candidate_of(service.name, answer.result, marked)) is not None
        ]
        available = [set(answer.result["available"]) for answer in answers if answer.result is not None]
        for candidate in sorted(found, key=lambda each: each.deployed_at, reverse=True):
            if len(available) == len(instances) and all(candidate.good in versions for versions in available):
                return candidate
        raise CodeblueError(
            f"{self.target}: no release to go back to is on every instance, ran before and is not marked bad",
            "deploy a good release by hand; codeblue bad-version list shows what is marked",
        )

    # -- the same release, mended ------------------------------------------------------------------------------

    def _restore(self, service: Service) -> tuple[dict[str, list[str]], str]:
        """What was restored where; and why it did not work, empty when it did."""
        instances = {each.machine: each for each in with_releases(service)}
        answers = self.look([_inspect_call(instance) for instance in instances.values()])
        for answer in answers:
            if answer.result is None:
                return {}, f"{answer.machine}: {answer.failure or answer.unreachable}"
        seen = {answer.machine: answer.result for answer in answers if answer.result is not None}
        damaged = {machine: result["before"]["damaged"] for machine, result in seen.items()}
        changes = [
            Change(
                action=f"restore_{machine}",
                machine=machine,
                module="release_restore",
                arguments={
                    "release_root": instances[machine].release_root,
                    "mode": "restore",
                    "sources": list(instances[machine].release_copies),
                    "contents": self._contents(machine, instances, seen),
                },
                decision={"version": seen[machine]["before"]["version"], "files": damaged[machine][:50]},
                seconds=_RESTORE_SECONDS,
            )
            # All of them, also where nothing is damaged any more: what an earlier attempt mended is in its receipt.
            for machine in instances
        ]
        ended = [self._note(each) for each in self.changes(changes)]
        failures = [each for each in ended if each.answer.result is None]
        restored = {
            each.change.machine: sorted(each.answer.result["restored"])
            for each in ended
            if each.answer.result is not None and each.answer.result.get("restored")
        }
        if failures:
            failed = failures[0].answer
            return restored, f"{failed.machine}: {failed.failure or failed.unreachable}"
        return restored, ""

    def _contents(
        self, machine: str, instances: Mapping[str, Instance], seen: Mapping[str, Mapping[str, t.Any]]
    ) -> dict[str, str]:
        """From an instance on another machine, what has no copy on this one; the same manifest is asked for."""
        mine = seen[machine]["before"]
        missing = [name for name in mine["damaged"] if name not in seen[machine]["copies"]]
        for other, result in seen.items():
            theirs = result["before"]
            same = (theirs["version"], theirs["manifest_sha256"]) == (mine["version"], mine["manifest_sha256"])
            if not missing or other == machine or not same or set(missing) & set(theirs["damaged"]):
                continue
            arguments = {"release_root": instances[other].release_root, "mode": "read", "names": missing}
            answer = self.look([_release_call(other, arguments)])[0]
            if answer.result is not None:
                return {str(name): str(content) for name, content in answer.result["contents"].items()}
        return {}

    # -- every instance again ----------------------------------------------------------------------------------

    def _restart(self, service: Service, mark: str, given: float | None) -> str:
        """Restart all at once, for the service is out of use; why an instance still does not work, else empty."""
        instances = list(service.require_host().instances.values())
        changes = [restart_change(service, each, f"restart_{each.machine}_{mark}") for each in instances]
        ended = [self._note(each) for each in self.changes(changes)]
        failed = [each for each in ended if each.answer.result is None]
        if failed:
            answer = failed[0].answer
            return f"{answer.machine}: {answer.failure or answer.unreachable}"
        if self.check_mode:
            return ""
        gate = HealthGate(service, {service.name: service}, self.look, self._secrets.add)
        deadline = time.monotonic() + max(_LEAST_PATIENCE, patience(service, given))
        while True:
            problem = gate.instances()
            if not problem or time.monotonic() >= deadline:
                return problem
            time.sleep(_PAUSE)

    def _note(self, ended: Changed) -> Changed:
        """Remember whether anything was changed."""
        self._changed |= bool((ended.answer.result or {}).get("changed"))
        return ended

    def _summary(self, said: Sequence[str], proof: str) -> str:
        return f"would have {'; '.join(said)}" if self.check_mode else f"{'; '.join(said)}; {proof}"


def _inspect_call(instance: Instance) -> MachineCall:
    arguments = {"release_root": instance.release_root, "sources": list(instance.release_copies)}
    return _release_call(instance.machine, arguments)


def _release_call(machine: str, arguments: Mapping[str, t.Any]) -> MachineCall:
    seconds = max(LOOK_SECONDS, _RESTORE_SECONDS / 2)
    return MachineCall(machine, "codeblue.recovery.release_restore", arguments, seconds, check_mode=True)
