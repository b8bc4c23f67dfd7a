# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the evidence of an exposure on Kubernetes, counts whom it concerns, and starts the clocks of a breach."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_opening import (
        Closed,
        Extent,
        end_of_the_last,
        open_breach,
        told,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        breach_id_of,
        digest_key,
        policy_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_evidence import (
        NAMESPACE,
        EvidenceCollector,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure import ClusterExposure
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_pod_logs import LogScan, PodLogs
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_LOGS = "pod_logs"
# Of the manifests beside them, the ends of logs are not needed once more.
_BYTES_PER_LOG = 65536


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_exposure_record.py."""

    STAGE = "record"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        exposure = ClusterExposure.of(arguments["diagnosis"])
        if self.check_mode:
            return {"codeblue": {"summary": "would keep the evidence, count whom it concerns, and start the clocks"}}
        gate = self.open_run()
        if not arguments["recipients"]:
            raise BadInput(
                f"{self.target}: codeblue_evidence_recipients names nobody: logs cannot be kept as evidence",
                "name an age recipient and resume the run; until then the pods and their logs stay",
            )
        recipients = Recipients.parse(arguments["recipients"], "codeblue_evidence_recipients")
        evidence = EvidenceStore(evidence_directory(arguments["directory"]), gate.run_id, gate.store, recipients)
        breach_id = breach_id_of(gate.run_id, self.target)
        earlier = gate.store.breach(gate.run_id, breach_id)
        if earlier is not None:
            return told(earlier, changed=False)
        self.connect(service, _CALL_SECONDS)
        extent = self._extent(service, gate, evidence, breach_id)
        if extent.is_empty:
            said = "evidence was kept; nobody's data was found: no breach is opened"
            return {"breach_id": None, "affected": 0, "codeblue": {"summary": said}}
        closed = Closed(
            cause=str(arguments["diagnosis"]["cause"]),
            began_at=exposure.began_at,
            detected_at=exposure.detected_at,
            mitigation={
                "pages_refused": list(exposure.pages),
                "logs_closed_on": sorted(f"pod {name}" for name in exposure.pods),
                "ways_closed": list(exposure.ways),
                "releases": {self.target: exposure.version} if exposure.version else {},
            },
            log_readers=f"whoever may read logs of pods in namespace {self._place.namespace}, and where logs are sent"
            if exposure.pods
            else "",
        )
        return told(open_breach(self, service, gate, breach_id, closed, extent, evidence), changed=True)

    def _extent(self, service: Service, gate: OpenRun, evidence: EvidenceStore, breach_id: str) -> Extent:
        """Keep logs, objects and accesses, and count."""
        policy, key = policy_of(service), digest_key(breach_id)
        self._secrets.add(key)
        scan = LogScan(policy, key.encode(), end_of_the_last(gate, self.target), keep_access=True)
        logs = PodLogs(self._client, self._place)
        pods = logs.pods()

        def pieces() -> Iterator[Piece]:
            # One after the other, so that no more than one is held at a time.
            for log in logs.read(pods):
                self.renew()
                scan.add(log)
                yield Piece(log.name, log.content)

        origin = f"the API server, namespace {self._place.namespace}"
        if evidence.taken(self.target, _LOGS) is None:
            evidence.keep(self.target, _LOGS, pieces(), origin, f"logs of {len(pods)} pods of {self._place}")
        else:
            # An attempt that was cut off kept them, and counted nothing.
            for _piece in pieces():
                pass
        self._keep_objects(evidence, origin)
        access = scan.access.as_dict()
        if scan.access_lines:
            content = "".join(f"{line}\n" for line in scan.access_lines).encode("utf-8", "surrogateescape")
            summary = f"{access['disclosures']} answers"
            evidence.keep(self.target, "access", [Piece("access.jsonl", content)], origin, summary)
        extent = Extent(kinds=dict(scan.kinds), log_lines=scan.lines)
        extent.add_people(sorted(scan.people), scan.truncated, logs.left_out)
        extent.add_extract({**access, "left_out": []})
        people = json.dumps(sorted(extent.people)).encode()
        digests = [Piece("digests.json", people)]
        evidence.keep(self.target, "people", digests, "controller", f"{len(extent.people)} digests")
        return extent

    def _keep_objects(self, evidence: EvidenceStore, origin: str) -> None:
        """Pods with their state, events, manifests with who wrote which field when."""
        if evidence.taken(self.target, NAMESPACE) is not None:
            return
        found = EvidenceCollector(self._client, self._place, _BYTES_PER_LOG).collect()
        left_out = f"; left out: {'; '.join(found.left_out[:5])}" if found.left_out else ""
        pieces = [Piece(name, content) for name, content in found.pieces.items()]
        evidence.keep(self.target, NAMESPACE, pieces, origin, f"{len(pieces)} pieces of {self._place}{left_out}"[:500])
