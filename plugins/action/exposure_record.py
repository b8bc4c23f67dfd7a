# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the evidence of an exposure, counts whom it concerns and who got it, and starts the clocks of a breach."""

from __future__ import annotations

import base64
import gzip
import json
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_notices import officer_message
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
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import EXERCISE, OPEN, Breach
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_MOST_ACCESSORS = 20


@dataclass
class Extent:
    """Whom it concerns and who got it. Digests stay in here; what leaves are numbers."""

    people: set[str] = field(default_factory=set)
    at_least: bool = False
    kinds: dict[str, int] = field(default_factory=dict)
    log_lines: int = 0
    disclosures: int = 0
    accessors: list[dict[str, t.Any]] = field(default_factory=list)
    pages: dict[str, int] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    problems: list[str] = field(default_factory=list)

    def add_scan(self, result: t.Mapping[str, t.Any]) -> None:
        for found in result["files"].values():
            self.log_lines += int(found["lines"])
            for kind, number in found["counts"].items():
                self.kinds[kind] = self.kinds.get(kind, 0) + int(number)
        self._add_people(result["people"], bool(result["people_truncated"]), result["left_out"])

    def add_extract(self, result: t.Mapping[str, t.Any]) -> None:
        self.disclosures += int(result["disclosures"])
        for accessor in result["accessors"]:
            self._add_accessor(accessor)
        for page, number in result["paths"].items():
            self.pages[page] = self.pages.get(page, 0) + int(number)
        self.first = min([each for each in (self.first, result["first"]) if each], default=None)
        self.last = max([each for each in (self.last, result["last"]) if each], default=None)
        self._add_people(result["people"], bool(result["truncated"]), result["left_out"])

    def _add_accessor(self, found: t.Mapping[str, t.Any]) -> None:
        """The same caller may have come to several instances."""
        known = next((each for each in self.accessors if each["accessor"] == found["accessor"]), None)
        if known is None:
            self.accessors.append(dict(found))
            return
        known["requests"] += found["requests"]
        # The same people may have been given on each.
        known["people"] = max(known["people"], found["people"])
        known["first"] = min(known["first"], found["first"])
        known["last"] = max(known["last"], found["last"])

    def _add_people(self, people: Sequence[str], truncated: bool, left_out: Sequence[str]) -> None:
        self.people.update(people)
        self.problems += left_out
        self.at_least = self.at_least or truncated or bool(left_out)


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
            return _told(earlier, changed=False)
        # Kept as it is now, before anybody mends anything; `exposure_remove` keeps again what has grown since.
        extent = self._extent(service, exposure, gate, evidence, breach_id)
        if not extent.people and not extent.disclosures and not extent.log_lines:
            said = "nobody's data was found: no breach is opened"
            return {"breach_id": None, "affected": 0, "codeblue": {"summary": said}}
        cause = str(arguments["diagnosis"]["cause"])
        return _told(self._open(service, exposure, gate, cause, extent, breach_id, evidence), changed=True)

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
        since = self._end_of_the_last(gate)
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

    def _end_of_the_last(self, gate: OpenRun) -> str | None:
        """What was given before an earlier breach of this service ended belongs to that one."""
        if gate.store.main is None:
            return None
        ends = [
            each.exposure_ended_at
            for each in gate.store.main.breaches(limit=1000)
            if each.target == self.target and each.run_id != gate.run_id and each.exposure_ended_at
        ]
        return max(ends, default=None)

    def _open(
        self,
        service: Service,
        exposure: Exposure,
        gate: OpenRun,
        cause: str,
        extent: Extent,
        breach_id: str,
        evidence: EvidenceStore,
    ) -> Breach:
        policy = policy_of(service)
        run = gate.store.run(gate.run_id)
        if run is None:
            raise BadInput(f"there is no run {gate.run_id}")
        breach = Breach(
            breach_id=breach_id,
            run_id=gate.run_id,
            incident_id=run.incident_id,
            target=self.target,
            environment=service.environment,
            cause=cause,
            entity=policy.entity,
            time_zone=policy.time_zone,
            # Nobody is notified about patients who do not exist.
            status=EXERCISE if service.environment == "lab" else OPEN,
            discovered_at=min(each for each in (exposure.detected_at, run.opened_at) if each),
            exposure_began_at=min([each for each in (exposure.began_at, extent.first) if each], default=None),
            exposure_ended_at=None,
            affected=len(extent.people),
            residents={policy.state: len(extent.people)} if policy.state else {},
            delayed_until=None,
            facts=_facts(service, exposure, extent, evidence),
            hold=None,
            decision=None,
            decided_by=None,
            decided_at=None,
            updated_at=utc_now(),
        )
        title, body = officer_message(breach)

        def work(_gate: OpenRun) -> dict[str, t.Any]:
            opened = gate.store.open_breach(breach, title, body)
            return {"changed": True, "breach_id": opened.breach_id, "affected": opened.affected}

        decision = {"breach_id": breach_id, "affected": breach.affected, "cause": cause}
        self.local_change("open_breach", decision, work)
        stored = gate.store.breach(gate.run_id, breach_id)
        return stored if stored is not None else breach


def _told(breach: Breach, changed: bool) -> dict[str, t.Any]:
    """The result: numbers and days."""
    due = {each.id: each.due_on.isoformat() for each in breach.duties() if each.due_on is not None}
    answers = int(breach.facts["acquired"]["answers"])
    accessors = len(breach.facts["recipients"]["accessors"]) + int(breach.facts["recipients"]["more"])
    least = bool(breach.facts["affected_is_least"])
    return {
        "changed": changed,
        "breach_id": breach.breach_id,
        "affected": breach.affected,
        "affected_is_least": least,
        "disclosures": answers,
        "accessors": accessors,
        "duties": due,
        "codeblue": {
            "summary": f"{breach.breach_id}: {'at least ' if least else ''}{breach.affected} people, {answers} answers "
            f"to {accessors} accessors; " + ", ".join(f"{name} by {day}" for name, day in due.items())
        },
    }


def _facts(service: Service, exposure: Exposure, extent: Extent, evidence: EvidenceStore) -> dict[str, t.Any]:
    """The four factors of 45 CFR 164.402(2), as far as a machine can know them, and where the evidence lies."""
    policy = policy_of(service)
    machines = ", ".join(sorted(exposure.logs))
    accessors = extent.accessors[:_MOST_ACCESSORS]
    return {
        "organisation": policy.organisation,
        "contact": dict(policy.contact),
        "covered_entity": policy.covered_entity,
        "affected_is_least": extent.at_least,
        "nature": {
            "identifiers": dict(sorted(extent.kinds.items())),
            "named_fields": sorted({*policy.fields, *policy.identifiers}),
            "log_lines": extent.log_lines,
        },
        "recipients": {
            "accessors": accessors,
            "more": max(0, len(extent.accessors) - len(accessors)),
            "log_readers": f"whoever could read the logs on {machines}" if machines else "",
        },
        "acquired": {
            "answers": extent.disclosures,
            "pages": extent.pages,
            "first": extent.first,
            "last": extent.last,
        },
        "mitigation": {
            "pages_refused": list(exposure.pages),
            "logs_closed_on": sorted(exposure.logs),
            "releases": dict(exposure.releases),
        },
        "evidence": {"directory": str(evidence.directory), "count": len(evidence.custody.entries())},
        "unread": extent.problems[:20],
    }
