# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The services of an inventory, typed. A service is a host; its variables say what it is.

What the inventory says is how things were set up. Which member is the primary now, or which release runs, is
always looked up.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import PARTS, parts_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    AwsCheck,
    Check,
    Checks,
    ExposureCheck,
    WorkloadCheck,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks_reading import read_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform, read_aws
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host_reading import read_host
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import (
    KubernetesPlatform,
    read_kubernetes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_metrics import MetricSources, read_metrics
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy, read_phi
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import DEFAULT_TIER
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import (
    Problems,
    TypedMapping,
    raise_problems,
)

ENVIRONMENTS = ("lab", "staging", "production")
PLATFORMS = ("host", "kubernetes", "aws")
KINDS = ("service", "database", "gateway", "ai", "auth", "storage")
# Tiers order services within the dependency order: 0 comes back first.
LOWEST_TIER = 9
# An API server under load answers within a second or two; a check is not its longest wait.
_PLATFORM_SECONDS = 5.0
_EXPOSURE_SECONDS = 10.0

_SERVICE_VARIABLES = (
    "codeblue_environment",
    "codeblue_platform",
    "codeblue_kind",
    "codeblue_tier",
    "codeblue_depends_on",
    "codeblue_objectives",
    "codeblue_host",
    "codeblue_kubernetes",
    "codeblue_aws",
    "codeblue_checks",
    "codeblue_metrics",
    "codeblue_phi",
)


@dataclass(frozen=True)
class Objectives:
    """How soon it must be back, and how much may be lost; seconds.

    :param rto: recovery time objective.
    :param rpo: recovery point objective, 0 when nothing may be lost.
    """

    rto: float
    rpo: float


@dataclass(frozen=True)
class Service:
    """One unit of recovery.

    :param depends_on: services that must work before this one can.
    :param host: set when the platform is `host`.
    :param phi: what is said about patients' data; None when it holds none.
    :param metrics: where its metrics come from; None when there are none.
    :param kubernetes: set when the platform is `kubernetes`.
    :param aws: set when the platform is `aws`.
    """

    name: str
    environment: str
    platform: str
    kind: str
    tier: int
    depends_on: tuple[str, ...]
    objectives: Objectives
    checks: Checks
    host: HostPlatform | None = None
    phi: PhiPolicy | None = None
    metrics: MetricSources | None = None
    kubernetes: KubernetesPlatform | None = None
    aws: AwsPlatform | None = None

    def require_host(self) -> HostPlatform:
        """The host platform's part.

        :raises BadInput: the service runs on another platform.
        """
        if self.host is None:
            raise BadInput(
                f"{self.name}: is on platform {self.platform}",
                "this action works on platform host only",
            )
        return self.host

    @property
    def features(self) -> Mapping[str, Feature]:
        """What others use of it, and can do without."""
        platform = self.host or self.kubernetes or self.aws
        return platform.features if platform is not None else {}

    def require_kubernetes(self) -> KubernetesPlatform:
        """The Kubernetes platform's part.

        :raises BadInput: the service runs on another platform.
        """
        if self.kubernetes is None:
            raise BadInput(
                f"{self.name}: is on platform {self.platform}", "this action works on platform kubernetes only"
            )
        return self.kubernetes

    def require_aws(self) -> AwsPlatform:
        """The AWS platform's part.

        :raises BadInput: the service runs on another platform.
        """
        if self.aws is None:
            raise BadInput(f"{self.name}: is on platform {self.platform}", "this action works on platform aws only")
        return self.aws


def load_service(name: str, hostvars: Mapping[str, t.Any], inventory_names: Collection[str]) -> Service:
    """The service that a host's variables describe.

    :param hostvars: the variables of the host, Ansible's own may be among them.
    :param inventory_names: all hosts of the inventory, to hold machines and dependencies against.
    :raises BadInput: something is wrong; one line per problem, with host, key path and what to do.
    """
    problems = Problems(name)
    service = _read_service(name, hostvars, inventory_names, problems)
    problems.raise_if_any()
    return service


def load_services(
    hostvars_by_name: Mapping[str, Mapping[str, t.Any]], inventory_names: Collection[str]
) -> dict[str, Service]:
    """All services by name; the problems of all of them are shown together.

    :raises BadInput: something is wrong with at least one of them.
    """
    lines: list[str] = []
    services: dict[str, Service] = {}
    for name, hostvars in hostvars_by_name.items():
        problems = Problems(name)
        services[str(name)] = _read_service(str(name), hostvars, inventory_names, problems)
        lines += problems.lines
    raise_problems(lines)
    return services


def _read_service(
    name: str, hostvars: Mapping[str, t.Any], inventory_names: Collection[str], problems: Problems
) -> Service:
    own = {key: hostvars[key] for key in hostvars if str(key).startswith("codeblue_")}
    if "codeblue_platform" not in own and "codeblue_kind" not in own:
        problems.add("codeblue_platform", "is missing: this host is no service, is it in the group codeblue_services?")
    values = TypedMapping(own, "", problems)
    _name_misspelt_variables(own, problems)
    platform = values.choice("codeblue_platform", PLATFORMS)
    kind = values.choice("codeblue_kind", KINDS)
    host = None
    kubernetes = None
    aws = None
    if platform == "host":
        host = read_host(values.child("codeblue_host"), kind, inventory_names)
    elif platform == "kubernetes":
        kubernetes = read_kubernetes(values.child("codeblue_kubernetes"), inventory_names)
    else:
        aws = read_aws(values.child("codeblue_aws"), inventory_names)
    checks = values.optional_child("codeblue_checks")
    phi = values.optional_child("codeblue_phi")
    policy = read_phi(phi, inventory_names) if phi is not None else None
    metrics = values.optional_child("codeblue_metrics")
    return Service(
        name=name,
        environment=values.choice("codeblue_environment", ENVIRONMENTS),
        platform=platform,
        kind=kind,
        tier=values.integer("codeblue_tier", default=DEFAULT_TIER, most=LOWEST_TIER),
        depends_on=_read_dependencies(name, values, inventory_names),
        objectives=_read_objectives(values.child("codeblue_objectives")),
        checks=_with_platform(read_checks(checks) if checks is not None else Checks(), kubernetes, aws, policy),
        host=host,
        kubernetes=kubernetes,
        aws=aws,
        phi=policy,
        metrics=_read_metrics(metrics, host) if metrics is not None else None,
    )


def _with_platform(
    checks: Checks, kubernetes: KubernetesPlatform | None, aws: AwsPlatform | None, policy: PhiPolicy | None
) -> Checks:
    """The checks of a service, those of its platform first: they need no way to what it runs in."""
    own: list[Check] = []
    if kubernetes is not None:
        own.append(_workload_check(kubernetes))
    if aws is not None:
        own += [AwsCheck(each, _PLATFORM_SECONDS, None, each, aws) for each in parts_of(aws) if PARTS[each].checked]
    signals = checks.signals
    if kubernetes is not None and policy is not None:
        exposure = ExposureCheck("exposure", _EXPOSURE_SECONDS, None, kubernetes, policy, topic="exposure")
        signals = (*signals, exposure)
    return dataclasses.replace(checks, shallow=(*own, *checks.shallow), signals=signals) if own else checks


def _workload_check(kubernetes: KubernetesPlatform) -> WorkloadCheck:
    return WorkloadCheck(
        id="workload",
        timeout=_PLATFORM_SECONDS,
        max_response=None,
        namespace=kubernetes.namespace,
        kind=kubernetes.workload.kind,
        name=kubernetes.workload.name,
        service=kubernetes.service,
        kubeconfig=kubernetes.kubeconfig,
        context=kubernetes.context,
    )


def _read_metrics(values: TypedMapping, host: HostPlatform | None) -> MetricSources:
    has_machines = host is not None and bool(host.instances or host.postgresql)
    return read_metrics(values, host is not None and host.gateway is not None, has_machines)


def _read_objectives(values: TypedMapping) -> Objectives:
    rpo = values.plain("rpo")
    # Zero is a duration here: nothing may be lost.
    nothing_lost = str(rpo) in ("0", "0s", "0m", "0.0")
    objectives = Objectives(rto=values.duration("rto"), rpo=0.0 if nothing_lost else values.duration("rpo"))
    values.finish()
    return objectives


def _read_dependencies(name: str, values: TypedMapping, inventory_names: Collection[str]) -> tuple[str, ...]:
    found = values.texts("codeblue_depends_on")
    for dependency in found:
        if dependency == name:
            values.problem("codeblue_depends_on", "names the service itself, leave it out")
        elif dependency not in inventory_names:
            values.problem(
                "codeblue_depends_on",
                f"{dependency!r} is not in the inventory{did_you_mean(dependency, inventory_names)}",
            )
    return found


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name."""
    close = difflib.get_close_matches(name, [str(each) for each in known], n=1)
    return f", did you mean {close[0]}?" if close else ""


def _name_misspelt_variables(own: Mapping[str, t.Any], problems: Problems) -> None:
    """Other codeblue_ variables are inputs of roles, so only a near miss is a mistake."""
    for variable in own:
        if variable in _SERVICE_VARIABLES:
            continue
        close = difflib.get_close_matches(str(variable), _SERVICE_VARIABLES, n=1, cutoff=0.88)
        if close and close[0] not in own:
            problems.add(str(variable), f"is not a known variable, did you mean {close[0]}?")
