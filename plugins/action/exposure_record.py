# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the evidence of an exposure, counts whom it concerns and who got it, and starts the clocks of a breach."""

from __future__ import annotations

import base64
import gzip
import json
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_opening import (
        Closed,
        Extent,
        end_of_the_last,
        open_breach,
        told,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_exposure import extract_call, scan_call
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        Exposure,
        breach_id_of,
        closed_logs,
        digest_key,
        policy_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure_evidence import keep_logs, kept_logs
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error


class ActionModule(StepAction):
    """See plugins/modules/exposure_record.py."""

    STAGE = "record"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        exposure = Exposure.of(arguments["diagnosis"])
        if self.check_mode:
            return {"codeblue": {"summary": "would keep the evidence, count whom it concerns, and start the clocks"}}
        gate = self.open_run()
        recipients = Recipients.parse(arguments["recipients"]) if arguments["recipients"] else None
        if recipients is None:
            raise BadInput(
                f"{self.target}: codeblue_evidence_recipients names nobody: what was closed cannot be kept as evidence",
                "name an age recipient and resume the run; until then the closed logs stay where they are",
            )
        evidence = EvidenceStore(evidence_directory(arguments["directory"]), gate.run_id, gate.store, recipients)
        breach_id = breach_id_of(gate.run_id, self.target)
        earlier = gate.store.breach(gate.run_id, breach_id)
        if earlier is not None:
            return told(earlier, changed=False)
        # Kept as it is now, before anybody mends anything; `exposure_remove` keeps again what has grown since.
        extent = self._extent(service, exposure, gate, evidence, breach_id)
        if extent.is_empty:
            said = "nobody's data was found: no breach is opened"
            return {"breach_id": None, "affected": 0, "codeblue": {"summary": said}}
        machines = ", ".join(sorted(exposure.logs))
        closed = Closed(
            cause=str(arguments["diagnosis"]["cause"]),
            began_at=exposure.began_at,
            detected_at=exposure.detected_at,
            mitigation={
                "pages_refused": list(exposure.pages),
                "logs_closed_on": sorted(exposure.logs),
                "releases": dict(exposure.releases),
            },
            log_readers=f"whoever could read the logs on {machines}" if machines else "",
        )
        return told(open_breach(self, service, gate, breach_id, closed, extent, evidence), changed=True)

    def _extent(
        self, service: Service, exposure: Exposure, gate: OpenRun, evidence: EvidenceStore, breach_id: str
    ) -> Extent:
        policy, key = policy_of(service), digest_key(breach_id)
        self._secrets.add(key)
        extent = Extent()
        for logs in closed_logs(exposure, gate.run_id):
            kept = kept_logs(self, logs)
            if not kept:
                continue
            keep_logs(self, evidence, logs, kept, "closed")
            extent.add_scan(self.look([scan_call(policy, logs.machine, kept, key)])[0].result_or_raise())
        since = end_of_the_last(gate, self.target)
        calls = [
            extract_call(policy, machine, key, unauthenticated=True, content=True, since=since)
            for machine in sorted(policy.access_logs)
        ]
        for answer in self.look(calls):
            result = answer.result_or_raise()
            extent.add_extract(result)
            content = gzip.decompress(base64.b64decode(result["content"]))
            summary = f"{result['disclosures']} answers" + (", cut" if result["content_cut"] else "")
            pieces = [Piece("access.jsonl", content)]
            evidence.keep(self.target, f"access_{answer.machine}", pieces, answer.machine, summary)
        people = json.dumps(sorted(extent.people)).encode()
        summary = f"{len(extent.people)} digests"
        evidence.keep(self.target, "people", [Piece("digests.json", people)], "controller", summary)
        return extent
