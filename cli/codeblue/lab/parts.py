"""The parts of one lab, held together for the commands that work on several of them."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.configuration import Configuration
from codeblue.lab.gateway import DATABASE_BACKEND, HAProxy, instance_port_name
from codeblue.lab.layout import APPLICATION_MACHINES, DATABASE_MEMBERS, SERVICES, Layout
from codeblue.lab.migrations import SchemaMigrations
from codeblue.lab.postgresql import PostgreSQL
from codeblue.lab.releases import Releases
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret
from codeblue.lab.services import Services
from codeblue.lab.state import LabState
from codeblue.lab.supervisor import Program, Supervisor

# Name, port, method, path, body.
_Question = tuple[str, int, str, str, dict[str, Any] | None]


@dataclass(frozen=True)
class Parts:
    """Everything that a lab consists of."""

    layout: Layout
    state: LabState

    @cached_property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.layout)

    @cached_property
    def postgresql(self) -> PostgreSQL:
        return PostgreSQL(self.layout, self.state)

    @cached_property
    def gateway(self) -> HAProxy:
        return HAProxy(self.layout, self.state)

    @cached_property
    def services(self) -> Services:
        return Services(self.layout, self.state)

    @cached_property
    def configuration(self) -> Configuration:
        return Configuration(self.layout)

    @cached_property
    def migrations(self) -> SchemaMigrations:
        return SchemaMigrations(self.layout, self.state)

    @cached_property
    def releases(self) -> Releases:
        return Releases(self.layout)

    def programs(self) -> list[Program]:
        members = [self.postgresql.program(member) for member in DATABASE_MEMBERS]
        return [*members, self.gateway.program(), *self.services.programs()]

    def current_primary(self) -> str:
        """The member that takes writes.

        :raises CodeblueError: none or both do.
        """
        primaries = [member for member in DATABASE_MEMBERS if self.postgresql.status(member).role == "primary"]
        if len(primaries) != 1:
            raise CodeblueError(
                f"{'both members are' if primaries else 'no member is'} primary",
                "bring it back with: codeblue lab heal",
            )
        return primaries[0]

    def wait_answering(self, seconds: float = 10.0) -> None:
        """Wait until the whole clinic works: every instance is healthy and somebody can log in.

        :raises CodeblueError: names what does not answer after `seconds`.
        """
        deadline = time.monotonic() + seconds
        everything = {service: list(APPLICATION_MACHINES) for service in SERVICES}
        self.gateway.wait_up({DATABASE_BACKEND: [DATABASE_MEMBERS[0]], **everything}, seconds)
        questions: list[_Question] = [
            (f"{service} on {machine}", self.state.ports[instance_port_name(service, machine)], "GET", "/health", None)
            for service in SERVICES
            for machine in APPLICATION_MACHINES
        ]
        account = {"username": PROBE_ACCOUNT, "password": read_secret(self.layout.secret(PROBE_ACCOUNT))}
        questions.append(("login", self.gateway.front_port("auth"), "POST", "/login", account))
        with ThreadPoolExecutor(len(questions)) as executor:
            waits = [executor.submit(_wait_status, question, deadline) for question in questions]
            problems = [problem for wait in waits if (problem := wait.result())]
        if problems:
            raise CodeblueError(problems[0], f"see the logs below {self.layout.root / 'machines'}")
        # What was restarted a moment ago may have been counted as up from before, and have been noticed since.
        self.gateway.wait_up(
            {DATABASE_BACKEND: [DATABASE_MEMBERS[0]], **everything}, max(1.0, deadline - time.monotonic())
        )


def _wait_status(question: _Question, deadline: float) -> str | None:
    """Ask until the answer is 200; returns what is wrong when it is not at `deadline`."""
    name, port, method, path, body = question
    while True:
        problem = _ask(port, method, path, body)
        if problem is None:
            return None
        if time.monotonic() >= deadline:
            return f"{name} does not work: {problem}"
        time.sleep(0.03)


def _ask(port: int, method: str, path: str, body: dict[str, Any] | None) -> str | None:
    """None when the answer is 200, else what came instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        content = json.dumps(body) if body is not None else None
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read(2000)
        return None if response.status == 200 else f"{response.status} {answer.decode('utf-8', 'replace')[:200]}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
