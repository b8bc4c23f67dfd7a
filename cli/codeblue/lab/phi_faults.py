"""Faults that expose patients: a release that logs them, and one that gives them to everybody. All are synthetic."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.faults import Fault, Injection
from codeblue.lab.gateway import instance_port_name
from codeblue.lab.layout import APPLICATION_MACHINES, VISITOR_UNIT, Layout, unit
from codeblue.lab.parts import Parts
from codeblue.lab.releases import PHI_IN_LOG, PUBLIC_PATIENTS
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret

_SERVICE = "records"
# So many records are opened by somebody at work while the release logs what they open.
_RECORDS_READ = 12
_PATIENCE_SECONDS = 5.0


class _ExposingRelease(Fault):
    """A rolling deployment, one instance after the other: the service stays up all the while."""

    rto_target: ClassVar[float | None] = 15.0
    version: ClassVar[str]

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike(version=self.version)
        for machine in APPLICATION_MACHINES:
            parts.gateway.set_state(_SERVICE, machine, "drain")
            parts.releases.deploy(_SERVICE, machine, self.version, by="deployment")
            parts.supervisor.stop(unit(_SERVICE, machine))
            parts.supervisor.start(unit(_SERVICE, machine))
            # As a careful pipeline does it: traffic comes when the instance says that it works.
            _asked_until_it_works(parts.state.ports[instance_port_name(_SERVICE, machine)], "GET", "/health")
            parts.gateway.set_state(_SERVICE, machine, "ready")
            parts.gateway.wait_up({_SERVICE: [machine]}, 5.0)
        return injection


class PhiInLog(_ExposingRelease):
    name: ClassVar[str] = "phi_in_log"
    summary: ClassVar[str] = f"release {PHI_IN_LOG} of records writes patients and notes into its application log"
    hits: ClassVar[tuple[str, ...]] = ("log_clean",)
    watches: ClassVar[tuple[str, ...]] = ("log_clean", "records_closed")
    version: ClassVar[str] = PHI_IN_LOG

    def inject(self, parts: Parts) -> Injection:
        injection = super().inject(parts)
        _work(parts)
        return injection


class PhiPublicEndpoint(_ExposingRelease):
    name: ClassVar[str] = "phi_public_endpoint"
    summary: ClassVar[str] = (
        f"release {PUBLIC_PATIENTS} of records gives patients to everybody, and somebody takes them"
    )
    hits: ClassVar[tuple[str, ...]] = ("records_closed",)
    watches: ClassVar[tuple[str, ...]] = ("log_clean", "records_closed")
    version: ClassVar[str] = PUBLIC_PATIENTS

    def inject(self, parts: Parts) -> Injection:
        injection = super().inject(parts)
        parts.supervisor.start(VISITOR_UNIT)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(VISITOR_UNIT)


def _work(parts: Parts) -> None:
    """Somebody logs in and opens records, as on any morning; and again, when an answer fails."""
    account = {"username": PROBE_ACCOUNT, "password": read_secret(parts.layout.secret(PROBE_ACCOUNT))}
    login = _asked_until_it_works(parts.gateway.front_port("auth"), "POST", "/login", account)
    for number in range(1, _RECORDS_READ + 1):
        port = parts.gateway.front_port(_SERVICE)
        _asked_until_it_works(port, "GET", f"/records/{number}", token=str(login.get("token", "")))


def _asked_until_it_works(
    port: int, method: str, path: str, body: dict[str, str] | None = None, token: str = ""
) -> dict[str, Any]:
    """The answer. An instance that has just started has no connection to the database yet.

    :raises CodeblueError: there is none, or it is no success, for seconds.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3.0)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status == 200:
                return dict(json.loads(content))
            problem = f"answers {response.status}"
        except (OSError, http.client.HTTPException) as error:
            problem = f"does not answer: {type(error).__name__}"
        finally:
            connection.close()
        if time.monotonic() >= deadline:
            raise CodeblueError(f"port {port} {problem}", "begin anew: codeblue lab heal")
        time.sleep(0.05)


PHI_FAULTS: tuple[type[Fault], ...] = (PhiInLog, PhiPublicEndpoint)


def restore_logs(layout: Layout) -> None:
    """Logs without patients: what was closed and what was put aside goes, live logs begin anew."""
    for machine in APPLICATION_MACHINES:
        directory = layout.log_dir(machine)
        for protected in directory.glob(".codeblue-*"):
            shutil.rmtree(protected)
        for live in (layout.service_log(machine, _SERVICE), layout.access_log(machine, _SERVICE)):
            for path in directory.glob(f"{live.name}.*"):
                path.unlink()
            if live.exists():
                # Cut, not replaced: its writer appends to the file that it has open.
                with open(live, "r+b") as stream:
                    stream.truncate(0)


def leftovers(layout: Layout) -> list[str]:
    """What a recovery of these faults must not leave behind in a healed lab."""
    found = [str(path) for machine in APPLICATION_MACHINES for path in layout.log_dir(machine).glob(".codeblue-*")]
    if layout.blocked_paths.read_text(encoding="utf-8").strip():
        found.append("paths are blocked in the gateway")
    return found
