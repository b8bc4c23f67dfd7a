# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where patients' data is exposed: in logs, or in answers to callers whom nobody asked who they are.

Both are looked at whatever the signal said, because a release that does the one may do the other. Only counts, paths
without numbers, and names of files and releases go into the result.
"""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import list_call
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Question,
    Seen,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import format_time

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

# Reading logs is what takes long; what was not read in time is said, and then the finding is inconclusive.
_SCAN_SECONDS = 20.0
_CALL_SECONDS = 30.0
_PROBE_SECONDS = 2.0
_MOST_PAGES = 20
REFUSED = (401, 403, 404, 405)
CAUSES = ("public_endpoint", "public_way", "phi_in_log", "past_disclosure", "healthy", "inconclusive")


class ExposureDiagnosis:
    """See `_runbook_diagnosis.RunbookDiagnosis`."""

    def questions(self, service: Service) -> Sequence[Question]:
        if service.phi is None or service.host is None:
            return ()
        # Digests are compared within this look only: nobody needs the key afterwards.
        key = secrets.token_hex(32)
        asked: list[Question] = []
        for machine, instance in service.host.instances.items():
            asked.append(Question(f"logs_{machine}", scan_call(service.phi, machine, instance.log_files, key)))
            if service.phi.access_logs.get(machine):
                asked.append(
                    Question(
                        f"access_{machine}",
                        extract_call(service.phi, machine, key, unauthenticated=True, content=False),
                    )
                )
            if instance.release_root is not None:
                asked.append(Question(f"release_{machine}", list_call(instance)))
        return asked

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        service = seen.service
        if service.phi is None or service.host is None:
            return _inconclusive(["nothing is said about patients' data of this service"], "add codeblue_phi")
        logs, log_evidence, problems = _dirty_logs(service, seen.answers)
        given, first, people, access_problems = _given(service, seen.answers)
        candidates = sorted({*service.phi.refused_requests, *(pattern.replace("{n}", "1") for pattern in given)})
        statuses, probe_problems = _ask_instances(service, candidates[:_MOST_PAGES], seen)
        pages = sorted({page for found in statuses.values() for page, codes in found.items() if _is_open(codes)})
        problems += access_problems + probe_problems
        evidence = [f"{page} is answered without a credential on {_on(statuses, page)}" for page in pages]
        evidence += [
            f"{number} answers with data of patients went to callers whom nobody had asked who they are ({pattern})"
            for pattern, number in sorted(given.items())
        ]
        evidence += log_evidence
        current = _current_releases(service, seen.answers)
        began = min([each for each in (first, *(since for _version, since in current.values())) if each], default=None)
        data = {
            "exposure": {
                "pages": pages,
                "logs": logs,
                "releases": {machine: version for machine, (version, _since) in current.items()},
                "began_at": began,
                "detected_at": _moment(seen.detection.first_failed_at),
                "people_at_least": people,
            }
        }
        if pages or logs:
            cause = "public_endpoint" if pages else "phi_in_log"
            # An open page that gave nothing yet may be an empty one.
            confidence = PROVEN if logs or given else LIKELY
            return {
                "cause": cause,
                "confidence": confidence,
                "evidence": (*evidence, *problems),
                "treatment": "close_exposure",
                **data,
            }
        if problems:
            return {
                **_inconclusive([*problems, *evidence], "look at what could not be read, then run it again"),
                **data,
            }
        if given:
            return {
                "cause": "past_disclosure",
                "confidence": LIKELY,
                "evidence": tuple(evidence),
                "treatment": "close_exposure",
                **data,
            }
        if seen.detection.fired and any(not each.ok and each.topic == "exposure" for each in seen.detection.results):
            reason = "monitoring reports an exposure, and neither logs nor answers show one"
            return {**_inconclusive([reason], "ask monitoring what it saw, and where"), **data}
        return {
            "cause": "healthy",
            "confidence": PROVEN,
            "evidence": ("nothing is exposed",),
            "treatment": "none",
            **data,
        }

    def decide_workload(
        self, seen: Seen, looked: WorkloadSeen, findings: Callable[[], ServiceFindings]
    ) -> dict[str, t.Any]:
        """See `_runbook_diagnosis.ClusterDiagnosis`."""
        # The official client takes a moment to import, and services on machines have no use for it.
        from ansible_collections.codeblue.recovery.plugins.plugin_utils import _diagnosis_kubernetes_exposure as cluster

        service = seen.service
        if service.phi is None:
            return _inconclusive(["nothing is said about patients' data of this service"], "add codeblue_phi")
        if looked.workload is None:
            return _inconclusive(
                ["its workload does not exist: nobody can look at its logs"], "find out who removed it"
            )
        reported = any(
            not each.ok and each.topic == "exposure" and each.target == service.name for each in seen.detection.results
        )
        detected_at = _moment(seen.detection.first_failed_at)
        return cluster.judge_exposure(service, looked, cluster.look(service), reported, detected_at)

    def look_at_aws(self, account: AwsAccount, services: Mapping[str, Service]) -> Mapping[str, t.Any]:
        """What it looks at beside the parts; see `_aws_inquiry.LooksAtAws`."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_exposure import look_for_exposure

        return look_for_exposure(account, services)

    def decide_aws(self, seen: Seen, looked: AwsSeen, _judged: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        """See `_diagnosis_aws.AwsDiagnosis`."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import RUNBOOK
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_exposure import (
            ExposureLook,
            judge_exposure,
        )

        service = seen.service
        reported = any(
            not each.ok and each.topic == "exposure" and each.target == service.name for each in seen.detection.results
        )
        if service.phi is None and (reported or service.require_aws().security.private_buckets):
            return _inconclusive(["nothing is said about patients' data of this service"], "add codeblue_phi")
        silent = looked.silent.get(RUNBOOK)
        look = looked.looks.get(RUNBOOK) or ExposureLook({}, {}, None, (silent,) if silent else ())
        return judge_exposure(look, reported, _moment(seen.detection.first_failed_at))


def scan_call(
    policy: PhiPolicy, machine: str, logs: Sequence[str], key: str, seconds: float = _SCAN_SECONDS
) -> MachineCall:
    """Asks a machine what its logs hold."""
    arguments = {"log_files": list(logs), **policy.detection(), "digest_key": key, "timeout": seconds}
    return MachineCall(machine, "codeblue.recovery.phi_scan", arguments, seconds + 10.0)


def extract_call(
    policy: PhiPolicy, machine: str, key: str, unauthenticated: bool, content: bool, since: str | None = None
) -> MachineCall:
    """Asks a machine who was given what."""
    arguments = {
        "log_files": list(policy.access_logs.get(machine, ())),
        "form": policy.access_format,
        "names": dict(policy.access_fields),
        "unauthenticated": unauthenticated,
        "digest_key": key,
        "content": content,
        "timeout": _SCAN_SECONDS,
        **({"since": since} if since else {}),
        **({"resource": policy.access_resource} if policy.access_resource else {}),
    }
    return MachineCall(machine, "codeblue.recovery.access_extract", arguments, _CALL_SECONDS)


def probe_call(machine: str, instance: Instance, pages: Sequence[str], refused: Sequence[int] = REFUSED) -> MachineCall:
    """Asks an instance for pages, on its own machine and without a credential."""
    requests = [
        {"id": page, "url": f"http://{instance.address}:{instance.port}{page}", "status": list(refused)}
        for page in pages
    ]
    arguments = {"requests": requests, "count": 1, "timeout": _PROBE_SECONDS}
    return MachineCall(machine, "codeblue.recovery.http_probe", arguments, _CALL_SECONDS)


def _dirty_logs(
    service: Service, answers: Mapping[str, MachineAnswer]
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Machine to the live logs of which some file holds patients; sentences about them; what could not be read."""
    logs: dict[str, list[str]] = {}
    evidence: list[str] = []
    problems: list[str] = []
    for machine, instance in service.require_host().instances.items():
        result, problem = _result(answers, f"logs_{machine}")
        problems += [problem] if problem else []
        if result is None:
            continue
        problems += [f"{machine}: not read: {each}" for each in result["left_out"]]
        for path, found in sorted(result["files"].items()):
            if not found["lines"]:
                continue
            # The longest log whose name it begins with: rotated files are named after theirs.
            live = max((each for each in instance.log_files if path.startswith(each)), key=len, default=path)
            kept = logs.setdefault(machine, [])
            kept += [live] if live not in kept else []
            kinds = ", ".join(f"{kind} {number}" for kind, number in found["counts"].items())
            releases = ", ".join(version for version in sorted(found["versions"]) if version)
            evidence.append(
                f"{machine}: {found['lines']} of {found['lines_read']} lines of {path} hold data of patients ({kinds})"
                + (f", written by release {releases}" if releases else "")
            )
    return logs, evidence, problems


def _given(service: Service, answers: Mapping[str, MachineAnswer]) -> tuple[dict[str, int], str | None, int, list[str]]:
    """Path to how often it gave patients to nobody in particular; since when; to how many people that was."""
    given: dict[str, int] = {}
    problems: list[str] = []
    first: list[str] = []
    people: set[str] = set()
    for machine in service.phi.access_logs if service.phi is not None else ():
        result, problem = _result(answers, f"access_{machine}")
        problems += [problem] if problem else []
        if result is None:
            continue
        problems += [f"{machine}: not read: {each}" for each in result["left_out"]]
        for pattern, number in result["paths"].items():
            given[pattern] = given.get(pattern, 0) + int(number)
        people.update(result["people"])
        first += [str(result["first"])] if result["first"] else []
    return given, min(first, default=None), len(people), problems


def _ask_instances(
    service: Service, pages: Sequence[str], seen: Seen
) -> tuple[dict[str, dict[str, list[int]]], list[str]]:
    """Machine to page to the statuses that came, without a credential."""
    if not pages:
        return {}, []
    instances = service.require_host().instances
    answers = seen.ask([probe_call(machine, instance, pages) for machine, instance in instances.items()])
    found: dict[str, dict[str, list[int]]] = {}
    problems = []
    for answer in answers:
        if answer.result is None:
            problems.append(f"{answer.machine}: {answer.unreachable or answer.failure}")
            continue
        found[answer.machine] = {page: list(each["statuses"]) for page, each in answer.result["answers"].items()}
    return found, problems


def _current_releases(service: Service, answers: Mapping[str, MachineAnswer]) -> dict[str, tuple[str, str | None]]:
    """Machine to its current release and since when, where that is known."""
    found: dict[str, tuple[str, str | None]] = {}
    for machine in service.require_host().instances:
        result, _problem = _result(answers, f"release_{machine}")
        current = ((result or {}).get("before") or {}).get("current")
        if result is None or not current:
            continue
        entry: Mapping[str, t.Any] = next((each for each in result["history"] if each.get("version") == current), {})
        found[machine] = (str(current), str(entry["deployed_at"]) if entry.get("deployed_at") else None)
    return found


def _result(answers: Mapping[str, MachineAnswer], name: str) -> tuple[dict[str, t.Any] | None, str]:
    answer = answers.get(name)
    if answer is None:
        return None, ""
    if answer.result is None:
        return None, f"{answer.machine}: {answer.unreachable or answer.failure}"
    return answer.result, ""


def _is_open(statuses: Sequence[int]) -> bool:
    return any(200 <= status < 300 for status in statuses)


def _on(statuses: Mapping[str, Mapping[str, Sequence[int]]], page: str) -> str:
    return ", ".join(machine for machine, found in sorted(statuses.items()) if _is_open(found.get(page, ())))


def _moment(seconds: float | None) -> str | None:
    return format_time(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _inconclusive(evidence: Sequence[str], next_step: str) -> dict[str, t.Any]:
    return {
        "cause": "inconclusive",
        "confidence": UNDECIDED,
        "evidence": tuple(evidence),
        "treatment": "person",
        "next_step": next_step,
    }


DIAGNOSIS = ExposureDiagnosis()
