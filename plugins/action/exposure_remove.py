# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the release back that exposes patients' data, and takes the data out of the logs."""

from __future__ import annotations

import hashlib
import json
import time
import typing as t
from collections.abc import Mapping
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_exposure import scan_call
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        ClosedLogs,
        Exposure,
        breach_id_of,
        closed_logs,
        digest_key,
        policy_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure_evidence import keep_logs, kept_logs
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
        KIND,
        Candidate,
        candidate_of,
        list_call,
        restart_change,
        switch_change,
        with_releases,
    )

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_SCRUB_SECONDS = 120.0
_LOOK_SECONDS = 10.0
_HEALTHY_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_WHY = "it exposes patients' data"


class ActionModule(StepAction):
    """See plugins/modules/exposure_remove.py."""

    STAGE = "remove"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        exposure = Exposure.of(arguments["diagnosis"])
        moves = self._take_back(service, exposure) if exposure.pages or exposure.logs else {}
        scrubbed = self._scrub(service, exposure, arguments) if exposure.logs else {}
        verb = "would take back" if self.check_mode else "took back"
        said = [f"{verb} {bad} for {good} on {machine}" for machine, (bad, good) in sorted(moves.items())]
        if scrubbed and not self.check_mode:
            masked = sum(int(each["masked"]) for each in scrubbed.values())
            said.append(f"{masked} lines masked in {len(scrubbed)} logs")
        return {
            "changed": bool(moves or scrubbed),
            "taken_back": {machine: {"from": bad, "to": good} for machine, (bad, good) in moves.items()},
            "scrubbed": scrubbed,
            "codeblue": {"summary": "; ".join(said) or "no release is behind it, and no log holds anything"},
        }

    def _take_back(self, service: Service, exposure: Exposure) -> dict[str, tuple[str, str]]:
        """One instance after the other, so that the service stays up."""
        instances = with_releases(service)
        if not instances:
            raise CodeblueError(
                f"{self.target}: has no releases that could be taken back",
                "what is exposed stays closed: mend the service by hand, then run this again",
            )
        marked = set() if self.check_mode else {each.version for each in self._bad_versions()}
        moves: dict[str, tuple[str, str]] = {}
        for instance in instances:
            bad = exposure.releases.get(instance.machine)
            if bad is None:
                continue
            seen = self.look([list_call(instance)])[0].result_or_raise()
            current = str((seen.get("before") or {}).get("current"))
            if current != bad:
                # An earlier attempt switched it; whether it was restarted as well, its steps know.
                good = current
            else:
                good = self._good(instance, candidate_of(self.target, seen, marked | {bad}))
            if not self.check_mode:
                run = self.open_run()
                # Marked before the switch: a crash in between must not make the bad version look good.
                run.store.mark_bad(self.target, KIND, bad, run.run_id, _WHY)
            self._move(service, instance, bad, good)
            moves[instance.machine] = (bad, good)
        return moves

    def _bad_versions(self) -> list[t.Any]:
        return self.open_run().store.bad_versions(self.target, KIND)

    def _good(self, instance: Instance, candidate: Candidate | None) -> str:
        if candidate is None:
            raise CodeblueError(
                f"{self.target}: {instance.machine} has no earlier release that is not marked bad",
                "what is exposed stays closed: deliver a mended release, then run this again",
            )
        return candidate.good

    def _move(self, service: Service, instance: Instance, bad: str, good: str) -> None:
        gateway, machine = service.require_host().gateway, instance.machine
        fronted = gateway is not None and len(gateway.servers) > 1 and machine in gateway.servers
        steps = [
            switch_change(service, instance, bad, good, _WHY),
            restart_change(service, instance, f"restart_{machine}"),
        ]
        path = _health_path(service) if fronted else None
        if gateway is not None and fronted:
            steps.insert(0, gateway_change(gateway, {machine: "drain"}, f"drain_{machine}", reason="restarts"))
            steps.append(gateway_change(gateway, {machine: "ready"}, f"ready_{machine}", reason="restarted"))
        for step in steps:
            self.change(step).checked()
            if path is not None and step.module == "process_state" and not self.check_mode:
                self._wait_healthy(instance, path)

    def _wait_healthy(self, instance: Instance, path: str) -> None:
        """A port that takes connections is no service that works yet; what does not get there, validation names."""
        request = {"id": "health", "url": f"http://{instance.address}:{instance.port}{path}", "status": [200]}
        arguments = {"requests": [request], "count": 1, "timeout": 2.0}
        call = MachineCall(instance.machine, "codeblue.recovery.http_probe", arguments, _LOOK_SECONDS)
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while time.monotonic() < deadline:
            answer = self.look([call])[0]
            if answer.result is not None and answer.result["answers"]["health"]["right"]:
                return
            time.sleep(_PAUSE_SECONDS)

    def _scrub(
        self, service: Service, exposure: Exposure, arguments: Mapping[str, t.Any]
    ) -> dict[str, dict[str, t.Any]]:
        run_id = "RUN" if self.check_mode else self.open_run().run_id
        scrubbed: dict[str, dict[str, t.Any]] = {}
        for logs in closed_logs(exposure, run_id):
            kept = {} if self.check_mode else self._keep_again(service, logs, arguments)
            done = self.change(self._scrub_change(service, logs, kept)).result
            scrubbed.update(done.get("scrubbed") or {})
        return scrubbed

    def _keep_again(self, service: Service, logs: ClosedLogs, arguments: Mapping[str, t.Any]) -> dict[str, str]:
        """The whole originals as evidence, now that nobody writes into them any more.

        :returns: path on the machine to the digest of what was kept.
        """
        gate = self.open_run()
        paths = kept_logs(self, logs)
        if not paths:
            return {}
        if not arguments["recipients"]:
            raise BadInput(
                f"{self.target}: codeblue_evidence_recipients names nobody: the originals are not removed",
                "name an age recipient and resume the run",
            )
        store = EvidenceStore(
            evidence_directory(arguments["directory"]),
            gate.run_id,
            gate.store,
            Recipients.parse(arguments["recipients"]),
        )
        key = digest_key(breach_id_of(gate.run_id, self.target))
        self._secrets.add(key)
        # The digests first, the content second, the removal third: each step holds what it finds against the first.
        found = self.look([scan_call(policy_of(service), logs.machine, paths, key)])[0].result_or_raise()
        digests = {path: str(each["sha256"]) for path, each in found["files"].items()}
        # Named after what it holds: an attempt that was cut off may have kept less.
        name = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:12]
        keep_logs(self, store, logs, paths, f"complete_{name}")
        return digests

    def _scrub_change(self, service: Service, logs: ClosedLogs, evidence: Mapping[str, str]) -> Change:
        return Change(
            action=f"scrub_logs_{logs.name}",
            machine=logs.machine,
            module="log_scrub",
            arguments={
                **logs.arguments("scrubbed"),
                **policy_of(service).detection(),
                "evidence": dict(evidence),
                "timeout": _SCRUB_SECONDS,
            },
            decision={"logs": list(logs.logs), "reason": "patients' data does not belong into a log"},
            seconds=_SCRUB_SECONDS + 10.0,
        )


def _health_path(service: Service) -> str | None:
    """The path of the service's own deep check that asks for no more than an answer; None when it has none."""
    for check in service.checks.deep:
        if isinstance(check, HttpCheck) and check.method == "GET" and 200 in check.status and not check.headers:
            return urlsplit(check.url).path
    return None
