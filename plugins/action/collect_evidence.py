# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes evidence from all machines of the targets before anything changes, within a fixed time."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
import zlib
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import CustodyEntry
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        LARGEST_PIECE,
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients
except ImportError:
    # StepAction says which package is missing.
    pass

# On top of the module's own time box: the connection and the start of Python.
_START_SECONDS = 5.0
# For one question to an API server: a node that does not answer for its logs does not use up the time box.
_CALL_SECONDS = 1.0
_NAME = "machine"
_FILE = "file:"


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
        store = self._store(gate, arguments)
        wanted = self._wanted()
        earlier = {machine: store.taken(machine, _NAME) for machine in wanted}
        answers = self.look(
            [
                MachineCall(
                    machine,
                    "codeblue.recovery.machine_evidence",
                    {
                        "log_files": looked_at.log_files,
                        "hashed_files": looked_at.hashed_files,
                        "units": looked_at.units,
                        "timeout": within,
                        "bytes_per_log": arguments["bytes_per_log"],
                    },
                    within + _START_SECONDS,
                )
                for machine, looked_at in wanted.items()
                if earlier[machine] is None
            ]
        )
        taken = {machine: entry for machine, entry in earlier.items() if entry is not None}
        missing = []
        for answer in answers:
            if answer.result is None:
                missing.append(answer.machine)
                why = answer.unreachable or answer.failure or "no answer"
                gate.store.record(
                    gate.run_id, "evidence", {"target": answer.machine, "name": _NAME, "summary": why[:300]}
                )
            else:
                taken[answer.machine] = self._keep(store, answer.machine, answer.result)
        missing += self._of_namespaces(gate, store, arguments, taken)
        places = "machines and namespaces" if set(taken) - set(wanted) else "machines"
        said = f"evidence of {len(taken)} {places}, {sum(len(entry.pieces) for entry in taken.values())} pieces"
        if missing:
            said += f", none of {', '.join(missing)}"
        if not arguments["recipients"]:
            said += "; only hashes are kept, because codeblue_evidence_recipients names nobody to encrypt it to"
        return {
            "evidence": [self._told(store, entry) for entry in taken.values()],
            "missing": missing,
            "codeblue": {"target": ", ".join(self.targets), "summary": said},
        }

    def _of_namespaces(
        self, gate: OpenRun, store: EvidenceStore, arguments: dict[str, t.Any], taken: dict[str, CustodyEntry]
    ) -> list[str]:
        """Evidence of services on Kubernetes, through their API servers; returns those of which none could be had.

        :param taken: what is kept is added here by the service's name.
        """
        missing = []
        for service in self.services(self.targets).values():
            place = service.kubernetes
            if place is None:
                continue
            # The official client takes half a second to import, and services on machines have no use for it.
            from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_evidence as namespaces
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
                Budget,
                KubernetesClient,
            )

            entry = store.taken(service.name, namespaces.NAMESPACE)
            if entry is None:
                budget = Budget(parse_duration(arguments["within"], "within"))
                access = ClusterAccess(place.kubeconfig, place.context)
                try:
                    client = KubernetesClient(access, budget, patience=_CALL_SECONDS)
                    found = namespaces.EvidenceCollector(client, place, arguments["bytes_per_log"]).collect()
                except CodeblueError as error:
                    missing.append(service.name)
                    fields = {"target": service.name, "name": namespaces.NAMESPACE, "summary": error.message[:300]}
                    gate.store.record(gate.run_id, "evidence", fields)
                    continue
                left_out = f"; left out: {'; '.join(found.left_out[:5])}" if found.left_out else ""
                summary = f"{len(found.pieces)} pieces of {place}{left_out}"
                pieces = [Piece(name, content) for name, content in found.pieces.items()]
                origin = f"the API server, namespace {place.namespace}"
                entry = store.keep(service.name, namespaces.NAMESPACE, pieces, origin, summary[:500])
            taken[service.name] = entry
        return missing

    @staticmethod
    def _store(gate: OpenRun, arguments: dict[str, t.Any]) -> EvidenceStore:
        recipients = arguments["recipients"]
        return EvidenceStore(
            evidence_directory(arguments["directory"]),
            gate.run_id,
            gate.store,
            Recipients.parse(recipients, "codeblue_evidence_recipients") if recipients else None,
        )

    def _wanted(self) -> dict[str, _LookedAt]:
        """What matters on which machine: logs, files with hashes, units whose processes are looked at."""
        found: dict[str, _LookedAt] = {}
        for service in self.services(self.targets).values():
            if service.host is None:
                continue
            for machine in service.host.machines():
                found.setdefault(machine, _LookedAt([], [], []))
            for instance in service.host.instances.values():
                here = found[instance.machine]
                here.log_files += [each for each in instance.log_files if each not in here.log_files]
                hashed = [*instance.config_files, *([instance.release_root] if instance.release_root else [])]
                here.hashed_files += [each for each in hashed if each not in here.hashed_files]
                here.units.append(instance.process.as_arguments())
        return found

    @staticmethod
    def _keep(store: EvidenceStore, machine: str, result: dict[str, t.Any]) -> CustodyEntry:
        """One piece for each part; the hashes of files together are one."""
        unpack = zlib.decompressobj(wbits=31)
        document = unpack.decompress(base64.b64decode(result["content"]), LARGEST_PIECE)
        summary = result["summary"]
        if not unpack.eof or hashlib.sha256(document).hexdigest() != summary["sha256"]:
            raise CodeblueError(f"the evidence of {machine} was damaged on its way")
        parts = json.loads(document)
        hashes = {name: part for name, part in parts.items() if name.startswith(_FILE)}
        whole = {name: part for name, part in parts.items() if name not in hashes}
        pieces = [Piece(name, _as_bytes(part)) for name, part in {**whole, "file_hashes": hashes}.items()]
        left_out = f"; left out: {', '.join(summary['left_out'])}" if summary["left_out"] else ""
        return store.keep(machine, _NAME, pieces, machine, f"{len(pieces)} pieces in {summary['seconds']} s{left_out}")

    @staticmethod
    def _told(store: EvidenceStore, entry: CustodyEntry) -> dict[str, t.Any]:
        """Hashes, counts and names: what may stand in a result."""
        kept = any(piece.file for piece in entry.pieces)
        return {
            "target": entry.target,
            "name": entry.name,
            "sha256": entry.sha256,
            "size_bytes": entry.size_bytes,
            "pieces": [
                {"name": piece.name, "sha256": piece.sha256, "size_bytes": piece.size_bytes} for piece in entry.pieces
            ],
            "custody_sha256": entry.digest,
            **({"location": str(store.directory), "recipients": entry.recipients} if kept else {}),
        }


@dataclass
class _LookedAt:
    """Of one machine."""

    log_files: list[str]
    hashed_files: list[str]
    units: list[dict[str, str]]


def _as_bytes(part: t.Any) -> bytes:
    """Logs as they are, everything else as JSON."""
    if isinstance(part, dict) and isinstance(part.get("tail"), str):
        return t.cast(str, part["tail"]).encode()
    return json.dumps(part, sort_keys=True, indent=1).encode()
