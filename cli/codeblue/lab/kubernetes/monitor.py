"""The site's monitoring of a lab on a cluster: a process beside it that answers what is dangerous, and how late.

    python -m codeblue.lab.kubernetes.monitor DIRECTORY

GET /signals/<name>/<service> answers 200 while a signal is clear and 503 while it is not. `answer_time` answers as late
as the service does: where there are kubelets it asks the service, through the API server's proxy; where there are none
its answers are simulated from what the pods are (`signals`).

It ends when its lab is gone, or was not to be reached for some minutes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICES,
    Budget,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

from codeblue.lab.kubernetes.cluster import look_for_kubelets
from codeblue.lab.kubernetes.layout import KubernetesLayout
from codeblue.lab.kubernetes.manifests import SERVICE_NAMES
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.proxy import ServiceProxy
from codeblue.lab.kubernetes.signals import (
    ANSWER_TIME,
    DATA_INTEGRITY,
    FOREIGN_PODS,
    LEAKED_SECRETS,
    SimulatedAnswers,
    damaged_data,
    foreign_pods,
    leaked_secrets,
    secrets_of,
)
from codeblue.lab.kubernetes.state import KubernetesLabState

# Checks are asked many times a second in a drill; so long what was read is good for all of them.
_FRESH_SECONDS = 0.1
_PATIENCE_SECONDS = 1.5
_ASK_SECONDS = 10.0
_LOOK_AFTER_SECONDS = 2.0
_LONGEST_UNREACHABLE = 300.0
_FOR_EVER = 10 * 365 * 86_400.0


class Unknown(Exception):
    """Nothing can be told: neither danger nor its absence."""


class Monitor:
    """Answers signals about one lab."""

    def __init__(self, layout: KubernetesLayout, state: KubernetesLabState) -> None:
        access = ClusterAccess(state.kubeconfig, state.context)
        client = KubernetesClient(access, Budget(_FOR_EVER), patience=_PATIENCE_SECONDS)
        self._parts = ClusterParts(layout, state, client)
        # One connection, asked by one at a time.
        self._lock = threading.Lock()
        self._read: tuple[float, dict[str, list[dict[str, Any]]]] | None = None
        self._answers = SimulatedAnswers()
        self._proxy = ServiceProxy(access, state.namespace) if look_for_kubelets(client) else None

    def answer(self, name: str, service: str) -> tuple[int, str]:
        """The status and, when the signal is not clear, why.

        :raises Unknown: the API server gives no answer.
        """
        if name == ANSWER_TIME and self._proxy is not None:
            wrong = self._proxy.ask(service, _ASK_SECONDS)
            return (503, wrong) if wrong else (200, "")
        with self._lock:
            try:
                objects = self._objects()
            except (CodeblueError, urllib3.exceptions.HTTPError, OSError) as error:
                raise Unknown(type(error).__name__) from error
            workload = self._parts.workload_of(service)
            late = 0.0
            if name == FOREIGN_PODS:
                said = foreign_pods(service, objects["pods"], objects["services"])
            elif name == LEAKED_SECRETS:
                names = secrets_of(workload.body)
                said = leaked_secrets(workload, objects["secrets"], objects["config_maps"], names)
            elif name == DATA_INTEGRITY:
                said = damaged_data(service, objects["config_maps"])
            elif name == ANSWER_TIME:
                wanted = int(workload.body["spec"]["replicas"])
                said, late = "", self._answers.wait_seconds(service, wanted, objects["pods"], time.monotonic())
            else:
                return 404, "there is no such signal"
        time.sleep(late)
        return (503, said) if said else (200, "")

    def lab_is_there(self) -> bool:
        """Whether its namespace is the lab's own still.

        :raises Unknown: the API server gives no answer.
        """
        state = self._parts.state
        with self._lock:
            try:
                found = self._parts.client.get(NAMESPACES, state.namespace)
                return str(found["metadata"]["uid"]) == state.namespace_uid
            except NotFound:
                return False
            except (CodeblueError, urllib3.exceptions.HTTPError, OSError) as error:
                raise Unknown(type(error).__name__) from error

    def _objects(self) -> dict[str, list[dict[str, Any]]]:
        now = time.monotonic()
        if self._read is None or now - self._read[0] > _FRESH_SECONDS:
            client, namespace = self._parts.client, self._parts.namespace
            resources = {"pods": PODS, "services": SERVICES, "secrets": SECRETS, "config_maps": CONFIG_MAPS}
            found = {name: client.list_all(resource, namespace) for name, resource in resources.items()}
            self._read = now, found
        return self._read[1]


def _handler(monitor: Monitor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        timeout = 15

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if len(parts) == 3 and parts[0] == "signals" and parts[2] in SERVICE_NAMES:
                try:
                    status, detail = monitor.answer(parts[1], parts[2])
                except Unknown:
                    # An answer would be one of danger or of its absence; a closed connection is neither.
                    self.close_connection = True
                    return
            else:
                status, detail = (200, "") if parts == ["health"] else (404, "no such path")
            content = json.dumps({"clear": status == 200, "detail": detail[:200]}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Checks alone ask dozens of times a second."""

    return Handler


def _end_with_lab(server: ThreadingHTTPServer, monitor: Monitor, state_file: Path) -> None:
    """Stop the server once the lab is gone; one that nobody can reach is given some minutes."""
    reached = time.monotonic()
    while True:
        time.sleep(_LOOK_AFTER_SECONDS)
        there = state_file.exists()
        try:
            there = there and monitor.lab_is_there()
            reached = time.monotonic()
        except Unknown:
            there = there and time.monotonic() - reached < _LONGEST_UNREACHABLE
        if not there:
            server.shutdown()
            return


def main(directory: str) -> None:
    layout = KubernetesLayout(Path(directory))
    state = KubernetesLabState.load(layout)
    if state is None or state.monitor_port is None:
        sys.exit(f"there is no lab of a cluster in {directory}")
    monitor = Monitor(layout, state)
    server = ThreadingHTTPServer(("127.0.0.1", state.monitor_port), _handler(monitor))
    server.daemon_threads = True
    threading.Thread(target=_end_with_lab, args=(server, monitor, layout.state_file), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
