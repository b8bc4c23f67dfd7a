# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an API server answers when it does not do what it was asked, each as one line for a person."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

_LONGEST = 300
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class KubernetesError(CodeblueError):
    """The API server did not do it, and asking again would not help."""


class Conflict(KubernetesError):
    """The object is not what it was when it was read; nothing was written."""


class NotFound(KubernetesError):
    """The object, its namespace or its kind is not there."""


class Forbidden(KubernetesError):
    """The account has no right to it."""


class NamespaceGoing(KubernetesError):
    """The namespace is being deleted."""


class ApiUnavailable(KubernetesError):
    """No answer came within the time budget."""


@dataclass(frozen=True)
class Request:
    """One question to the API server, in the words of its access rules.

    :param resource: plural with its group, as `deployments.apps`.
    :param verb: one of the HTTP method's, or `list`.
    """

    method: str
    verb: str
    resource: str
    name: str = ""
    namespace: str = ""

    @property
    def what(self) -> str:
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.resource}{f' {self.name}' if self.name else ''}{place}"


def verb_of(method: str, name: str) -> str:
    """The verb by which rights to a request are given."""
    return "list" if method == "GET" and not name else _VERBS[method]


def error_of(request: Request, status: int, body: str) -> KubernetesError:
    """The error that an answer stands for.

    :param status: of HTTP, neither 2xx nor one that is asked again.
    :param body: a `Status` of the API, or what a proxy in between says.
    """
    said = _status(body)
    message = _one_line(_invalid_fields(said) or str(said.get("message") or body or f"HTTP {status}"))
    if _is_going(said, message):
        return NamespaceGoing(
            f"namespace {request.namespace} is being deleted, nothing new can be made in it",
            "find out who deletes it; what was in it comes back from a snapshot",
        )
    if status == 404:
        return NotFound(f"there is no {request.what}", "look at codeblue_kubernetes in the inventory")
    if status == 409:
        return Conflict(f"{request.what} was changed by somebody else meanwhile: {message}", "look who, and run again")
    if status == 403 and _is_about_rights(message):
        return Forbidden(
            f"the account may not {request.verb} {request.what}",
            f"grant the verb {request.verb} on {request.resource}"
            + (f" in namespace {request.namespace}" if request.namespace else " in the whole cluster")
            + ", see docs/kubernetes.md",
        )
    return KubernetesError(f"the API server refused to {request.verb} {request.what}: {message} (HTTP {status})")


def _status(body: str) -> Mapping[str, t.Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _invalid_fields(said: Mapping[str, t.Any]) -> str:
    """Which fields of an object are wrong, without their values; empty when it is about something else."""
    if said.get("reason") != "Invalid":
        return ""
    causes = (said.get("details") or {}).get("causes") or []
    return "invalid " + (", ".join(str(each.get("field")) for each in causes) or "object")


def _is_going(said: Mapping[str, t.Any], message: str) -> bool:
    causes = (said.get("details") or {}).get("causes") or []
    return any(each.get("reason") == "NamespaceTerminating" for each in causes) or "being terminated" in message


def _is_about_rights(message: str) -> bool:
    # A quota or an admission webhook answers 403 as well, and is told in its own words.
    return " cannot " in message or not message


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
