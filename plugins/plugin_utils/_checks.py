# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked of a service to find out how it is.

These are descriptions only. `_checks_reading` reads them from `codeblue_checks`, `_check_runner` carries them out.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy

LEVELS = ("shallow", "deep", "comprehensive")
# Checks that tell of danger, not of absence: a service that answers well may give patient data away meanwhile.
SIGNALS = "signals"
TOPICS = ("integrity", "intrusion", "exposure", "performance")


@dataclass(frozen=True)
class Check:
    """What all checks have.

    :param id: unique within the service.
    :param timeout: seconds, the hard total deadline from name resolution to the last byte.
    :param max_response: seconds; a right answer that took longer fails as `slow`.
    :param topic: one of `TOPICS` for a signal, else None.
    """

    id: str
    timeout: float
    max_response: float | None
    topic: str | None = field(default=None, kw_only=True)
    type: t.ClassVar[str] = ""


@dataclass(frozen=True)
class HttpCheck(Check):
    """One HTTP/1.1 request. Redirects are answers, not followed. TLS is always verified.

    :param headers: values are texts or secret references.
    :param json: the body, with secret references in place of secrets; None for no body.
    :param status: the accepted status codes.
    :param ca_file: certificates to trust in place of the system's.
    :param connect_to: host and port that is connected to instead of what the address says, which stays the name that
        is asked for and that the certificate must have; None for the address.
    """

    url: str
    method: str
    headers: Mapping[str, str | SecretReference]
    json: t.Any
    status: tuple[int, ...]
    body_has: str | None
    ca_file: str | None
    connect_to: tuple[str, int] | None = field(default=None, kw_only=True)
    type: t.ClassVar[str] = "http"


@dataclass(frozen=True)
class SessionCheck(HttpCheck):
    """Logs in, and shows the token to a service that has to take it.

    Only a refusal of the token counts against the login. A service that gives another answer, or none, has checks of
    its own.

    :param token_field: where the token stands in the answer to the login.
    :param use_url: is asked with the token as bearer.
    """

    token_field: str
    use_url: str
    type: t.ClassVar[str] = "session"


@dataclass(frozen=True)
class TcpCheck(Check):
    """A TCP connection is accepted."""

    address: str
    port: int
    type: t.ClassVar[str] = "tcp"


@dataclass(frozen=True)
class PostgresqlCheck(Check):
    """A new connection runs one query in one transaction.

    :param query: when it answers one row of one boolean, that must be true.
    :param writes: the transaction may write; without it, it is opened read only.
    """

    address: str
    port: int
    database: str
    user: str
    password: SecretReference | None
    query: str
    writes: bool
    sslmode: str
    ca_file: str | None
    type: t.ClassVar[str] = "postgresql"


@dataclass(frozen=True)
class SentinelCheck(PostgresqlCheck):
    """A row is written and committed on one connection and read back on a second one.

    The second connection takes the same way as a client's next one: where a gateway leads to two primaries, or
    to a standby that lags, the row is not there.

    :param table: `(id integer PRIMARY KEY, checked_at timestamptz NOT NULL)`; only the row with id 2 is written.
    """

    table: str
    type: t.ClassVar[str] = "sentinel"


@dataclass(frozen=True)
class WorkloadCheck(Check):
    """Kubernetes has a ready pod of the workload, and its Service leads to one.

    Every service on Kubernetes has this check; it needs no way from the controller to the pods.

    :param kind: Deployment, StatefulSet or DaemonSet.
    :param service: None when it has no Service.
    :param kubeconfig: None for the usual one.
    :param context: None for the current one.
    """

    namespace: str
    kind: str
    name: str
    service: str | None
    kubeconfig: str | None
    context: str | None
    type: t.ClassVar[str] = "workload"


@dataclass(frozen=True)
class AwsCheck(Check):
    """AWS says of a part of the service that it works, such as of its tasks or its database.

    Every service on AWS has this check for its parts; it needs no way from the controller to them.

    :param part: as `codeblue_aws` names it.
    """

    part: str
    platform: AwsPlatform = field(hash=False)
    type: t.ClassVar[str] = "aws"


@dataclass(frozen=True)
class ExposureCheck(Check):
    """No log of a workload on Kubernetes holds data of patients, and nothing leads to it from outside unasked.

    Every service on Kubernetes with `codeblue_phi` has this signal; it needs no way from the controller to the pods.

    :param place: where the workload is.
    :param policy: what is about patients there.
    """

    place: KubernetesPlatform
    policy: PhiPolicy
    type: t.ClassVar[str] = "exposure"


CHECK_TYPES = ("http", "session", "tcp", "postgresql", "sentinel", "workload", "aws", "exposure")
# Their time is that of a platform's API.
_OF_PLATFORMS = frozenset((WorkloadCheck.type, AwsCheck.type, ExposureCheck.type))


@dataclass(frozen=True)
class Thresholds:
    """What counts as healthy, though it answers.

    :param response: seconds. 500 ms is the requirement for every service (health and validation).
    :param error_rate: share of failed checks, 0.001 = 0.1 %.
    :param p95_factor: times the 95th percentile from before the incident that is normal again.
    :param p95_floor: seconds; a 95th percentile below it is normal, however fast it was before.
    :param cpu: share of a machine's processors that may be busy; memory and disk alike.
    """

    response: float = 0.5
    error_rate: float = 0.001
    p95_factor: float = 3.0
    p95_floor: float = 0.1
    cpu: float = 0.8
    memory: float = 0.85
    disk: float = 0.9


@dataclass(frozen=True)
class Checks:
    """The checks of one service.

    :param interval: seconds between the tries that confirm a finding.
    :param consecutive: how many failures in a row confirm one.
    :param signals: tell of danger rather than of absence; asked together with any level when asked for.
    """

    interval: float = 2.0
    consecutive: int = 3
    shallow: tuple[Check, ...] = ()
    deep: tuple[Check, ...] = ()
    comprehensive: tuple[Check, ...] = ()
    signals: tuple[Check, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)

    def at_level(self, level: str) -> tuple[Check, ...]:
        """The checks of one level of `LEVELS`."""
        return {
            "shallow": self.shallow,
            "deep": self.deep,
            "comprehensive": self.comprehensive,
            SIGNALS: self.signals,
        }[level]

    def up_to(self, level: str) -> Iterator[tuple[str, Check]]:
        """Level and check, from shallow up to and with the level."""
        for each in LEVELS[: LEVELS.index(level) + 1]:
            for check in self.at_level(each):
                yield each, check


@dataclass(frozen=True)
class PlannedCheck:
    """A check of a service at a level: one line of a plan for the runner.

    :param interval: seconds from try to try while a failure is confirmed.
    :param consecutive: how many failures in a row confirm it.
    """

    target: str
    level: str
    check: Check
    interval: float = Checks.interval
    consecutive: int = Checks.consecutive


def plan_checks(
    checks_by_target: Mapping[str, Checks], level: str = "deep", signals: bool = False
) -> list[PlannedCheck]:
    """All checks of the targets from shallow up to and with the level.

    :param signals: theirs too.
    """
    return [
        PlannedCheck(target, each, check, checks.interval, checks.consecutive)
        for target, checks in checks_by_target.items()
        for each, check in (*checks.up_to(level), *((SIGNALS, s) for s in (checks.signals if signals else ())))
    ]


@dataclass(frozen=True)
class CheckResult:
    """The answer to one check. Holds no secret and no more than a short text of what the service said.

    :param error_class: None when ok, else one of `ERROR_CLASSES`.
    :param seconds: from the start of the check to its answer.
    :param at: Unix seconds when the check was started.
    """

    target: str
    id: str
    level: str
    type: str
    ok: bool
    seconds: float
    error_class: str | None
    detail: str
    at: float
    topic: str | None = None

    @property
    def tells_speed(self) -> bool:
        """Whether its time is that of the service, and not of monitoring or of a platform's API."""
        return self.type not in _OF_PLATFORMS and self.topic in (None, "performance")


#: Every way in which a check can fail, with what it means.
ERROR_CLASSES: Mapping[str, str] = {
    "refused": "nothing listens on the port",
    "timeout": "no complete answer within the deadline",
    "unreachable": "no route to the address",
    "name_resolution": "the host name cannot be resolved",
    "closed": "the connection was accepted and closed without an answer",
    "tls": "the certificate or the TLS handshake failed",
    "protocol": "the answer does not follow the protocol",
    "unavailable": "HTTP 502, 503 or 504: the gateway has nobody to ask, or the service says it cannot",
    "status": "another HTTP status than the check wants",
    "body": "the body does not hold the wanted text",
    "slow": "the right answer, later than max_response",
    "token_refused": "a login works, and the service that the token is for refuses it",
    "too_many_connections": "PostgreSQL has no slot left (SQLSTATE 53300)",
    "credentials_refused": "the server refuses the user or the password (SQLSTATE class 28, HTTP 401, 403)",
    "starting": "PostgreSQL is starting up, shutting down or in recovery (SQLSTATE 57P01 to 57P05)",
    "read_only": "PostgreSQL takes no writes (SQLSTATE 25006): a standby, or switched to read only",
    "database_missing": "the database does not exist (SQLSTATE 3D000)",
    "disk_full": "PostgreSQL has no space left (SQLSTATE 53100)",
    "query_failed": "the query failed for another reason; the SQLSTATE is in the detail",
    "no_pod_ready": "Kubernetes has no ready pod of the workload, or no such workload",
    "no_endpoint": "the Service leads to no ready pod, or does not exist",
    "no_task_runs": "ECS runs no task of the service, or has no such service",
    "no_target_healthy": "no target of a target group of the service is healthy",
    "database_down": "RDS serves nobody with the database",
    "exposed": "a log of the workload holds data of patients, or something leads to it from outside that should not",
    "api_unavailable": "the API of the platform gives no answer that can be used",
    "sentinel_lost": "a row that was committed cannot be read back",
    "secret_unreadable": "the secret that the check needs cannot be read on the controller",
    "controller": "the check could not be carried out by the controller itself",
}
