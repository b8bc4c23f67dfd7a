"""Which operation of which service a request asks for, read from its line and headers as AWS's services do.

The names come from botocore's models of the services, so they are those by which callers know them.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qs

import botocore.session

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_RPC = re.compile(r"/service/[^/]+/operation/([A-Za-z0-9]+)$")
_FORM = "application/x-www-form-urlencoded"
# Of services that are told by path and method; the others name the operation in the request.
_BY_PATH = frozenset({"s3", "route53", "cloudfront", "lambda"})
_READS = re.compile(r"(Describe|Get|List|Head|BatchGet|Lookup|Search|Select|Filter|Simulate|Validate|Decode)")
# Named as if they changed something. Running a query or taking up a role leaves no trace in the account's resources.
_READS_ALL_THE_SAME = frozenset({"AssumeRole", "StartQuery", "StopQuery", "TestMetricFilter", "TestDNSAnswer"})
_MOST_FORM_BYTES = 5_000_000


@dataclass(frozen=True)
class Operation:
    """What is asked for.

    :param service: as it signs, e.g. `elasticloadbalancing`.
    :param action: e.g. `DescribeTargetHealth`; empty when it cannot be told.
    :param region: that it was signed for.
    :param key: id of the access key that it was signed with; empty for an anonymous request.
    """

    service: str
    action: str
    region: str
    key: str

    @property
    def changes(self) -> bool:
        """Whether something of the account changes by it; what cannot be told counts as a change."""
        return self.action not in _READS_ALL_THE_SAME and not _READS.match(self.action)


def read_operation(environ: t.Mapping[str, t.Any], body: bytes) -> Operation:
    """What a request asks for.

    :param environ: as WSGI gives it.
    :param body: the whole of it.
    """
    signed = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None:
        signed = _presigned(environ)
    key, region, service = signed.groups() if signed else ("", "", "s3")
    return Operation(service, _action(service, environ, body), region, key)


def _presigned(environ: t.Mapping[str, t.Any]) -> re.Match[str] | None:
    scope = parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Credential", [""])[0]
    return _SCOPE.search(f"Credential={scope}")


def _action(service: str, environ: t.Mapping[str, t.Any], body: bytes) -> str:
    path = environ.get("PATH_INFO", "")
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if rpc := _RPC.search(path):
        return rpc[1]
    if service in _BY_PATH:
        return _by_path(service, environ)
    if str(environ.get("CONTENT_TYPE", "")).startswith(_FORM) and len(body) <= _MOST_FORM_BYTES:
        named = re.search(rb"(?:^|&)Action=([A-Za-z0-9]+)", body)
        return named[1].decode() if named else ""
    return parse_qs(environ.get("QUERY_STRING", "")).get("Action", [""])[0]


def _by_path(service: str, environ: t.Mapping[str, t.Any]) -> str:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    given = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    copies = "HTTP_X_AMZ_COPY_SOURCE" in environ
    for route in _routes(service):
        if route.method != method or not route.path.fullmatch(path):
            continue
        if not all(name in given and value in ("", given[name][0]) for name, value in route.query):
            continue
        if route.name.endswith("Copy") or route.name == "CopyObject":
            if not copies:
                continue
        elif copies and route.name in ("PutObject", "UploadPart"):
            continue
        if all(name in given for name in route.needs):
            return route.name
    return ""


class _Route(t.NamedTuple):
    name: str
    method: str
    path: re.Pattern[str]
    query: tuple[tuple[str, str], ...]
    needs: tuple[str, ...]


@cache
def _routes(service: str) -> tuple[_Route, ...]:
    """Those of all operations, the most particular first."""
    model = botocore.session.get_session().get_service_model(service)
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        pattern = re.sub(r"\\\{[^}]*\\\+\\\}", "(.+)", re.escape(path))
        pattern = re.sub(r"\\\{[^}]*\\\}", "([^/]+)", pattern) + "/?"
        asked = tuple((pair.partition("=")[0], pair.partition("=")[2]) for pair in query.split("&") if pair)
        found.append(_Route(name, operation.http["method"], re.compile(pattern), asked, _needed(operation)))
    return tuple(sorted(found, key=lambda each: (-len(each.query), -len(each.needs), each.path.groups)))


def _needed(operation: t.Any) -> tuple[str, ...]:
    """Parameters of the query without which it is another operation, as the parts of an upload."""
    shape = operation.input_shape
    if shape is None:
        return ()
    members = ((shape.members[name], name) for name in shape.required_members)
    return tuple(
        str(member.serialization.get("name", name))
        for member, name in members
        if member.serialization.get("location") == "querystring"
    )
