# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an API server, with plain JSON in and out, within one time budget.

The official client brings the credentials and the connection. Its objects are left out: making one of a pod takes
longer than fetching it, and a field that the package does not know would be lost on the way back.

What is repeated is safe to repeat: a write names the version of the object that it was decided on, a deletion names the
very object. Whether an answer that was lost had done it is seen by the caller as a `Conflict` or `NotFound`.
"""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import urllib3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    ApiUnavailable,
    Request,
    error_of,
    verb_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_official import ApiException

_PAGE = 500
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
# How long one call goes on against a server that restarts, or does not answer.
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
_UNAUTHORISED = 401
# Of a log: lines that are asked for, and how many times the wanted bytes these may be.
_LOG_LINES = 2000
_LOG_SENT = 8
# Of an answer of a pod: as much of it as tells the API server's own words from those of the pod.
_LONGEST_REFUSAL = 16384
_FIRST_REFUSAL = 400
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Resource:
    """A kind of objects as paths name it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def full_name(self) -> str:
        """As access rules name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        return f"{root}{place}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
REPLICA_SETS = Resource("apps", "v1", "replicasets")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions")
SERVICES = Resource("", "v1", "services")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses")
SECRETS = Resource("", "v1", "secrets")
QUOTAS = Resource("", "v1", "resourcequotas")
JOBS = Resource("batch", "v1", "jobs")
CONFIG_MAPS = Resource("", "v1", "configmaps")
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")
WORKLOAD_RESOURCES = {
    "Deployment": Resource("apps", "v1", "deployments"),
    "StatefulSet": Resource("apps", "v1", "statefulsets"),
    "DaemonSet": Resource("apps", "v1", "daemonsets"),
}


class Budget:
    """The time that something has in all.

    :param seconds: from now.
    :param clock: of seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds, 0 when it is over."""
        return max(0.0, self._ends - self._clock())


class KubernetesClient:
    """One account of one cluster, for one task.

    :param budget: for all calls together.
    :param patience: seconds that a single call is repeated for.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        access: ClusterAccess,
        budget: Budget,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access = access
        self._budget = budget
        self._patience = patience
        self._sleep = sleep
        self._api = access.connect()
        #: How often the API server was asked, repetitions among them; and how often to change something.
        self.calls = 0
        self.writes = 0

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, t.Any]:
        """One object.

        :raises NotFound: it is not there.
        :raises KubernetesError: it cannot be read.
        """
        return self._ask("GET", resource, name, namespace)

    def list_all(
        self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "", page: int = _PAGE
    ) -> list[dict[str, t.Any]]:
        """All objects of a namespace, or of the cluster, page by page.

        :param labels: a label selector.
        :param fields: a field selector.
        :raises KubernetesError: they cannot be read.
        """
        return [item for items in self._pages(resource, namespace, labels, fields, page) for item in items]

    def _pages(
        self, resource: Resource, namespace: str, labels: str, fields: str, page: int
    ) -> Iterator[list[dict[str, t.Any]]]:
        query = [("limit", str(page))]
        query += [(key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value]
        onward = ""
        while True:
            found = self._ask("GET", resource, "", namespace, query + ([("continue", onward)] if onward else []))
            yield found.get("items") or []
            onward = (found.get("metadata") or {}).get("continue") or ""
            if not onward:
                return

    def merge(self, resource: Resource, name: str, namespace: str, change: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Change fields of an object; None removes one. With `metadata.resourceVersion` only that version.

        :raises Conflict: it is another version.
        :raises KubernetesError: it was not changed.
        """
        return self._ask("PATCH", resource, name, namespace, body=dict(change), content=_MERGE_PATCH)

    def patch(
        self, resource: Resource, name: str, namespace: str, operations: Sequence[Mapping[str, t.Any]]
    ) -> dict[str, t.Any]:
        """Change an object by a JSON patch, which replaces what it names whole.

        :raises Conflict: `metadata.resourceVersion` was replaced by one that is not the object's.
        :raises KubernetesError: it was not changed.
        """
        return self._ask("PATCH", resource, name, namespace, body=list(operations), content=_JSON_PATCH)

    def create(self, resource: Resource, namespace: str, manifest: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Make an object.

        :raises Conflict: there is one of this name.
        :raises KubernetesError: it was not made.
        """
        return self._ask("POST", resource, "", namespace, body=dict(manifest))

    def delete(self, resource: Resource, name: str, namespace: str, uid: str) -> None:
        """Delete this very object, and no later one of the same name.

        :raises NotFound: it is gone already.
        :raises Conflict: another one has its name now.
        :raises KubernetesError: it was not deleted.
        """
        self._ask("DELETE", resource, name, namespace, body={"preconditions": {"uid": uid}})

    def log(
        self,
        pod: str,
        container: str,
        namespace: str,
        most: int,
        previous: bool = False,
        lines: int | None = _LOG_LINES,
    ) -> bytes:
        """The end of a container's log, with times.

        :param most: bytes.
        :param previous: of the container that ended before this one.
        :param lines: the last of them; None for the log from its beginning, as far as `most` goes.
        :raises KubernetesError: it cannot be read.
        """
        # The server counts bytes from the beginning of what it sends, so lines bound how much that is.
        bounds = {"limitBytes": most} if lines is None else {"tailLines": lines, "limitBytes": most * _LOG_SENT}
        query = [("container", container), ("timestamps", "true"), *((key, str(each)) for key, each in bounds.items())]
        query += [("previous", "true")] if previous else []
        found = self._ask("GET", PODS, pod, namespace, query, part="log", read=lambda data: {"log": data})
        return t.cast("bytes", found["log"])[-most:]

    def answer_of_pod(self, pod: str, port: str, namespace: str, path: str, seconds: float) -> tuple[int | None, str]:
        """What a pod answers to who says nothing about themselves, asked once through the API server.

        The API server takes the credential away before it hands a request on. Of the answer nothing but its status is
        looked at; redirects are answers.

        :returns: the status, None and why when the pod gave none.
        """
        url = f"{self._api.configuration.host}{PODS.path(namespace, f'{pod}:{port}')}/proxy{path}"
        headers = {"Accept": "*/*"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"])
        self.calls += 1
        wait = urllib3.Timeout(connect=min(_CONNECT_SECONDS, seconds), read=seconds)
        try:
            answer = self._api.rest_client.pool_manager.request(
                "GET", url, headers=headers, redirect=False, preload_content=False, timeout=wait, retries=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return None, type(error).__name__
        try:
            said = answer.read(_LONGEST_REFUSAL) if answer.status >= _FIRST_REFUSAL else b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return None, type(error).__name__
        finally:
            answer.close()
        # What the API server itself says of it is no answer of the pod.
        own = _own_words(said)
        return (None, own) if own else (int(answer.status), "")

    # -- one question ------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        resource: Resource,
        name: str,
        namespace: str,
        query: Sequence[tuple[str, str]] = (),
        body: t.Any = None,
        content: str = "application/json",
        part: str = "",
        read: Callable[[bytes], dict[str, t.Any]] = json.loads,
    ) -> dict[str, t.Any]:
        below = f"/{part}" if part else ""
        request = Request(method, verb_of(method, name), resource.full_name + below, name, namespace)
        path = resource.path(namespace, name) + below
        ends = Budget(min(self._patience, self._budget.left))
        pause, renewed, last = _FIRST_PAUSE, False, "no time is left"
        while ends.left > 0:
            try:
                return read(self._attempt(method, path, query, body, content, ends.left))
            except ApiException as error:
                if error.status == _UNAUTHORISED and not renewed:
                    # A token ends after an hour, a long recovery may see that.
                    renewed, self._api = True, self._access.connect(anew=True)
                    continue
                if error.status and error.status not in _AGAIN:
                    raise self._refusal(request, error) from None
                last = f"HTTP {error.status}" if error.status else str(error.reason).split("\n", maxsplit=1)[0]
                wanted = _retry_after(error.headers) or pause
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                last, wanted = type(error).__name__, pause
            self._sleep(min(wanted, ends.left))
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise ApiUnavailable(
            f"the API server at {self._api.configuration.host} gave no answer to {request.verb} {request.what} in time:"
            f" {last}",
            "look at the control plane of the cluster, and at the network to it",
        )

    def _attempt(
        self, method: str, path: str, query: Sequence[tuple[str, str]], body: t.Any, content: str, seconds: float
    ) -> bytes:
        self.calls += 1
        self.writes += method != "GET"
        answer = self._api.call_api(
            path,
            method,
            query_params=list(query),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=(min(_CONNECT_SECONDS, seconds), min(_READ_SECONDS, seconds)),
        )
        try:
            return t.cast("bytes", answer.data)
        finally:
            answer.release_conn()

    def _refusal(self, request: Request, error: ApiException) -> Exception:
        if error.status == _UNAUTHORISED:
            return ApiUnavailable(
                f"{self._api.configuration.host} does not accept the credentials of {self._access.file or 'this pod'}",
                "renew them, then run again",
            )
        body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
        return error_of(request, int(error.status), body)


def _own_words(body: bytes) -> str:
    """The message of a `Status` of the API; empty for anything else."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    is_status = isinstance(found, dict) and (found.get("kind"), found.get("apiVersion")) == ("Status", "v1")
    return " ".join(str(found.get("message") or "no reason").split())[:200] if is_status else ""


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that the server asks to wait; None when it says nothing that is a number."""
    said = str((headers or {}).get("Retry-After") or "")
    return float(said) if said.isascii() and said.isdigit() else None
