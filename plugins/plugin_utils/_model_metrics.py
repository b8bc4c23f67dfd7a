# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that says where its metrics come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks_reading import check_url
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import LEAST_REQUESTS, METRICS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import (
    SecretReference,
    parse_secret_reference,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

# A monitoring that needs longer is in trouble itself, and a recovery does not wait for it.
LONGEST_TIMEOUT = 10.0
_OF_MACHINES = ("cpu", "memory", "disk")


@dataclass(frozen=True)
class Prometheus:
    """Queries to a Prometheus server, or to what speaks its HTTP API.

    :param queries: metric to PromQL; of several series the highest value counts.
    :param timeout: seconds for each query.
    :param step: seconds between the values of a window.
    """

    url: str
    token: SecretReference | None
    ca_file: str | None
    timeout: float
    step: float
    queries: Mapping[str, str]


@dataclass(frozen=True)
class MetricSources:
    """What `codeblue_metrics` says.

    :param gateway_requests: read the counters of the service's backend on its gateway; of fewer requests than this no
        rate is made. None when they are not read.
    :param machines: look at the processors, memory and disks of the machines behind the service.
    :param disks: directories whose file systems are looked at.
    """

    prometheus: Prometheus | None = None
    gateway_requests: int | None = None
    machines: bool = False
    disks: tuple[str, ...] = ("/",)

    def names(self) -> frozenset[str]:
        """The metrics that there is a source for."""
        found = set(self.prometheus.queries) if self.prometheus is not None else set()
        if self.gateway_requests is not None:
            found |= {"error_rate", "response"}
        return frozenset(found | set(_OF_MACHINES if self.machines else ()))


def read_metrics(values: TypedMapping, has_gateway: bool, has_machines: bool) -> MetricSources:
    """Read `codeblue_metrics`; what is wrong goes to the problems of the mapping."""
    prometheus = values.optional_child("prometheus")
    gateway = values.optional_child("gateway")
    machines = values.optional_child("machines")
    requests, disks = None, MetricSources.disks
    if gateway is not None:
        requests = gateway.integer("minimum_requests", default=LEAST_REQUESTS, least=1)
        gateway.finish()
        if not has_gateway:
            values.problem("gateway", "the service has no codeblue_host.gateway whose counters could be read")
    if machines is not None:
        disks = machines.texts("disks") or disks
        machines.finish()
        if not has_machines:
            values.problem("machines", "the service has no machines; only those of platform host can be looked at")
    found = MetricSources(
        prometheus=_read_prometheus(prometheus) if prometheus is not None else None,
        gateway_requests=requests,
        machines=machines is not None,
        disks=disks,
    )
    values.finish()
    return found


def _read_prometheus(values: TypedMapping) -> Prometheus:
    url = values.text("url").rstrip("/")
    if url:
        check_url(values, url)
    queries = values.child("queries")
    found = {metric: queries.text(metric) for metric in METRICS if metric in queries}
    for name in queries.names():
        if name not in METRICS:
            queries.problem(name, f"is no metric that criteria know, those are {', '.join(METRICS)}")
    if not queries.names():
        values.problem("queries", "names no metric, leave prometheus out")
    token = values.optional_text("token_from")
    prometheus = Prometheus(
        url=url,
        token=_reference(values, token) if token is not None else None,
        ca_file=values.optional_text("ca_file"),
        timeout=values.duration("timeout", default=3.0, most=LONGEST_TIMEOUT),
        step=values.duration("step", default=15.0),
        queries=found,
    )
    values.finish()
    return prometheus


def _reference(values: TypedMapping, text: str) -> SecretReference | None:
    try:
        return parse_secret_reference(text, "token_from")
    except BadInput as error:
        values.problem("token_from", f"is no reference to a secret, {error.hint}")
        return None
