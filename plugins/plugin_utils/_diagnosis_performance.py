# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why services answer late: what is looked at. The judgement is in `_bottleneck`.

Everything that can be the bottleneck of a service that is late is asked at once: the database for sessions that make
others wait, the machines for jobs that take their processors, the gateway for sources that take its places, every
instance for its own answers past the gateway, and its release for when it came.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._bottleneck import (
    ActivityLook,
    BottleneckLook,
    FrontLook,
    MachineLook,
    judge_database,
    judge_service,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, HttpCheck, TcpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import probe_calls, probe_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    candidate_of,
    list_call,
    with_releases,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import Question, Seen

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

_COLLECTION = "codeblue.recovery."
_LOOK_SECONDS = 30.0
_WATCH_SECONDS = 1.0
ACTIVITY, MACHINE, PROBE, RELEASES, FRONT = "activity", "machine", "probe", "releases", "front"


class PerformanceDiagnosis:
    """See `RunbookDiagnosis`."""

    def questions(self, service: Service) -> Sequence[Question]:
        """The databases only: who is late, and so which machines matter, is known when the checks have ended."""
        return [Question(name, call) for name, call in activity_calls(service).items()]

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        late = late_results(seen)
        if seen.service.host is not None and seen.service.host.postgresql is not None:
            looks = [activity_look(name, answer) for name, answer in seen.answers.items()]
            return judge_database(seen.service, looks, late)
        if not any(result.target == seen.service.name for result in late):
            return judge_service(seen.service, BottleneckLook(), [])
        return judge_service(seen.service, self._look(seen, late), late)

    def decide_workload(
        self, seen: Seen, looked: WorkloadSeen, findings: Callable[[], ServiceFindings]
    ) -> dict[str, t.Any]:
        """The same of a service on Kubernetes."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes_performance import (
            judge_late,
        )

        return judge_late(findings(), late_results(seen), last_well([seen.service.name]), time.time())

    def look_at_aws(self, account: AwsAccount, services: Mapping[str, Service]) -> Mapping[str, tuple[t.Any, t.Any]]:
        """How busy the tasks of services of ECS are, and what scales them; see `LooksAtAws`."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import (
            read_scalers_of,
            resource_of,
        )
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_metrics import ecs_load

        ecs = {name: part for name, service in services.items() if (part := service.require_aws().ecs) is not None}
        scalers = read_scalers_of(account, [resource_of(part.cluster, part.service) for part in ecs.values()])
        loads = ecs_load(account, ecs, time.time())
        return {name: (loads[name], scalers.get(resource_of(part.cluster, part.service))) for name, part in ecs.items()}

    def decide_aws(self, seen: Seen, looked: AwsSeen, judged: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        """The same of a service on AWS; see `AwsDiagnosis`."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import RUNBOOK
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_performance import (
            judge_late_on_aws,
        )

        load, scaler = looked.looks.get(RUNBOOK) or (None, None)
        look = looked.looks.get("ecs")
        look = dataclasses.replace(look, scaler=scaler) if look is not None else None
        name = seen.service.name
        late, well = late_results(seen), last_well([name])
        return judge_late_on_aws(seen.service, judged(), look, load, late, well, time.time())

    def _look(self, seen: Seen, late: Sequence[CheckResult]) -> BottleneckLook:
        service, everything = seen.service, {**seen.dependencies, **seen.services}
        instances = service.require_host().instances
        calls = {
            # A job may be essential to another service on the same machine.
            **{f"{MACHINE}/{name}": machine_call(each, list(everything.values())) for name, each in instances.items()},
            **{f"{PROBE}/{name}": call for name, call in probe_calls(service, lambda _secret: None, count=3).items()},
            **{f"{RELEASES}/{instance.machine}": list_call(instance) for instance in with_releases(service)},
            **{
                call_name: call
                for name, database in everything.items()
                if name in service.depends_on
                for call_name, call in activity_calls(database).items()
            },
        }
        calls |= {f"{FRONT}/{call.machine}": call for call in front_calls(service)}
        answers = dict(zip(calls, seen.ask(list(calls.values())), strict=True))
        return BottleneckLook(
            machines={
                name: machine_look(name, answers[f"{MACHINE}/{name}"], _owner(name, everything, late))
                for name in instances
            },
            probes={
                name: probe_of(answer) for name in instances if (answer := answers.get(f"{PROBE}/{name}")) is not None
            },
            releases={
                name: release
                for name in instances
                if (answer := answers.get(f"{RELEASES}/{name}")) is not None
                and answer.result is not None
                and (release := candidate_of(service.name, answer.result, set())) is not None
            },
            activity=[
                activity_look(name, answer) for name, answer in answers.items() if name.startswith(f"{ACTIVITY}/")
            ],
            front=front_look(
                service,
                [answer for name, answer in answers.items() if name.startswith(f"{FRONT}/")],
                own_addresses(everything.values()),
            ),
            last_well=last_well([service.name]),
            now=time.time(),
        )


DIAGNOSIS = PerformanceDiagnosis()


def late_results(seen: Seen) -> list[CheckResult]:
    """The last results that came late: past the check's own limit, or past the service's threshold.

    Of services for which a criterion fires, when one does: a single late answer of another one says nothing.
    """
    confirmed = {name for criterion in seen.detection.criteria if criterion.fired for name in criterion.targets}
    thresholds = {name: service.checks.thresholds.response for name, service in seen.services.items()}
    return [
        result
        for result in seen.detection.results
        if result.tells_speed
        and (not confirmed or result.target in confirmed)
        and (
            (not result.ok and result.error_class in ("slow", "timeout"))
            or (result.ok and result.seconds > thresholds.get(result.target, float("inf")))
        )
    ]


def activity_calls(service: Service) -> dict[str, MachineCall]:
    """Asks every member who makes others wait."""
    database = service.host.postgresql if service.host is not None else None
    if database is None:
        return {}
    return {
        f"{ACTIVITY}/{name}": MachineCall(
            member.machine,
            _COLLECTION + "postgresql_activity",
            {
                **login_arguments(database, member),
                "service_roles": list(database.service_roles),
                "watch": _WATCH_SECONDS,
            },
            _LOOK_SECONDS,
            check_mode=True,
        )
        for name, member in database.members.items()
    }


def machine_call(instance: Instance, services: Sequence[Service]) -> MachineCall:
    """Asks a machine what takes it."""
    arguments: dict[str, t.Any] = {"essential_units": essential_units(instance.machine, services)}
    if instance.processes_below is not None:
        arguments["processes_below"] = instance.processes_below
    return MachineCall(instance.machine, _COLLECTION + "machine_resources", arguments, _LOOK_SECONDS, check_mode=True)


def essential_units(machine: str, services: Sequence[Service]) -> list[dict[str, str]]:
    """The units of these services on one machine, each once."""
    found = []
    for service in services:
        if service.host is None:
            continue
        parts = [*service.host.instances.values()]
        members = service.host.postgresql.members.values() if service.host.postgresql is not None else []
        for part in (*parts, *members):
            if part.machine == machine and part.process.as_arguments() not in found:
                found.append(part.process.as_arguments())
    return found


def front_calls(service: Service) -> list[MachineCall]:
    """Ask the gateways' machines from where the connections to the service's front come."""
    gateway = service.require_host().gateway
    ports = front_ports(service)
    if gateway is None or not ports:
        return []
    return [
        MachineCall(
            machine,
            _COLLECTION + "machine_resources",
            {"seconds": 0.1, "ports": ports, "most": 10},
            _LOOK_SECONDS,
            check_mode=True,
        )
        for machine in dict.fromkeys(each.machine for each in gateway.every)
    ]


def front_ports(service: Service) -> list[int]:
    """The ports by which clients come in: those of its checks that are no instance's own."""
    own = {instance.port for instance in service.require_host().instances.values()}
    found = []
    for _level, check in service.checks.up_to("deep"):
        port = check.port if isinstance(check, TcpCheck) else None
        if isinstance(check, HttpCheck):
            parts = urlsplit(check.url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        if port is not None and port not in own and port not in found:
            found.append(port)
    return found


def own_addresses(services: t.Iterable[Service]) -> set[str]:
    """Addresses of the site's own instances and members, which are never taken for strangers."""
    found = {"127.0.0.1", "::1"}
    for service in services:
        if service.host is not None:
            found |= {instance.address for instance in service.host.instances.values()}
            if service.host.postgresql is not None:
                found |= {member.address for member in service.host.postgresql.members.values()}
    return found


def _owner(machine: str, services: Mapping[str, Service], late: Sequence[CheckResult]) -> str:
    """Which of the late services on a machine treats it: one, and every target names the same."""
    slow = {result.target for result in late}
    on_machine = [
        name
        for name, service in services.items()
        if name in slow
        and service.host is not None
        and any(instance.machine == machine for instance in service.host.instances.values())
    ]
    return min(on_machine, default="")


def activity_look(name: str, answer: MachineAnswer) -> ActivityLook:
    """Out of the answer of `postgresql_activity`."""
    member = name.rpartition("/")[2]
    if answer.result is None:
        return ActivityLook(member, unknown=answer.unreachable or answer.failure or "no answer")
    return ActivityLook(
        member,
        blockers=tuple(answer.result["blockers"]),
        idle_holders=tuple(answer.result["idle_holders"]),
        prepared_blocking=bool(answer.result["prepared_blocking"]),
        opened_per_second=float(answer.result["opened_per_second"]),
    )


def machine_look(name: str, answer: MachineAnswer, owner: str) -> MachineLook:
    """Out of the answer of `machine_resources`."""
    if answer.result is None:
        return MachineLook(name, owner, unknown=answer.unreachable or answer.failure or "no answer")
    result = answer.result
    return MachineLook(
        name,
        owner,
        busy=float(result["cpu"]["busy"]),
        processors=int(result["cpu"]["processors"]),
        memory=float(result["memory"]["used"]),
        disk=max((float(each["used"]) for each in result["disks"]), default=0.0),
        groups=tuple(result["groups"]),
    )


def front_look(service: Service, answers: Sequence[MachineAnswer], own: set[str]) -> FrontLook | None:
    """Out of the answers about the gateways' connections."""
    gateway = service.require_host().gateway
    results = [answer.result for answer in answers if answer.result is not None]
    if not results or gateway is None:
        return None
    total = 0
    sources: dict[str, int] = {}
    for counted in (each for result in results for each in result["connections"].values()):
        total += int(counted["total"])
        for source, number in counted["sources"].items():
            sources[source] = sources.get(source, 0) + int(number)
    return FrontLook(
        machine=gateway.machine,
        total=total,
        strangers={source: number for source, number in sources.items() if source not in own},
        can_refuse=gateway.refused_sources_file is not None,
    )


def last_well(names: Sequence[str]) -> str | None:
    """When the service was last measured while it was well; None when nobody did, or the store cannot be read."""
    # Imported here: the command that detects needs no store.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import baselines_of

    try:
        store = open_store()
        try:
            return max((each.last_at for each in baselines_of(store, names).values()), default=None)
        finally:
            store.close()
    except CodeblueError:
        # A lost store must not stop a diagnosis: then it is only less certain which change came last.
        return None
