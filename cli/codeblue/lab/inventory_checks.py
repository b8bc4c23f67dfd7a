"""What the lab's inventory asks of its services: whether they live, can really be used, are quick and not abused."""

from __future__ import annotations

from typing import Any

from codeblue.lab.gateway import LOGIN_PORT_NAME, front_port_name, instance_port_name
from codeblue.lab.layout import APPLICATION_MACHINES, MONITOR_UNIT, Layout
from codeblue.lab.secrets import MONITORING_KEY, PROBE_ACCOUNT
from codeblue.lab.state import LabState

# Ten times what is normal here and more, and less than what the faults that slow the clinic down make of it.
LONGEST_ANSWER = "400ms"
# The time scale of the lab: what takes 2 s between tries in production takes 100 ms here.
CHECK_PACE: dict[str, Any] = {"interval": "100ms", "consecutive": 3}


class ServiceChecks:
    """Makes `codeblue_checks` of one lab's services."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state

    def of_service(self, name: str) -> dict[str, Any]:
        """`codeblue_checks` of a service behind the gateway."""
        url = f"http://127.0.0.1:{self._front(name)}"
        return {
            **CHECK_PACE,
            "shallow": [{"id": "live", "type": "http", "url": f"{url}/health/live", "status": 200, "timeout": "1s"}],
            "deep": [
                {"id": "health", "type": "http", "url": f"{url}/health", "status": 200, "timeout": "2s"},
                *self._real_use(name),
            ],
            "comprehensive": [
                {
                    "id": f"health_{machine}",
                    "type": "http",
                    "url": f"http://127.0.0.1:{self.state.ports[instance_port_name(name, machine)]}/health",
                    "status": 200,
                    "timeout": "2s",
                }
                for machine in APPLICATION_MACHINES
            ],
            "signals": self._signals(name),
            "thresholds": {"response": "500ms", "error_rate": 0.001, "p95_floor": "250ms"},
        }

    def signal(self, name: str, service: str, topic: str) -> dict[str, Any]:
        """A check of what the site's monitoring says about a service."""
        url = f"http://127.0.0.1:{self.state.ports[MONITOR_UNIT]}/signals/{name}/{service}"
        return {"id": name, "type": "http", "topic": topic, "url": url, "status": 200, "timeout": "2s"}

    def _real_use(self, service: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._front(service)}"
        uses: dict[str, list[dict[str, Any]]] = {
            "auth": [
                {
                    "id": "login",
                    "type": "http",
                    "method": "POST",
                    "url": f"{url}/login",
                    "json": {
                        "username": PROBE_ACCOUNT,
                        "password": {"secret_from": f"file:{self.layout.secret(PROBE_ACCOUNT)}"},
                    },
                    "status": 200,
                    "body_has": "token",
                    "timeout": "2s",
                },
                self._session_check("token", url),
                {
                    **self._session_check("secure_login", f"https://127.0.0.1:{self.state.ports[LOGIN_PORT_NAME]}"),
                    "ca_file": str(self.layout.authority_certificate),
                },
            ],
            "records": [
                # The way to a record is open, and closed to those without a token.
                {"id": "needs_token", "type": "http", "url": f"{url}/records/1", "status": 401, "timeout": "1s"}
            ],
            "ai": [
                {
                    "id": "predict",
                    "type": "http",
                    "method": "POST",
                    "url": f"{url}/predict",
                    "headers": self._ai_key(),
                    "json": {"note": "severe chest pain since this morning"},
                    "status": 200,
                    "body_has": "urgent",
                    "timeout": "1s",
                }
            ],
        }
        return uses[service]

    def _session_check(self, check: str, url: str) -> dict[str, Any]:
        """A login, and its token at records."""
        return {
            "id": check,
            "type": "session",
            "method": "POST",
            "url": f"{url}/login",
            "json": {
                "username": PROBE_ACCOUNT,
                "password": {"secret_from": f"file:{self.layout.secret(PROBE_ACCOUNT)}"},
            },
            "use_url": f"http://127.0.0.1:{self._front('records')}/records/1",
            "timeout": "2s",
        }

    def _ai_key(self) -> dict[str, Any]:
        return {"X-Api-Key": {"secret_from": f"file:{self.layout.secret(MONITORING_KEY)}"}}

    def _signals(self, service: str) -> list[dict[str, Any]]:
        return [*self._dangers(service), *self._answer_times(service)]

    def _answer_times(self, service: str) -> list[dict[str, Any]]:
        """How long people wait. Normal are 2 to 30 ms; whoever waits ten times as long has a bottleneck."""
        url = f"http://127.0.0.1:{self._front(service)}"
        if service == "records":
            return [
                _answer_time("answer_time", {"url": f"{url}/health"}),
                _answer_time("write_time", {"url": f"{url}/health/write"}),
            ]
        if service == "ai":
            note = {"note": "severe chest pain since this morning"}
            use = {"method": "POST", "headers": self._ai_key(), "json": note}
            return [_answer_time("answer_time", {"url": f"{url}/predict", **use})]
        account = {
            "username": PROBE_ACCOUNT,
            "password": {"secret_from": f"file:{self.layout.secret(PROBE_ACCOUNT)}"},
        }
        # Each instance by itself: behind the gateway a slow one hides half of the time.
        logins = [
            _answer_time(
                f"login_time_{machine}",
                {
                    "url": f"http://127.0.0.1:{self.state.ports[instance_port_name(service, machine)]}/login",
                    "method": "POST",
                    "json": account,
                },
            )
            for machine in APPLICATION_MACHINES
        ]
        return [_answer_time("answer_time", {"url": f"{url}/health"}), *logins]

    def _dangers(self, service: str) -> list[dict[str, Any]]:
        intrusion = [self.signal("foreign_connections", service, "intrusion")]
        if service != "records":
            return intrusion
        intrusion.append(self.signal("foreign_sessions", service, "intrusion"))
        return [self.signal(name, service, "exposure") for name in ("phi_in_logs", "public_records")] + intrusion

    def _front(self, service: str) -> int:
        return self.state.ports[front_port_name(service)]


def _answer_time(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """A right answer within the limit; what comes at all comes within a second."""
    return {
        "id": name,
        "type": "http",
        "topic": "performance",
        "status": 200,
        "max_response": LONGEST_ANSWER,
        "timeout": "3s",
        **request,
    }
