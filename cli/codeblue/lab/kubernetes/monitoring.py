"""The process of the site's monitoring of a lab on a cluster: started with the lab, ended with it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.kubernetes.layout import KubernetesLayout
from codeblue.lab.kubernetes.manifests import SERVICE_NAMES
from codeblue.lab.kubernetes.signals import ANSWER_TIME, DATA_INTEGRITY, INTRUSION
from codeblue.lab.kubernetes.state import KubernetesLabState
from codeblue.lab.ports import choose_ports
from codeblue.lab.processes import MARKER, end, processes_of

# A busy machine takes its time to import what it needs.
_START_SECONDS = 30.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.05
_ASK_SECONDS = 5.0
# Normal are some milliseconds; so long that a busy machine is not taken for a slow service.
LIMIT_SECONDS = 1.0
# The database speaks no HTTP.
_DATABASE = "patient_db"
_WITHOUT_HTTP = frozenset((_DATABASE,))


def start_monitoring(layout: KubernetesLayout, state: KubernetesLabState) -> None:
    """Start it, unless it runs; its port is chosen once and kept.

    :raises CodeblueError: it does not answer.
    """
    if processes_of(layout.root):
        return
    if state.monitor_port is None:
        state.monitor_port = choose_ports(["monitor"], layout.root)["monitor"]
        state.save(layout)
    with layout.monitor_log.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "codeblue.lab.kubernetes.monitor", str(layout.root)],
            env={**os.environ, MARKER: str(layout.root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while (said := _asked(state.monitor_port, "/health")) is None or said[0] != 200:
        if time.monotonic() > deadline:
            raise CodeblueError("the lab's monitoring does not start", f"look at {layout.monitor_log}")
        time.sleep(_POLL_SECONDS)


def end_monitoring(layout: KubernetesLayout) -> None:
    """End it."""
    if left := end(processes_of(layout.root), signal.SIGTERM, _END_SECONDS):
        end(left, signal.SIGKILL, _END_SECONDS)


def monitoring_missing(layout: KubernetesLayout) -> list[str]:
    """One line when it does not run."""
    return [] if processes_of(layout.root) else ["the lab's monitoring does not run; codeblue lab up starts it"]


def not_clear(state: KubernetesLabState, name: str, service: str) -> bool:
    """Whether a signal tells of danger, or answers late, right now."""
    assert state.monitor_port is not None
    said = _asked(state.monitor_port, f"/signals/{name}/{service}")
    if said is None:
        return False
    status, seconds = said
    return seconds > LIMIT_SECONDS if name == ANSWER_TIME else status == 503


def signal_checks(port: int, service: str) -> list[dict[str, t.Any]]:
    """The signals of a service, as its inventory has them."""

    def of(name: str, topic: str) -> dict[str, t.Any]:
        url = f"http://127.0.0.1:{port}/signals/{name}/{service}"
        return {"id": name, "type": "http", "topic": topic, "url": url, "status": 200, "timeout": "10s"}

    checks = [of(name, "intrusion") for name in INTRUSION]
    if service == _DATABASE:
        checks.append(of(DATA_INTEGRITY, "integrity"))
    if service in SERVICE_NAMES and service not in _WITHOUT_HTTP:
        checks.append({**of(ANSWER_TIME, "performance"), "max_response": f"{LIMIT_SECONDS:g}s"})
    return checks


def _asked(port: int, path: str) -> tuple[int, float] | None:
    """Status and seconds of an answer; None when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_SECONDS)
    began = time.monotonic()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.monotonic() - began
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
