# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real use of a service, asked of every single instance from its own machine, past the gateway."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import resolve_secrets
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance

_COLLECTION = "codeblue.recovery."
# A slow answer is waited for, because how slow it is tells what it is; a silent one only so long.
_PATIENCE = 6.0
_LEAST_SECONDS = 3.0
_AROUND_SECONDS = 15.0


@dataclass(frozen=True)
class Answered:
    """How one instance answered one request, as `http_probe` measured it.

    :param problems: kind to count.
    :param median: seconds of the right answers, None when there was none.
    """

    asked: int
    right: int
    problems: Mapping[str, int]
    median: float | None

    @property
    def ok(self) -> bool:
        return self.asked > 0 and self.right == self.asked

    @property
    def worst(self) -> str:
        """The most frequent problem; empty without one."""
        return max(self.problems, key=lambda kind: self.problems[kind], default="")


@dataclass(frozen=True)
class InstanceProbe:
    """One instance, asked everything that its service's shallow and deep HTTP checks ask.

    :param answers: by the id of the check.
    :param unknown: why nothing is known about it; empty when it was asked.
    """

    machine: str
    answers: Mapping[str, Answered] = field(default_factory=dict)
    unknown: str = ""

    @property
    def closed(self) -> bool:
        """Nobody listened, or a connection ended without an answer: its process may have ended meanwhile."""
        return any({"refused", "closed"} & set(answered.problems) for answered in self.answers.values())

    def worst_of(self, names: Sequence[str]) -> str:
        """The most frequent problem among these requests; empty when all were answered rightly."""
        problems = [self.answers[name].worst for name in names if name in self.answers and not self.answers[name].ok]
        return problems[0] if problems else ""

    def slowest(self, names: Sequence[str]) -> float | None:
        """The longest median among these requests, None when none was answered rightly."""
        medians = [self.answers[name].median for name in names if name in self.answers]
        return max((median for median in medians if median is not None), default=None)


def level_checks(service: Service, level: str) -> list[HttpCheck]:
    """The HTTP checks of one level, those that expect an answer to real use among them."""
    return [check for found, check in service.checks.up_to(level) if found == level and isinstance(check, HttpCheck)]


def probe_calls(service: Service, hold: t.Callable[[str], None], count: int = 2) -> dict[str, MachineCall]:
    """A call for each instance; empty when the service has no HTTP check to learn the requests from.

    :param hold: told every secret that a request carries, before anything can be said about it.
    :param count: how often each request is made.
    """
    checks = [*level_checks(service, "shallow"), *level_checks(service, "deep")]
    if not checks:
        return {}
    seconds = max(_LEAST_SECONDS, service.checks.thresholds.response * _PATIENCE)
    calls = {}
    for name, instance in service.require_host().instances.items():
        arguments = {
            "requests": [_request(check, instance, hold) for check in checks],
            "count": count,
            "timeout": seconds,
        }
        deadline = seconds * count + _AROUND_SECONDS
        calls[name] = MachineCall(instance.machine, _COLLECTION + "http_probe", arguments, deadline, check_mode=True)
    return calls


def probe_of(answer: MachineAnswer) -> InstanceProbe:
    """Out of the answer of `http_probe`."""
    if answer.result is None:
        return InstanceProbe(answer.machine, unknown=answer.unreachable or answer.failure or "no answer")
    answers = {
        str(name): Answered(
            asked=int(each["asked"]),
            right=int(each["right"]),
            problems=dict(each["problems"]),
            median=each["median_seconds"],
        )
        for name, each in answer.result["answers"].items()
    }
    return InstanceProbe(answer.machine, answers)


def complaint(service: Service, probes: Mapping[str, InstanceProbe]) -> str:
    """The first thing that keeps an instance from being taken for well; empty when every one works, in time."""
    deep = [check.id for check in level_checks(service, "deep")]
    limit = service.checks.thresholds.response
    for name, probe in probes.items():
        if probe.unknown:
            return f"{name} could not be asked: {probe.unknown}"
        for check, answered in probe.answers.items():
            if not answered.ok:
                wrong = answered.asked - answered.right
                return f"{name}: {check} failed {wrong} of {answered.asked} times ({answered.worst})"
        slowest = probe.slowest(deep)
        if slowest is not None and slowest > limit:
            return f"{name} answers after {slowest:.2f} s, wanted within {limit:g} s"
    return ""


def _request(check: HttpCheck, instance: Instance, hold: t.Callable[[str], None]) -> dict[str, t.Any]:
    secrets: list[str] = []
    headers, body = resolve_secrets(check.headers, secrets), resolve_secrets(check.json, secrets)
    for secret in secrets:
        hold(secret)
    parts = urlsplit(check.url)
    host = f"[{instance.address}]" if ":" in instance.address else instance.address
    request: dict[str, t.Any] = {
        "id": check.id,
        # Behind its gateway an instance speaks plain HTTP on its own machine.
        "url": urlunsplit(("http", f"{host}:{instance.port}", parts.path or "/", parts.query, "")),
        "method": check.method,
        "headers": json.dumps(headers),
        "status": list(check.status),
    }
    if check.json is not None:
        request["body"] = json.dumps(body)
    if check.body_has is not None:
        request["body_has"] = check.body_has
    return request
