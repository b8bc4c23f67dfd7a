# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked of a service to find out how it is, read from `codeblue_checks`.

These are descriptions only. `_check_runner` carries them out.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import (
    SecretReference,
    parse_secret_reference,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

LEVELS = ("shallow", "deep", "comprehensive")
# Checks that tell of danger, not of absence: a service that answers well may give patient data away meanwhile.
SIGNALS = "signals"
TOPICS = ("integrity", "intrusion", "exposure", "performance")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
# A check is a question to a service in trouble. One that needs longer is a job, not a check.
LONGEST_TIMEOUT = 60.0
# The key that stands in for a secret inside `headers` and `json`: {secret_from: "file:/…"}.
SECRET_KEY = "secret_from"
_SCHEMES = ("http", "https")
_TABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")


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
    """

    url: str
    method: str
    headers: Mapping[str, str | SecretReference]
    json: t.Any
    status: tuple[int, ...]
    body_has: str | None
    ca_file: str | None
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


CHECK_TYPES = ("http", "session", "tcp", "postgresql", "sentinel")


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
    "sentinel_lost": "a row that was committed cannot be read back",
    "secret_unreadable": "the secret that the check needs cannot be read on the controller",
    "controller": "the check could not be carried out by the controller itself",
}


def read_checks(values: TypedMapping) -> Checks:
    """Read `codeblue_checks`; what is wrong goes to the problems of the mapping."""
    seen: set[str] = set()
    found = {level: tuple(_read_level(values, level, seen)) for level in (*LEVELS, SIGNALS)}
    thresholds = Thresholds()
    limits = values.optional_child("thresholds")
    if limits is not None:
        thresholds = Thresholds(
            response=limits.duration("response", default=Thresholds.response),
            error_rate=limits.share("error_rate", default=Thresholds.error_rate),
            p95_factor=limits.number("p95_factor", default=Thresholds.p95_factor),
            p95_floor=limits.duration("p95_floor", default=Thresholds.p95_floor),
            cpu=limits.share("cpu", default=Thresholds.cpu),
            memory=limits.share("memory", default=Thresholds.memory),
            disk=limits.share("disk", default=Thresholds.disk),
        )
        limits.finish()
    checks = Checks(
        interval=values.duration("interval", default=Checks.interval, most=LONGEST_TIMEOUT),
        consecutive=values.integer("consecutive", default=Checks.consecutive, least=1, most=100),
        thresholds=thresholds,
        **found,
    )
    values.finish()
    return checks


def _read_level(values: TypedMapping, level: str, seen: set[str]) -> Iterator[Check]:
    for item in values.listed(level):
        before = len(item.problems.lines)
        kind = item.choice("type", CHECK_TYPES)
        if len(item.problems.lines) > before:
            continue
        topic = item.choice("topic", TOPICS) if level == SIGNALS else None
        check = _READERS[kind](item)
        if topic is not None:
            check = dataclasses.replace(check, topic=topic)
        item.finish()
        if check.id in seen:
            item.problem("id", f"{check.id!r} names another check of this service too, choose a different one")
        seen.add(check.id)
        if len(item.problems.lines) == before:
            yield check


def _common(item: TypedMapping) -> dict[str, t.Any]:
    return {
        "id": item.text("id"),
        "timeout": item.duration("timeout", default=2.0, most=LONGEST_TIMEOUT),
        "max_response": item.optional_duration("max_response", most=LONGEST_TIMEOUT),
    }


def _read_http(item: TypedMapping) -> HttpCheck:
    url = item.text("url")
    if url:
        _check_url(item, url)
    return HttpCheck(
        **_common(item),
        url=url,
        method=item.choice("method", METHODS, default="GET"),
        headers=_read_headers(item),
        json=_with_references(item, "json", item.plain("json")),
        status=_read_status(item),
        body_has=item.optional_text("body_has"),
        ca_file=item.optional_text("ca_file"),
    )


def _read_session(item: TypedMapping) -> SessionCheck:
    login = _read_http(item)
    use_url = item.text("use_url")
    if use_url:
        _check_url(item, use_url, "use_url")
    fields = {each.name: getattr(login, each.name) for each in dataclasses.fields(HttpCheck)}
    return SessionCheck(**fields, token_field=item.text("token_field", default="token"), use_url=use_url)


def _check_url(item: TypedMapping, url: str, key: str = "url") -> None:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if parts.scheme not in _SCHEMES or not parts.hostname or not port_is_valid:
        item.problem(key, "is no URL, write it like http://127.0.0.1:8080/health")
    elif parts.username is not None or parts.password is not None:
        item.problem(key, f"holds credentials, put them into headers as {{{SECRET_KEY}: file:/path}}")
    elif any(character <= " " or character == "\x7f" for character in url):
        item.problem(key, "holds white space, write it as %20")


def _read_status(item: TypedMapping) -> tuple[int, ...]:
    written = item.plain("status")
    if not isinstance(written, (list, tuple)):
        return (item.integer("status", default=200, least=100, most=599),)
    codes = [int(code) for code in written if isinstance(code, int) and 100 <= code <= 599]
    if len(codes) != len(written) or not codes:
        item.problem("status", "must be a status code or a list of them, each from 100 to 599")
    return tuple(codes)


def _read_headers(item: TypedMapping) -> dict[str, str | SecretReference]:
    headers = item.optional_child("headers")
    if headers is None:
        return {}
    found: dict[str, str | SecretReference] = {}
    for name in headers.names():
        value = _with_references(item, f"headers.{name}", headers.plain(name))
        if not isinstance(value, (str, SecretReference)) or (isinstance(value, str) and not value.isprintable()):
            headers.problem(name, f"must be a text of one line or {{{SECRET_KEY}: file:/path}}")
        else:
            found[name] = value
    return found


def _with_references(item: TypedMapping, key: str, value: t.Any) -> t.Any:
    """The same structure with every `{secret_from: …}` parsed."""
    if isinstance(value, Mapping):
        if set(value) == {SECRET_KEY}:
            return _reference(item, f"{key}.{SECRET_KEY}", value[SECRET_KEY])
        return {str(name): _with_references(item, f"{key}.{name}", inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_references(item, f"{key}[{position}]", inner) for position, inner in enumerate(value)]
    return value


def _reference(item: TypedMapping, key: str, text: t.Any) -> SecretReference | None:
    try:
        return parse_secret_reference(text if isinstance(text, str) else "", key)
    except BadInput as error:
        item.problem(key, f"is no reference to a secret, {error.hint}")
        return None


def _read_tcp(item: TypedMapping) -> TcpCheck:
    return TcpCheck(**_common(item), address=item.text("address"), port=item.port())


def _postgresql_fields(item: TypedMapping) -> dict[str, t.Any]:
    password = item.optional_text("password_from")
    return {
        **_common(item),
        "address": item.text("address"),
        "port": item.port(),
        "database": item.text("database"),
        "user": item.text("user"),
        "password": _reference(item, "password_from", password) if password is not None else None,
        "sslmode": item.choice("sslmode", SSL_MODES, default="prefer"),
        "ca_file": item.optional_text("ca_file"),
    }


def _read_postgresql(item: TypedMapping) -> PostgresqlCheck:
    return PostgresqlCheck(
        **_postgresql_fields(item),
        query=item.text("query", default="SELECT 1"),
        writes=item.boolean("writes", default=False),
    )


def _read_sentinel(item: TypedMapping) -> SentinelCheck:
    table = item.text("table", default="codeblue_check")
    if table and not _TABLE.match(table):
        item.problem("table", "must be a plain table name, with its schema if needed: public.sentinels")
    return SentinelCheck(**_postgresql_fields(item), query="", writes=True, table=table)


_READERS: Mapping[str, t.Callable[[TypedMapping], Check]] = {
    "http": _read_http,
    "session": _read_session,
    "tcp": _read_tcp,
    "postgresql": _read_postgresql,
    "sentinel": _read_sentinel,
}
