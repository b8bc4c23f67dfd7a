# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opens the run, and finds out whether the card's criteria fire and why, for all targets in one call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._opening_action import OPENING_ARGUMENTS, OpeningAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity

# A failing import at the top of an action plugin would abort the whole play, past rescue. It is said in run().
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsInquiry
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection, dependents_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import refuse_on_aws
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import (
        Findings,
        MemberLook,
        member_look,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_postgresql import diagnose
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._inquiry import Inquiry
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import KubernetesInquiry
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._looks import Looks, ServiceLook, count_commits_call
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import Start
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._platform_judge import PlatformJudge
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opener import Opened, RunOpener
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import card_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
        Questions,
        RunbookDiagnosis,
        Seen,
        diagnosis_of,
    )

    _MISSING = OpeningAction.MISSING_IMPORT
except ImportError as error:
    _MISSING = error

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

_MOST_UNKNOWN = 5
_RUNNING = ("running", "active", "started")
# Cause to the treatment that a play may carry out by itself; every other cause needs a person.
_TREATMENTS = {
    "primary_dead": "failover",
    "standby_only": "failover",
    "pool_exhausted": "free_connections",
    "credentials_refused": "rotate_secrets",
    "gateway_down": "gateway",
    "processes_gone": "restart",
    "not_working": "restart",
    "healthy": "none",
}


class ActionModule(OpeningAction):
    """See plugins/modules/diagnose.py.

    Machines are asked and checks are carried out in processes of their own, which are started first. The state store
    is imported and the run opened meanwhile: what only looks needs no lease, and nothing is changed here.
    """

    BYPASS_HOST_LOOP = True
    STAGE = "diagnose"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        **OPENING_ARGUMENTS,
        "level": {"type": "str", "choices": ["shallow", "deep", "comprehensive"], "default": "deep"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        # What is wrong before there is a run belongs to its opening.
        self._stage = "open"
        started = time.monotonic()
        targets = self.services(self.targets)
        refuse_on_aws(arguments["runbook"], targets)
        opener = self.opener(arguments, targets)
        card = card_of(arguments["runbook"])
        dependents = self.services(dependents_of(self.targets, self._variables["hostvars"], self.service_names()))
        own = diagnosis_of(card.id)
        # What is done whether or not a criterion fires does not wait for metrics.
        start = None if arguments["because"] else self.machines.start
        with contextlib.ExitStack() as looking:
            inquiry = looking.enter_context(self._inquiry(card, own, targets, dependents, arguments["level"], start))
            opened = self._open(opener, started)
            if opened is not None and opened.resumed:
                # What the last attempt left running has ended only now: what was seen before may be half of a step.
                looking.close()
                inquiry = looking.enter_context(self._inquiry(card, own, targets, dependents, arguments["level"], None))
            self._stage = self.STAGE
            found = self._found(own, inquiry, targets, dependents)
            detection = inquiry.detection()
        # A run that is taken up again acted on criteria that fired then; what it has mended since is silent now.
        resumed = opened is not None and opened.resumed
        proceed = detection.fired or bool(arguments["because"]) or resumed
        for each in found.values():
            treatment = each.get("treatment") or _TREATMENTS.get(each["cause"], "person")
            each["treatment"] = treatment if proceed else "none"
        if not self.check_mode:
            self._record(detection, found)
            found = {name: self._as_first_decided(name, each) for name, each in found.items()}
        return {
            **opener.about,
            **(dataclasses.asdict(opened) if opened is not None else {"run_id": None, "resumed": False}),
            "proceed": proceed,
            "detection": detection.as_dict(),
            "targets": found,
            "codeblue": {
                "target": ", ".join(self.targets),
                "summary": _summary(card, detection, found, proceed, resumed),
            },
        }

    def _as_first_decided(self, name: str, diagnosis: dict[str, t.Any]) -> dict[str, t.Any]:
        """What this run acts on: once it has begun to change a target, what it found before the first change.

        A half-done recovery looks like another fault, and its treatment would leave steps in doubt for good.
        """
        run = self.open_run(name)
        steps = [step for step in run.store.steps(run.run_id) if step.target == name]
        kept = [step for step in steps if step.stage == self.STAGE]
        if kept and len(steps) > len(kept):
            return dict(kept[-1].decision["diagnosis"])
        if kept and kept[-1].finished_at is None:
            run.store.finish_step(kept[-1], "failed", {"error": "the attempt ended before it acted"}, changed=False)
        if diagnosis["treatment"] == "none":
            return diagnosis
        step = run.store.begin_step(
            run.run_id,
            name,
            self.STAGE,
            f"decide_{len(kept) + 1}",
            decision={"diagnosis": plain(diagnosis)},
            worker=ProcessIdentity.current(),
            generation=run.lease.generation,
        )
        run.store.finish_step(step, "ok", {"changed": False, "cause": diagnosis["cause"]}, changed=False)
        return diagnosis

    def _inquiry(
        self,
        card: Card,
        own: RunbookDiagnosis | None,
        targets: Mapping[str, Service],
        dependents: Mapping[str, Service],
        level: str,
        start: Start | None,
    ) -> Inquiry:
        on_hosts = _on_hosts(targets)
        in_clusters = {name: service for name, service in targets.items() if service.kubernetes is not None}
        on_aws = {name: service for name, service in targets.items() if service.aws is not None}
        clusters = KubernetesInquiry(in_clusters) if in_clusters else None
        accounts = AwsInquiry(on_aws, own) if on_aws else None

        def ask() -> Looks | Questions:
            if own is None:
                return Looks(self.machines, on_hosts, self._secrets.add)
            return Questions(own, self.machines, on_hosts)

        return Inquiry(ask, clusters, accounts, card, targets, dependents, level, start)

    def _found(
        self,
        own: RunbookDiagnosis | None,
        inquiry: Inquiry,
        targets: Mapping[str, Service],
        dependents: Mapping[str, Service],
    ) -> dict[str, dict[str, t.Any]]:
        """The judgement about each target: the runbook's own, or by what the target is."""
        detection = inquiry.detection()
        on_hosts = _on_hosts(targets)
        everything = {**targets, **dependents}
        judge = PlatformJudge(own, self._bad, self._proven, self._keeps_objects)
        found = {
            name: judge.workload(self._seen(targets[name], everything, detection, {}), seen)
            for name, seen in inquiry.workloads().items()
        }
        found |= {
            name: judge.on_aws(self._seen(targets[name], everything, detection, {}), seen)
            for name, seen in inquiry.accounts().items()
        }
        if own is None:
            looks = inquiry.looks()
            needed_by = {name: [n for n, s in dependents.items() if name in s.depends_on] for name in targets}
            return found | {
                name: self._diagnosis(service, looks[name], detection, needed_by[name])
                for name, service in on_hosts.items()
            }
        answers = inquiry.answers()
        return found | {
            name: own.decide(self._seen(service, everything, detection, answers.get(name, {})))
            for name, service in on_hosts.items()
        }

    def _seen(
        self,
        service: Service,
        everything: Mapping[str, Service],
        detection: Detection,
        answers: Mapping[str, MachineAnswer],
    ) -> Seen:
        needed = [each for each in service.depends_on if each in self.service_names()]
        return Seen(service, everything, detection, answers, self.look, self.services(needed))

    def _bad(self, name: str, kind: str) -> list[str]:
        """Versions of the service that are marked bad."""
        if self.check_mode:
            kept = self._kept
            return [each.version for each in kept.bad_versions(name, kind)] if kept is not None else []
        return [each.version for each in self.open_run(name).store.bad_versions(name, kind)]

    def _proven(self, name: str, kind: str) -> list[str]:
        """What earlier runs have seen working, the latest first; nothing when the store is lost."""
        store = self._kept if self.check_mode else self.open_run(name).store.main
        return store.proven_versions(name, kind) if store is not None else []

    @functools.cached_property
    def _kept(self) -> Store | None:
        """What is read without a run, so that a plan judges as the run will; None when the store is lost."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import StoreUnavailable, open_store

        try:
            return open_store()
        except StoreUnavailable:
            return None

    def _keeps_objects(self, name: str) -> bool:
        """Whether a snapshot holds the objects of the service's namespace."""
        kept = self._kept if self.check_mode else self.open_run(name).store
        known = kept.snapshots(name) if kept is not None else []
        return any("objects" in each.level.split("+") and each.state != "corrupt" for each in known)

    def _open(self, opener: RunOpener, started: float) -> Opened | None:
        """Open the run; None in check mode."""
        if self.check_mode:
            opened, summary = None, opener.would_open
        else:
            opened = opener.open_here() or opener.open(opener.earlier())
            # From here on this task uses the connection that the run was opened over.
            self.__dict__["store"] = opener.store
            summary = opened.summary
        self.stage_ended("open", summary, started)
        return opened

    def _diagnosis(
        self, service: Service, look: ServiceLook, detection: Detection, dependents: list[str]
    ) -> dict[str, t.Any]:
        if service.host is not None and service.host.postgresql is not None:
            return self._database(service, service.host.postgresql, look, detection, dependents)
        return _instances(look, detection, service.name)

    def _database(
        self,
        service: Service,
        database: HostDatabase,
        look: ServiceLook,
        detection: Detection,
        dependents: list[str],
    ) -> dict[str, t.Any]:
        results = [result for result in detection.results if result.target in (service.name, *dependents)]
        members = self._with_lost_commits(database, look)
        findings = Findings(
            results=results,
            members=members,
            gateway=look.gateway,
            logins=look.logins,
            first_failed_at=detection.first_failed_at,
            now=time.time(),
        )
        diagnosis = diagnose(
            findings, database.set_up_as_primary.machine, service.objectives.rpo, service.require_host().credentials
        )
        return {
            **diagnosis.as_dict(),
            "members": {name: dataclasses.asdict(member) for name, member in members.items()},
            "received_lsn": {
                name: (status.get("wal") or {}).get("received_lsn") for name, status in look.statuses.items()
            },
            "unreachable": dict(look.unreachable),
        }

    def _with_lost_commits(self, database: HostDatabase, look: ServiceLook) -> Mapping[str, MemberLook]:
        """Ask the disk of a silent primary what the best standby lacks, when the disk holds more than that."""
        standbys = [member for member in look.members.values() if member.is_standby and member.received is not None]
        best = max(standbys, key=lambda member: member.received or 0, default=None)
        if best is None or any(member.is_primary for member in look.members.values()):
            return look.members
        position = (look.statuses[best.machine].get("wal") or {}).get("received_lsn")
        # A log whose end is unknown may be longer too: without a control file only this question can be answered.
        behind = [
            member.machine
            for member in look.members.values()
            if not member.answers
            and member.unreachable is None
            and (member.log_end is None or member.log_end > (best.received or 0))
        ]
        if not position or not behind:
            return look.members
        answers = self.look([count_commits_call(database, database.members[name], position) for name in behind])
        again = {
            answer.machine: member_look(answer.machine, answer.result)
            for answer in answers
            if answer.result is not None
        }
        return {**look.members, **again}

    def _record(self, detection: Detection, found: Mapping[str, Mapping[str, t.Any]]) -> None:
        run = self.open_run(self.targets[0])
        said = detection.as_dict()
        run.store.record(
            run.run_id,
            "detection",
            {
                "targets": self.targets,
                "fired": detection.fired,
                "criteria": said["criteria"],
                "checks": said["failing"],
                "seconds": said["seconds"],
            },
        )
        for name, each in found.items():
            run.store.record(
                run.run_id,
                "diagnosis",
                {
                    "target": name,
                    "cause": each["cause"],
                    "confidence": each["confidence"],
                    "conclusive": each["cause"] != "inconclusive",
                    "evidence": list(each["evidence"]),
                },
            )


def _on_hosts(targets: Mapping[str, Service]) -> dict[str, Service]:
    return {name: service for name, service in targets.items() if service.host is not None}


def _instances(look: ServiceLook, detection: Detection, name: str) -> dict[str, t.Any]:
    """A service of instances: are its processes there, and does it work?"""
    failing = [result for result in detection.results if result.target == name and not result.ok]
    stopped = sorted(unit for unit, state in look.units.items() if state is not None and state.lower() not in _RUNNING)
    silent = sorted(look.unreachable)
    evidence = [f"{unit}: its process is {look.units[unit]}" for unit in stopped]
    evidence += [f"{machine} cannot be reached: {look.unreachable[machine]}" for machine in silent]
    evidence += [f"{result.id} fails ({result.error_class})" for result in failing[:5]]
    if not failing and not stopped:
        cause, confidence = "healthy", 0.95
    elif silent and len(silent) == len(look.units):
        cause, confidence = "machines_silent", 0.95
    elif stopped:
        cause, confidence = "processes_gone", 0.95
    else:
        # Processes run and the service does not work: its release, or something that it depends on.
        cause, confidence = "not_working", 0.5
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence),
        "stopped": stopped,
        "unreachable": dict(look.unreachable),
    }


def _summary(
    card: Card, detection: Detection, found: Mapping[str, Mapping[str, t.Any]], proceed: bool, resumed: bool
) -> str:
    causes = ", ".join(f"{name}: {each['cause']}" for name, each in found.items())
    if detection.fired:
        return f"{causes} (fired: {', '.join(detection.fired_ids())})"
    if resumed:
        return f"{causes} (the run is taken up again)"
    if proceed:
        return f"{causes} (no criterion of {card.id} fires, acting because it was asked for)"
    unknown = [*detection.lacking(), *detection.problems][:_MOST_UNKNOWN]
    not_judged = f" (not judged: {'; '.join(unknown)})" if unknown else ""
    return (
        f"no criterion of {card.id} fires{not_judged}: nothing will be changed; to act all the same give --because TEXT"
    )
