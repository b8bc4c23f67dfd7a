# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whom an exposure concerns and who got it, and the breach with its clocks that is opened for it, on any platform."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_notices import officer_message
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import policy_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import EXERCISE, OPEN, Breach
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

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

    @property
    def is_empty(self) -> bool:
        """Nobody's data was found."""
        return not self.people and not self.disclosures and not self.log_lines

    def add_scan(self, result: Mapping[str, t.Any]) -> None:
        """Add what `phi_scan` found in logs."""
        for found in result["files"].values():
            self.log_lines += int(found["lines"])
            for kind, number in found["counts"].items():
                self.kinds[kind] = self.kinds.get(kind, 0) + int(number)
        self.add_people(result["people"], bool(result["people_truncated"]), result["left_out"])

    def add_extract(self, result: Mapping[str, t.Any]) -> None:
        """Add what `access_extract` found in access logs."""
        self.disclosures += int(result["disclosures"])
        for accessor in result["accessors"]:
            self._add_accessor(accessor)
        for page, number in result["paths"].items():
            self.pages[page] = self.pages.get(page, 0) + int(number)
        self.first = min([each for each in (self.first, result["first"]) if each], default=None)
        self.last = max([each for each in (self.last, result["last"]) if each], default=None)
        self.add_people(result["people"], bool(result["truncated"]), result["left_out"])

    def _add_accessor(self, found: Mapping[str, t.Any]) -> None:
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

    def add_people(self, people: Sequence[str], truncated: bool, left_out: Sequence[str]) -> None:
        """Add digests of people; there are more than these where something was cut or left out."""
        self.people.update(people)
        self.problems += left_out
        self.at_least = self.at_least or truncated or bool(left_out)


@dataclass(frozen=True)
class Closed:
    """What was exposed and is closed, in the words of the record.

    :param began_at: RFC 3339; None where it is not known.
    :param mitigation: the fourth factor of 45 CFR 164.402(2): names and versions only.
    :param log_readers: who could read the logs; empty when none held patients.
    """

    cause: str
    began_at: str | None
    detected_at: str | None
    mitigation: Mapping[str, t.Any]
    log_readers: str


def end_of_the_last(gate: OpenRun, target: str) -> str | None:
    """What was given before an earlier breach of this service ended belongs to that one."""
    if gate.store.main is None:
        return None
    ends = [
        each.exposure_ended_at
        for each in gate.store.main.breaches(limit=1000)
        if each.target == target and each.run_id != gate.run_id and each.exposure_ended_at
    ]
    return max(ends, default=None)


def open_breach(
    action: StepAction,
    service: Service,
    gate: OpenRun,
    breach_id: str,
    closed: Closed,
    extent: Extent,
    evidence: EvidenceStore,
) -> Breach:
    """Open the breach, start its clocks and tell the compliance officer; a journalled step."""
    policy = policy_of(service)
    run = gate.store.run(gate.run_id)
    if run is None:
        raise BadInput(f"there is no run {gate.run_id}")
    breach = Breach(
        breach_id=breach_id,
        run_id=gate.run_id,
        incident_id=run.incident_id,
        target=service.name,
        environment=service.environment,
        cause=closed.cause,
        entity=policy.entity,
        time_zone=policy.time_zone,
        # Nobody is notified about patients who do not exist.
        status=EXERCISE if service.environment == "lab" else OPEN,
        discovered_at=min(each for each in (closed.detected_at, run.opened_at) if each),
        exposure_began_at=min([each for each in (closed.began_at, extent.first) if each], default=None),
        exposure_ended_at=None,
        affected=len(extent.people),
        residents={policy.state: len(extent.people)} if policy.state else {},
        delayed_until=None,
        facts=_facts(service, closed, extent, evidence),
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

    decision = {"breach_id": breach_id, "affected": breach.affected, "cause": closed.cause}
    action.local_change("open_breach", decision, work)
    stored = gate.store.breach(gate.run_id, breach_id)
    return stored if stored is not None else breach


def told(breach: Breach, changed: bool) -> dict[str, t.Any]:
    """The result of the step: numbers and days."""
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


def _facts(service: Service, closed: Closed, extent: Extent, evidence: EvidenceStore) -> dict[str, t.Any]:
    """The four factors of 45 CFR 164.402(2), as far as a machine can know them, and where the evidence lies."""
    policy = policy_of(service)
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
            "log_readers": closed.log_readers,
        },
        "acquired": {
            "answers": extent.disclosures,
            "pages": extent.pages,
            "first": extent.first,
            "last": extent.last,
        },
        "mitigation": dict(closed.mitigation),
        "evidence": {"directory": str(evidence.directory), "count": len(evidence.custody.entries())},
        "unread": extent.problems[:20],
    }
