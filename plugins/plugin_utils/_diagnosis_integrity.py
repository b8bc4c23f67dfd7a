# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the data of a database are damaged, which tables, and whether in the log or only on one member's disk.

Every member is held against the integrity rules of the inventory. What a statement damaged is damaged on the standby
as well, because it went there by the log; what a disk damaged is not. The monitoring's word is never enough: a cause is
named only when a rule fails on the primary itself.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import judge
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, IntegrityRule
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import (
    login_arguments,
    member_arguments,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Question,
    Seen,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_survey import DatabaseSeen
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

DATA_DAMAGED = "data_damaged"
DATA_SUSPECTED = "data_suspected"
STORAGE_DAMAGED = "storage_damaged"

_RESTORE = "restore_data"
_UNREADABLE = "unreadable"
# The rules' own deadline; the rest of a call is for the connection and the start of Python.
_RULES_SECONDS = 30.0
_LOOK_SECONDS = 10.0


class IntegrityDiagnosis:
    """See `RunbookDiagnosis`."""

    def questions(self, service: Service) -> Sequence[Question]:
        """Role and integrity of every member."""
        database = service.host.postgresql if service.host is not None else None
        if database is None or not database.integrity:
            return ()
        found = []
        for member in database.members.values():
            status = MachineCall(
                member.machine,
                "codeblue.recovery.postgresql_status",
                member_arguments(database, member),
                _LOOK_SECONDS,
                check_mode=True,
            )
            found.append(Question(f"status/{member.machine}", status))
            found.append(Question(f"integrity/{member.machine}", integrity_call(database, member.machine)))
        return found

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        """Name the damaged tables, or say why nobody can tell."""
        database = seen.service.host.postgresql if seen.service.host is not None else None
        if database is None or not database.integrity:
            return _person(
                "the inventory gives no integrity rules for this database",
                "write codeblue_host.postgresql.integrity: without rules nobody can say which state is clean",
            )
        primaries = [name for name in database.members if _is_primary(seen.answers.get(f"status/{name}"))]
        if len(primaries) != 1:
            what = "no member is a primary that answers" if not primaries else f"{' and '.join(primaries)} take writes"
            return _person(what, "bring the database back first: codeblue run database_connection_failure")
        primary = primaries[0]
        findings = _findings(seen.answers.get(f"integrity/{primary}"))
        if findings is None:
            why = _why(seen.answers.get(f"integrity/{primary}"))
            return _person(f"{primary} cannot be held against the integrity rules: {why}", "see its log")
        failed = [each for each in findings if each["problem"] in ("violated", "missing", _UNREADABLE)]
        unsure = [each for each in findings if each["problem"] in ("locked", "failed")]
        if failed:
            return self._damaged(database, primary, failed, seen)
        if unsure:
            named = ", ".join(f"{each['rule']} ({each['problem']}, {each['sqlstate']})" for each in unsure)
            return _person(f"rules could not be asked on {primary}: {named}", "see whether the rules are right")
        fired = [name for name, each in _signals(seen) if not each]
        evidence = [f"every one of {len(findings)} integrity rules holds on {primary}"]
        if fired:
            return _person(
                f"{', '.join(fired)} reports damage, and every integrity rule holds on {primary}",
                "look at what the monitoring saw, and add a rule to the inventory that finds it",
            )
        return {"cause": "healthy", "confidence": PROVEN, "evidence": tuple(evidence), "treatment": "none"}

    def decide_aws(self, seen: Seen, looked: AwsSeen, judged: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        """The monitoring's word counts here: nobody asks a database in RDS from outside its network."""
        database: DatabaseSeen | None = looked.looks.get("database")
        signals = _signals(seen)
        fired = [name for name, each in signals if not each]
        if not signals:
            return _person("no check of topic integrity tells whether its data are whole", "give codeblue_checks one")
        if not fired:
            holds = f"{', '.join(name for name, _ok in signals)} reports no damage"
            return {"cause": "healthy", "confidence": PROVEN, "evidence": (holds,), "treatment": "none"}
        acting = database.acting if database is not None else None
        if acting is None or not acting.serves:
            why = str(judged()["evidence"][0])
            return _person(why, "bring the database back first: codeblue run database_connection_failure")
        window = f"RDS keeps no automated backups of {acting.place}"
        if acting.earliest is not None and acting.latest is not None:
            first, last = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (acting.earliest, acting.latest))
            window = f"RDS can restore it to a moment from {first} to {last}"
        return {
            "cause": DATA_DAMAGED,
            "confidence": LIKELY,
            "evidence": (f"{', '.join(fired)} reports damage", window),
            "treatment": _RESTORE,
            "primary": str(acting.place),
            "in_log": True,
        }

    def decide_workload(
        self, seen: Seen, looked: WorkloadSeen, findings: Callable[[], ServiceFindings]
    ) -> dict[str, t.Any]:
        """See `_runbook_diagnosis.ClusterDiagnosis`.

        Whether rules fail is asked by a Job, which changes something in the cluster: that is the first step of the
        treatment. Until then there is the monitoring's word, or that of a person.
        """
        place = seen.service.require_kubernetes()
        if place.database is None or not place.database.integrity:
            return _person(
                "the inventory gives no integrity rules for this database",
                "write codeblue_kubernetes.database: without rules nobody can say which state is clean",
            )
        found = findings()
        # What tells of danger says nothing about whether it works.
        failing = tuple(each for each in found.failing if each.level != SIGNALS)
        state = judge(dataclasses.replace(found, failing=failing), time.time())
        if looked.cut_off or state["cause"] != "healthy":
            what = f"it does not work: {state['cause']}"
            return _person(what, "bring the database back first: codeblue run database_connection_failure")
        fired = [name for name, ok in _signals(seen) if not ok]
        rules = ", ".join(rule.id for rule in place.database.integrity)
        said = (
            f"{', '.join(fired)} reports damage" if fired else "no signal reports damage, it was asked for by a person"
        )
        return {
            "cause": DATA_DAMAGED if fired else DATA_SUSPECTED,
            "confidence": LIKELY if fired else UNDECIDED,
            "evidence": (said, f"which data are damaged, a Job finds out by the rules {rules}"),
            "treatment": _RESTORE,
            # Writes are stopped before the rules are asked only when the monitoring has seen damage.
            "confirmed": bool(fired),
        }

    def _damaged(
        self, database: HostDatabase, primary: str, failed: list[dict[str, t.Any]], seen: Seen
    ) -> dict[str, t.Any]:
        rules = [each["rule"] for each in failed]
        tables = together((table for each in failed for table in each["tables"]), database.integrity)
        evidence = [f"{each['rule']} fails on {primary}: {_said(each)}" for each in failed]
        in_log = True
        if all(each["problem"] == _UNREADABLE for each in failed):
            in_log = False
            evidence.append("pages cannot be read: the damage is on the disk, not in the log")
        for name in database.members:
            others = _findings(seen.answers.get(f"integrity/{name}"))
            if name == primary or others is None:
                continue
            whole = {each["rule"] for each in others if each["ok"]}
            if set(rules) <= whole and _streams(seen.answers.get(f"status/{primary}"), name):
                in_log = False
                evidence.append(f"{name}, which follows in step, is whole: the damage did not go through the log")
            elif set(rules) & whole:
                evidence.append(f"{name} still holds some of it: {', '.join(sorted(set(rules) & whole))}")
            else:
                evidence.append(f"{name} is damaged in the same way: it went through the log")
        return {
            "cause": DATA_DAMAGED if in_log else STORAGE_DAMAGED,
            "confidence": PROVEN if len(evidence) > 1 else LIKELY,
            "evidence": tuple(evidence),
            "treatment": _RESTORE,
            "primary": primary,
            "failed_rules": rules,
            "tables": tables,
            "in_log": in_log,
        }


def integrity_call(database: HostDatabase, machine: str) -> MachineCall:
    """Hold one member against all rules."""
    arguments = {
        **login_arguments(database, database.members[machine]),
        "rules": [rule.as_arguments() for rule in database.integrity],
        "timeout": _RULES_SECONDS,
    }
    return MachineCall(machine, "codeblue.recovery.postgresql_integrity", arguments, _RULES_SECONDS + _LOOK_SECONDS)


def together(tables: Iterable[str], rules: Sequence[IntegrityRule]) -> list[str]:
    """These tables and all that some rule ties to them: they are of one moment or of none."""
    found = set(tables)
    while True:
        tied = {table for rule in rules if found & set(rule.tables) for table in rule.tables}
        if tied <= found:
            return sorted(found)
        found |= tied


def _is_primary(answer: MachineAnswer | None) -> bool:
    result = answer.result if answer is not None else None
    return bool(result is not None and (result.get("sql") or {}).get("answers") and result.get("in_recovery") is False)


def _streams(answer: MachineAnswer | None, name: str) -> bool:
    """The primary sends the log to this member."""
    result = (answer.result if answer is not None else None) or {}
    return any(
        each.get("name") == name and each.get("state") == "streaming" for each in result.get("replication") or []
    )


def _findings(answer: MachineAnswer | None) -> list[dict[str, t.Any]] | None:
    return list(answer.result["findings"]) if answer is not None and answer.result is not None else None


def _why(answer: MachineAnswer | None) -> str:
    if answer is None:
        return "nobody asked"
    return answer.unreachable or answer.failure or "it did not answer"


def _signals(seen: Seen) -> list[tuple[str, bool]]:
    return [
        (result.id, result.ok)
        for result in seen.detection.results
        if result.topic == "integrity" and result.target == seen.service.name
    ]


def _said(finding: Mapping[str, t.Any]) -> str:
    tables = ", ".join(finding["tables"])
    if finding["problem"] == "violated":
        return f"{finding['violations']} violations in {tables}"
    return f"{tables} {finding['problem']} (SQLSTATE {finding['sqlstate']})"


def _person(what: str, next_step: str) -> dict[str, t.Any]:
    return {
        "cause": "inconclusive",
        "confidence": UNDECIDED,
        "evidence": (what,),
        "treatment": "person",
        "next_step": next_step,
    }


DIAGNOSIS = IntegrityDiagnosis()
