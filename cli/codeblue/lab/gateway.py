"""HAProxy on machine lb1: its configuration and calls to its runtime socket."""

from __future__ import annotations

import socket
import time

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.files import write_text
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    DATABASE_MEMBERS,
    GATEWAY_MACHINE,
    GATEWAY_UNIT,
    SERVICES,
    Layout,
)
from codeblue.lab.postgresql import PORT_NAMES
from codeblue.lab.state import LabState
from codeblue.lab.supervisor import Program

DATABASE_BACKEND = "patient_db"
# The fronts that clients use, each with the backend of the same name.
FRONTS = (DATABASE_BACKEND, *SERVICES)
# The secured way to the login.
LOGIN_PORT_NAME = "gateway_login"
_LONGEST_ANSWER = 1_000_000


def front_port_name(backend: str) -> str:
    return f"gateway_{backend}"


def instance_port_name(service: str, machine: str) -> str:
    return f"{service}_{machine}"


_GLOBAL = """\
global
    log stdout format raw daemon notice
    stats socket {socket} mode 600 level admin
    stats timeout 10s
    server-state-file {state_file}
    maxconn 1000
    nbthread 1
    hard-stop-after 5s

defaults
    log global
    load-server-state-from-file global
    timeout connect 1s
    timeout queue 1s
    timeout check 1s
    default-server inter 200ms fastinter 100ms downinter 200ms fall 2 rise 1 maxconn 100
    retries 1
"""

# Idle sessions of the services' pools live longer than a request does.
_DATABASE = """
listen {backend}
    bind 127.0.0.1:{port}
    mode tcp
    timeout client 10m
    timeout server 10m
    option tcpka
    default-server on-marked-down shutdown-sessions
{servers}"""

_SERVICE = """
listen {backend}
    bind 127.0.0.1:{port}
{secure}    mode http
    maxconn 60
    backlog 1024
    # Addresses that took more than their share; filled at run time, read again at a start.
    tcp-request connection reject if {{ src -f {refused_sources} }}
    timeout client 15s
    timeout http-request 5s
    timeout server 5s
    option redispatch
    option forwardfor
    option httpchk GET /health/live
    # Paths that were found to give away what they must not; filled at run time, read again at a start.
    http-request deny deny_status 403 if {{ path,url_dec -m beg -f {blocked_paths} }}
{servers}"""


class HAProxy:
    """The gateway of one lab."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state

    def program(self) -> Program:
        if self.state.binaries is None:
            raise CodeblueError(f"{self.layout.state_file} names no programs", "clean up with: codeblue lab down")
        return Program(
            name=GATEWAY_UNIT,
            command=[self.state.binaries.haproxy, "-db", "-f", str(self.layout.gateway_config)],
            directory=str(self.layout.machine(GATEWAY_MACHINE)),
            log_file=str(self.layout.log_dir(GATEWAY_MACHINE) / "haproxy.log"),
            autorestart=True,
            # Soft stop, so that answers under way arrive; `hard-stop-after` bounds it.
            stop_signal="TERM",
        )

    def write_config(self) -> None:
        text = _GLOBAL.format(socket=self.layout.gateway_socket, state_file=self.layout.gateway_state_file)
        members = [
            # The standby takes no writes; a failover makes it ready and keeps that in the state file.
            f"    server {member} 127.0.0.1:{self.state.ports[PORT_NAMES[member]]} check"
            + (" disabled" if member != DATABASE_MEMBERS[0] else "")
            + "\n"
            for member in DATABASE_MEMBERS
        ]
        text += _DATABASE.format(
            backend=DATABASE_BACKEND, port=self.front_port(DATABASE_BACKEND), servers="".join(members)
        )
        for service in SERVICES:
            instances = [
                f"    server {machine} 127.0.0.1:{self.state.ports[instance_port_name(service, machine)]} check\n"
                for machine in APPLICATION_MACHINES
            ]
            text += _SERVICE.format(
                backend=service,
                port=self.front_port(service),
                servers="".join(instances),
                secure=self._secure_bind() if service == "auth" else "",
                blocked_paths=self.layout.blocked_paths,
                refused_sources=self.layout.refused_sources,
            )
        write_text(self.layout.gateway_config, text)
        for pattern_file in (self.layout.blocked_paths, self.layout.refused_sources):
            if not pattern_file.exists():
                pattern_file.touch(0o644)
        if not self.layout.gateway_state_file.exists():
            self.layout.gateway_state_file.touch(0o644)

    def _secure_bind(self) -> str:
        port = self.state.ports[LOGIN_PORT_NAME]
        return f"    bind 127.0.0.1:{port} ssl crt {self.layout.login_certificate} ssl-min-ver TLSv1.2\n"

    def set_login_certificate(self, bundle: str) -> None:
        """Have the running HAProxy show another certificate to people who log in."""
        path = self.layout.login_certificate
        payload = "\n".join(line for line in bundle.splitlines() if line.strip())
        self.command(f"set ssl cert {path} <<\n{payload}\n")
        answer = self.command(f"commit ssl cert {path}")
        if "ucces" not in answer:
            raise CodeblueError(f"HAProxy does not take the certificate {path}: {answer}", "see its log")

    def front_port(self, backend: str) -> int:
        return self.state.ports[front_port_name(backend)]

    def command(self, text: str, seconds: float = 2.0) -> str:
        """One command to the runtime socket.

        :raises CodeblueError: HAProxy does not answer, or says that the command is wrong.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(str(self.layout.gateway_socket))
                connection.sendall(text.encode() + b"\n")
                answer = b""
                while len(answer) < _LONGEST_ANSWER and (part := connection.recv(65536)):
                    answer += part
        except OSError as error:
            raise CodeblueError(
                f"HAProxy does not answer to {text.split()[0]!r}: {error}",
                f"see {self.layout.log_dir(GATEWAY_MACHINE) / 'haproxy.log'}",
            ) from error
        return answer.decode("utf-8", "replace").strip()

    def set_state(self, backend: str, server: str, state: str) -> None:
        """`ready`, `drain` or `maint`."""
        answer = self.command(f"set server {backend}/{server} state {state}")
        if answer:
            raise CodeblueError(f"HAProxy refused {backend}/{server} {state}: {answer}", "see its configuration")

    def save_state(self) -> None:
        """Keep the runtime state for the next start of HAProxy."""
        write_text(self.layout.gateway_state_file, self.command("show servers state") + "\n")

    def restore_normal_state(self) -> None:
        """The first member takes the sessions, every instance is ready, and a restart keeps that."""
        for member in DATABASE_MEMBERS:
            self.set_state(DATABASE_BACKEND, member, "ready" if member == DATABASE_MEMBERS[0] else "maint")
            if member != DATABASE_MEMBERS[0]:
                self.command(f"shutdown sessions server {DATABASE_BACKEND}/{member}")
            self.command(f"set weight {DATABASE_BACKEND}/{member} 100%")
        for service in SERVICES:
            for machine in APPLICATION_MACHINES:
                self.set_state(service, machine, "ready")
                self.command(f"set weight {service}/{machine} 100%")
        self.refuse_nothing()
        self.save_state()

    def refuse_nothing(self) -> None:
        """No path and no address is refused any more, now and after a restart."""
        for pattern_file in (self.layout.blocked_paths, self.layout.refused_sources):
            write_text(pattern_file, "")
            self.command(f"clear acl {pattern_file}")

    def server_states(self) -> dict[str, dict[str, str]]:
        """Backend to server to its status, as `show stat` words it: UP, DOWN, MAINT, DRAIN."""
        lines = self.command("show stat").lstrip("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["svname"] not in ("FRONTEND", "BACKEND"):
                found.setdefault(row["pxname"], {})[row["svname"]] = row["status"]
        return found

    def wait_up(self, expected: dict[str, list[str]], seconds: float) -> None:
        """Wait until HAProxy takes these servers (backend to servers) for up."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                states = self.server_states()
                missing = [
                    f"{backend}/{server}"
                    for backend, servers in expected.items()
                    for server in servers
                    if not states.get(backend, {}).get(server, "").startswith(("UP", "no check"))
                ]
            except CodeblueError:
                if time.monotonic() >= deadline:
                    raise
                missing = ["haproxy"]
            if not missing:
                return
            if time.monotonic() >= deadline:
                raise CodeblueError(
                    f"not up behind the gateway after {seconds:g} s: {', '.join(missing)}",
                    f"see the logs below {self.layout.root / 'machines'}",
                )
            time.sleep(0.03)
