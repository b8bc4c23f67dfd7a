# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the evidence of an exposure on AWS, counts what was given to whom, and starts the clocks of a breach."""

from __future__ import annotations

import json
import typing as t
from datetime import datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_evidence import (
        ACCOUNT,
        EvidenceCollector,
        window_since,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_object_access import AccessReader
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public import PublicThings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_opening import (
        Closed,
        Extent,
        end_of_the_last,
        open_breach,
        told,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_exposure import AwsExposure
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
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 180.0
_BYTES_PER_LOG = 65536
_EVIDENCE_WINDOW = 86400.0
# What an open bucket may have given away, when nobody wrote down when it was opened.
_WINDOW_SECONDS = 90 * 86400.0
_MOST_COUNTED = 1000


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_exposure_record.py."""

    STAGE = "record"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        exposure = AwsExposure.of(arguments["diagnosis"])
        if self.check_mode:
            return {"codeblue": {"summary": "would keep the evidence, count what was given, and start the clocks"}}
        gate = self.open_run()
        if not arguments["recipients"]:
            raise BadInput(
                f"{self.target}: codeblue_evidence_recipients names nobody: accesses cannot be kept as evidence",
                "name an age recipient and resume the run; what was closed stays closed",
            )
        recipients = Recipients.parse(arguments["recipients"], "codeblue_evidence_recipients")
        evidence = EvidenceStore(evidence_directory(arguments["directory"]), gate.run_id, gate.store, recipients)
        breach_id = breach_id_of(gate.run_id, self.target)
        earlier = gate.store.breach(gate.run_id, breach_id)
        if earlier is not None:
            return told(earlier, changed=False)
        self.connect(service, _CALL_SECONDS)
        extent = self._extent(service, exposure, gate, evidence, breach_id)
        if extent.is_empty:
            said = "evidence was kept; there was nothing that could be given: no breach is opened"
            return {"breach_id": None, "affected": 0, "codeblue": {"summary": said}}
        closed = Closed(
            cause=str(arguments["diagnosis"]["cause"]),
            began_at=exposure.began_at,
            detected_at=exposure.detected_at,
            mitigation={"buckets_closed": list(exposure.buckets), "snapshots_closed": list(exposure.snapshots)},
            log_readers="",
        )
        return told(open_breach(self, service, gate, breach_id, closed, extent, evidence), changed=True)

    def _extent(
        self, service: Service, exposure: AwsExposure, gate: OpenRun, evidence: EvidenceStore, breach_id: str
    ) -> Extent:
        """Keep the account's evidence and the accesses, and count."""
        policy, key = policy_of(service), digest_key(breach_id)
        self._secrets.add(key)
        began = [each for each in (exposure.began_at, end_of_the_last(gate, self.target)) if each]
        since = _unix(max(began)) if began else window_since(_WINDOW_SECONDS)
        if evidence.taken(self.target, ACCOUNT) is None:
            collector = EvidenceCollector(self._account, self._place, _BYTES_PER_LOG, window_since(_EVIDENCE_WINDOW))
            found = collector.collect()
            pieces = [Piece(name, content) for name, content in found.pieces.items()]
            summary = f"{len(pieces)} pieces of {self._place}"
            evidence.keep(self.target, ACCOUNT, pieces, f"AWS {self._place.region}", summary)
        accesses = AccessReader(self._account, self._place.security, policy, key.encode(), since).read(exposure.buckets)
        self.renew()
        content = "".join(f"{line}\n" for line in accesses.lines).encode("utf-8", "surrogateescape")
        summary = f"{accesses.extract.disclosures} answers"
        evidence.keep(self.target, "access", [Piece("access.jsonl", content)], f"AWS {self._place.region}", summary)
        extent = Extent()
        extent.add_extract({**accesses.extract.as_dict(), "left_out": accesses.left_out})
        if not extent.disclosures:
            self._presume(extent, exposure)
        people = json.dumps(sorted(extent.people)).encode()
        digests = [Piece("digests.json", people)]
        evidence.keep(self.target, "people", digests, "controller", f"{len(extent.people)} digests")
        return extent

    def _presume(self, extent: Extent, exposure: AwsExposure) -> None:
        """Where nobody wrote down who read it, what could be read counts: 45 CFR 164.402(2) presumes a breach."""
        things = PublicThings(self._account)
        for bucket in exposure.buckets:
            objects = things.count(bucket, _MOST_COUNTED)
            if objects:
                extent.disclosures += objects
                extent.pages[f"/{bucket}"] = objects
        for snapshot in exposure.snapshots:
            extent.disclosures += 1
            extent.pages[f"/{snapshot}"] = 1
        said = "who was given what is not known: everything that could be read counts as given"
        extent.add_people([], False, [said] if extent.disclosures else [])


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
