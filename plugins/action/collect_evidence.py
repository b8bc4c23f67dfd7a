# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes evidence from all machines of the targets before anything changes, within a fixed time."""

from __future__ import annotations

import base64
import hashlib
import os
import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction

# On top of the module's own time box: the connection and the start of Python.
_START_SECONDS = 5.0


class ActionModule(StepAction):
    """See plugins/modules/collect_evidence.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "evidence"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "within": {"type": "str", "default": "3s"},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
        "bytes_per_log": {"type": "int", "default": 65536},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        within = parse_duration(arguments["within"], "within")
        if self.check_mode:
            return {"codeblue": {"target": ", ".join(self.targets), "summary": f"would take evidence for {within:g} s"}}
        gate = self.open_run(self.targets[0])
        files = self._files()
        answers = self.look(
            [
                MachineCall(
                    machine,
                    "codeblue.recovery.machine_evidence",
                    {
                        "log_files": logs,
                        "hashed_files": hashed,
                        "timeout": within,
                        "bytes_per_log": arguments["bytes_per_log"],
                    },
                    within + _START_SECONDS,
                )
                for machine, (logs, hashed) in files.items()
            ]
        )
        kept = [self._keep(gate, answer, arguments) for answer in answers]
        missing = [answer.machine for answer in answers if answer.result is None]
        said = f"evidence of {len(kept) - len(missing)} machines"
        if missing:
            said += f", none of {', '.join(missing)}"
        if not arguments["recipients"]:
            said += "; only hashes are kept, because codeblue_evidence_recipients names nobody to encrypt it to"
        return {
            "evidence": [each for each in kept if each],
            "missing": missing,
            "codeblue": {"target": ", ".join(self.targets), "summary": said},
        }

    def _files(self) -> dict[str, tuple[list[str], list[str]]]:
        """Machine to its logs and the files whose hashes matter."""
        found: dict[str, tuple[list[str], list[str]]] = {}
        for service in self.services(self.targets).values():
            if service.host is None:
                continue
            for machine in service.host.machines():
                found.setdefault(machine, ([], []))
            for instance in service.host.instances.values():
                logs, hashed = found[instance.machine]
                logs += [each for each in instance.log_files if each not in logs]
                hashed += [each for each in instance.config_files if each not in hashed]
        return found

    def _keep(self, gate: t.Any, answer: MachineAnswer, arguments: dict[str, t.Any]) -> dict[str, t.Any] | None:
        if answer.result is None:
            why = answer.unreachable or answer.failure or "no answer"
            gate.store.record(
                gate.run_id, "evidence", {"target": answer.machine, "name": "machine", "summary": why[:300]}
            )
            return None
        content = base64.b64decode(answer.result["content"])
        fields: dict[str, t.Any] = {
            "target": answer.machine,
            "name": "machine",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
        if arguments["recipients"]:
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

            recipients = Recipients.parse(arguments["recipients"])
            place = _directory(arguments["directory"]) / gate.run_id / f"{answer.machine}.json.gz.age"
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "wb") as file:
                file.write(recipients.encrypt(content))
                file.flush()
                os.fsync(file.fileno())
            fields |= {"location": str(place), "recipients": recipients.fingerprint}
        gate.store.record(gate.run_id, "evidence", fields)
        return fields


def _directory(given: str | None) -> Path:
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "codeblue" / "evidence"
