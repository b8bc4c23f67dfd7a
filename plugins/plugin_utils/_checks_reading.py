# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads `codeblue_checks` of an inventory into checks; every mistake is named by its full key path."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    LEVELS,
    SIGNALS,
    TOPICS,
    Check,
    Checks,
    HttpCheck,
    PostgresqlCheck,
    SentinelCheck,
    SessionCheck,
    TcpCheck,
    Thresholds,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import (
    SecretReference,
    parse_secret_reference,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
# A check is a question to a service in trouble. One that needs longer is a job, not a check.
LONGEST_TIMEOUT = 60.0
# The key that stands in for a secret inside `headers` and `json`: {secret_from: "file:/…"}.
SECRET_KEY = "secret_from"
_SCHEMES = ("http", "https")
_TABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")


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
        kind = item.choice("type", tuple(_READERS))
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
        check_url(item, url)
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
        check_url(item, use_url, "use_url")
    fields = {each.name: getattr(login, each.name) for each in dataclasses.fields(HttpCheck)}
    return SessionCheck(**fields, token_field=item.text("token_field", default="token"), use_url=use_url)


def check_url(item: TypedMapping, url: str, key: str = "url") -> None:
    """What is wrong with an address goes to the problems of the mapping."""
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
