# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which bottleneck makes a service answer late. Pure: looks go in, one cause with its evidence comes out.

The order of the questions matters. A machine without processor time and a blocked database make every release look
slow, so a release is suspected last, and only when it came after the service was last found well.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import InstanceProbe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import Candidate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "blocking_session": "end_blocker",
    "cpu_hog": "limit_process",
    "connection_storm": "refuse_source",
    "slow_release": "rollback",
    "slow_instance": "drain",
    "waits_for_database": "none",
    "waits_for_machine": "none",
    "healthy": "none",
}
CAUSES = (*TREATMENTS, "protected_blocker", "inconclusive")

# A job that keeps most of the machine busy is one that matters; a busy machine may have many small ones.
_HOG_SHARE = 0.5
# Fewer connections than this are no storm, whatever their share.
_STORM_CONNECTIONS = 20
_STORM_SHARE = 0.5
# Without a record of when the service was last well, only a release this young is suspected.
_RECENT_SECONDS = 24 * 3600.0
_MOST_EVIDENCE = 10

_NEXT_STEPS = {
    "protected_blocker": (
        "Decide by hand whether the session may be ended: it belongs to a superuser, a backup, replication or the "
        "service itself. The runbook's section 4 has the command that shows it."
    ),
    "inconclusive": (
        "Compare answer times past the gateway and through it, then pg_stat_activity and top, as section 4 of the "
        "runbook has them; take the slower instance out of the gateway meanwhile."
    ),
}


@dataclass(frozen=True)
class ActivityLook:
    """A database member by `postgresql_activity`.

    :param unknown: why it could not be asked; then nothing else is known.
    """

    member: str
    blockers: tuple[Mapping[str, t.Any], ...] = ()
    idle_holders: tuple[Mapping[str, t.Any], ...] = ()
    prepared_blocking: bool = False
    opened_per_second: float = 0.0
    unknown: str = ""


@dataclass(frozen=True)
class MachineLook:
    """A machine by `machine_resources`.

    :param owner: the service that treats this machine, when several are late because of it.
    :param groups: process groups, the busiest first.
    """

    machine: str
    owner: str
    busy: float = 0.0
    processors: int = 0
    memory: float = 0.0
    disk: float = 0.0
    groups: tuple[Mapping[str, t.Any], ...] = ()
    unknown: str = ""


@dataclass(frozen=True)
class FrontLook:
    """The connections to a service's front.

    :param strangers: those that come from no machine of the inventory, by address.
    :param can_refuse: its gateway has a file of addresses that it refuses.
    """

    machine: str
    total: int
    strangers: Mapping[str, int]
    can_refuse: bool


@dataclass(frozen=True)
class BottleneckLook:
    """Everything that was seen of a service that is late.

    :param last_well: RFC 3339, when it was last measured while it was well; None when nobody did.
    :param now: Unix seconds.
    """

    machines: Mapping[str, MachineLook] = field(default_factory=dict)
    probes: Mapping[str, InstanceProbe] = field(default_factory=dict)
    releases: Mapping[str, Candidate] = field(default_factory=dict)
    activity: Sequence[ActivityLook] = ()
    front: FrontLook | None = None
    last_well: str | None = None
    now: float = 0.0


_Finding = dict[str, t.Any]


def judge_database(service: Service, looks: Sequence[ActivityLook], late: Sequence[CheckResult]) -> _Finding:
    """The judgement about a database: whether one of its sessions makes others wait.

    :param late: results that came late, of every service that was looked at.
    """
    if not late:
        return _finding("healthy", PROVEN, ["no answer is late"])
    found = _blocker(looks)
    if found is None:
        silent = [f"{look.member} could not be asked: {look.unknown}" for look in looks if look.unknown]
        if silent and len(silent) == len(looks):
            return _finding("inconclusive", UNDECIDED, silent)
        rate = max((look.opened_per_second for look in looks), default=0.0)
        own = [result for result in late if result.target == service.name]
        said = [f"no session makes others wait; {rate:.1f} new sessions each second", *map(_late, own)]
        return _finding("inconclusive" if own else "healthy", UNDECIDED if own else LIKELY, said)
    member, session, waiting = found
    evidence = [_blocking(session, waiting), *map(_late, late[:3])]
    protected = [key for key in ("superuser", "replication", "service_role") if session[key]]
    if protected or session["backend_type"] != "client backend":
        return _finding("protected_blocker", PROVEN, [*evidence, f"it is of a {(protected or ['server'])[0]}"])
    return {
        **_finding("blocking_session", PROVEN if waiting else LIKELY, evidence),
        "member": member,
        "session": {key: session[key] for key in ("pid", "backend_start", "user", "application_name", "client")},
    }


def judge_service(service: Service, look: BottleneckLook, late: Sequence[CheckResult]) -> _Finding:
    """The judgement about a service of instances."""
    own = [result for result in late if result.target == service.name]
    if not own:
        return _finding("healthy", PROVEN, ["no answer is late"])
    said = [_late(result) for result in own[:4]]
    for suspect in (_machine, _database, _storm, _release, _instance):
        found = suspect(service, look)
        if found is not None:
            found["evidence"] = (*found["evidence"], *said)[:_MOST_EVIDENCE]
            return found
    return _finding("inconclusive", UNDECIDED, [*said, *_figures(service, look)])


def _finding(cause: str, confidence: float, evidence: Sequence[str]) -> _Finding:
    treatment = TREATMENTS.get(cause, "person")
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence[:_MOST_EVIDENCE]),
        "treatment": treatment,
        "next_step": _NEXT_STEPS.get(cause, "") if treatment == "person" else "",
    }


# -- the suspects, in this order -----------------------------------------------------------------------------------


def _machine(service: Service, look: BottleneckLook) -> _Finding | None:
    """A job on one of its machines takes the processors, and the instance there is late by itself."""
    limits = service.checks.thresholds
    for name, machine in look.machines.items():
        top = next(iter(machine.groups), None)
        if top is None or machine.busy < limits.cpu or top["essential"] is not None:
            continue
        share = float(top["processors"]) / max(1, machine.processors)
        if share < _HOG_SHARE:
            continue
        evidence = [
            f"{name}: {top['name']} (process {top['pid']}, {top['processes']} processes) takes "
            f"{top['processors']:.1f} of {machine.processors} processors, {machine.busy:.0%} are busy",
            f"{top['name']} belongs to no unit of the inventory",
            *_figures(service, look),
        ]
        if machine.owner != service.name:
            return _finding("waits_for_machine", PROVEN, evidence)
        process = {key: top[key] for key in ("pid", "start_ticks", "name", "processes", "processors")}
        return {**_finding("cpu_hog", PROVEN, evidence), "machine": name, "process": process}
    return None


def _database(_service: Service, look: BottleneckLook) -> _Finding | None:
    found = _blocker(look.activity)
    if found is None:
        return None
    _member, session, waiting = found
    return _finding("waits_for_database", PROVEN if waiting else LIKELY, [_blocking(session, waiting)])


def _storm(service: Service, look: BottleneckLook) -> _Finding | None:
    """One stranger holds most of the connections to the front, while the instances themselves answer in time."""
    front = look.front
    if front is None or not front.strangers:
        return None
    source, number = max(front.strangers.items(), key=lambda each: (each[1], each[0]))
    if number < _STORM_CONNECTIONS or number < front.total * _STORM_SHARE:
        return None
    if _slow_instances(service, look):
        return None
    evidence = [
        f"{number} of {front.total} connections to the gateway come from {source}, no machine of the inventory",
        *_figures(service, look),
    ]
    found = _finding("connection_storm", PROVEN, evidence)
    if not front.can_refuse:
        found["treatment"] = "person"
        found["next_step"] = f"Keep {source} out at the firewall: the gateway has no file of refused addresses."
    return {**found, "source": source, "gateway": front.machine}


def _release(service: Service, look: BottleneckLook) -> _Finding | None:
    """Every instance is late past the gateway as well, and its release came after it was last well."""
    slow = _slow_instances(service, look)
    if not slow or any(name not in look.releases for name in slow):
        return None
    running = {look.releases[name].bad for name in slow}
    elsewhere = {look.releases[name].bad for name in look.releases if name not in slow}
    if len(running) != 1 or running & elsewhere:
        return None
    suspect = next(iter(sorted((look.releases[name] for name in slow), key=lambda each: each.deployed_at)))
    if look.last_well is not None:
        if suspect.deployed_at <= look.last_well:
            return None
        confidence, when = PROVEN, f"after it was last well at {look.last_well}"
    else:
        if look.now - _unix(suspect.deployed_at) > _RECENT_SECONDS:
            return None
        confidence, when = LIKELY, "within the last day; nobody measured before it"
    evidence = [
        f"release {suspect.bad} came at {suspect.deployed_at}, {when}; {', '.join(slow)} run it and are late",
        *_figures(service, look),
    ]
    return {**_finding("slow_release", confidence, evidence), "release": suspect.bad, "previous": suspect.good}


def _instance(service: Service, look: BottleneckLook) -> _Finding | None:
    """One instance is late and another one is not: others can do its work meanwhile."""
    slow = _slow_instances(service, look)
    asked = [name for name, probe in look.probes.items() if not probe.unknown]
    gateway = service.require_host().gateway
    if not slow or len(slow) >= len(asked) or gateway is None or any(name not in gateway.servers for name in slow):
        return None
    return {**_finding("slow_instance", LIKELY, _figures(service, look)), "instances": slow}


# -- what was seen, in words ---------------------------------------------------------------------------------------


def _blocker(looks: Sequence[ActivityLook]) -> tuple[str, Mapping[str, t.Any], int] | None:
    """Member, session and how many wait for it: the one that most wait for, else one that could make them."""
    waited_for = [(look.member, session, int(session["waiting"])) for look in looks for session in look.blockers]
    if waited_for:
        return max(waited_for, key=lambda each: each[2])
    holders = [
        (look.member, session, 0)
        for look in looks
        for session in look.idle_holders
        if not (session["superuser"] or session["replication"] or session["service_role"])
    ]
    return max(holders, key=lambda each: each[1]["state_seconds"] or 0.0) if holders else None


def _blocking(session: Mapping[str, t.Any], waiting: int) -> str:
    locks = ", ".join(session["locks"]) or "a lock"
    since = session["transaction_seconds"] or 0.0
    who = f"session {session['pid']} of {session['user']} ({session['application_name']} from {session['client']})"
    waits = (
        f"{waiting} sessions of {', '.join(session['waiting_roles'])} wait for it" if waiting else "nobody seen waiting"
    )
    return f"{who} holds {locks}, {session['state']}, its transaction is open for {since:.1f} s; {waits}"


def _slow_instances(service: Service, look: BottleneckLook) -> list[str]:
    """Instances that are late past the gateway."""
    limit = late_limit(service)
    found = []
    for name, probe in look.probes.items():
        slowest = probe.slowest(list(probe.answers))
        timed_out = any(answered.worst == "timeout" for answered in probe.answers.values())
        if timed_out or (slowest is not None and slowest > limit):
            found.append(name)
    return sorted(found)


def late_limit(service: Service) -> float:
    """Seconds after which an answer of this service is late: the smallest limit that anybody set."""
    own = [check.max_response for check in service.checks.signals if check.topic == "performance"]
    return min([each for each in own if each is not None] + [service.checks.thresholds.response])


def _figures(service: Service, look: BottleneckLook) -> list[str]:
    found = []
    for name, probe in look.probes.items():
        slowest = probe.slowest(list(probe.answers))
        if slowest is not None:
            found.append(f"{name} answers past the gateway after {slowest:.2f} s at most")
    limits = service.checks.thresholds
    for name, machine in look.machines.items():
        for what, share, limit in (
            ("processors", machine.busy, limits.cpu),
            ("memory", machine.memory, limits.memory),
            ("disk", machine.disk, limits.disk),
        ):
            if share > limit:
                found.append(f"{name}: {share:.0%} of {what} used, over {limit:.0%}")
    return found


def _late(result: CheckResult) -> str:
    return f"{result.target}/{result.id} took {result.seconds:.2f} s"


def _unix(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
