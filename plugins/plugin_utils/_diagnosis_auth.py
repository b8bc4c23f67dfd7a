# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why nobody can log in, or why logins are worth nothing: processes, keys, certificate, or something beneath.

The order of the questions matters, because a cause further up makes the symptoms of those below it:

1. No machine answers: nothing can be done from here.
2. Processes are down: start them.
3. A private key does not belong to the public ones that tokens are verified with: keys.
4. The certificate on the way to the login has expired: certificate.
5. What it depends on fails: its own runbook.
6. It runs and does not work: the newest change of it.
"""

from __future__ import annotations

import base64
import time
import typing as t
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import Shown, shown_by
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, HttpCheck, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Question,
    Seen,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests

#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "process_stopped": "restart",
    "signing_key_wrong": "rotate_keys",
    "certificate_expired": "renew_certificate",
    "not_working": "rollback",
    "healthy": "none",
}
CAUSES = (*TREATMENTS, "dependency_down", "machines_silent", "inconclusive")
_NEXT_STEPS = {
    "dependency_down": "Bring the dependency back first; its own runbook does that.",
    "machines_silent": "Bring the machines back, or the network to them.",
    "certificate_expired": "Renew it by hand as the card says; codeblue_host.certificates names none.",
    "inconclusive": "Log in by hand and follow the token: at the login, at its certificate, at who refuses it.",
}
_COLLECTION = "codeblue.recovery."
_LOOK_SECONDS = 20.0
_TLS_SECONDS = 2.0
_RUNNING = ("running", "active", "started", "starting")
_UNIT, _SIGNING, _VERIFICATION = "unit", "signing", "verification"


class AuthDiagnosis:
    """See `RunbookDiagnosis`."""

    def questions(self, service: Service) -> Sequence[Question]:
        host = service.require_host()
        found = [
            Question(
                f"{_UNIT}/{name}",
                _look(
                    instance.machine,
                    _COLLECTION + "process_state",
                    {"units": [{**instance.process.as_arguments(), "state": "started"}]},
                ),
            )
            for name, instance in host.instances.items()
        ]
        keys = host.session_keys
        if keys is not None:
            for kind, consumers in ((_SIGNING, keys.signing), (_VERIFICATION, keys.verification)):
                files = dict.fromkeys((each.machine, each.secret_file) for each in consumers)
                for machine, path in files:
                    # Several processes of a machine may read one file, or each its own.
                    own = path if sum(other == machine for other, _path in files) > 1 else ""
                    look = _look(machine, "ansible.builtin.slurp", {"src": path})
                    found.append(Question(f"{kind}/{machine}{' in ' if own else ''}{own}", look))
        return found

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        failing = [result for result in seen.detection.results if not result.ok]
        beneath: list[CheckResult] = []
        if failing:
            plan = plan_checks({name: each.checks for name, each in seen.dependencies.items()}, "deep")
            beneath = [result for result in run_checks(plan) if not result.ok]
        own = [result for result in failing if result.target == seen.service.name]
        shown = _certificates(seen.service) if any(result.error_class == "tls" for result in own) else {}
        return judge(seen.service, seen.answers, own, beneath, shown, time.time())


DIAGNOSIS = AuthDiagnosis()


def judge(
    service: Service,
    answers: Mapping[str, MachineAnswer],
    failing: Sequence[CheckResult],
    beneath: Sequence[CheckResult],
    shown: Mapping[str, Shown | None],
    now: float,
) -> dict[str, t.Any]:
    """The judgement. Pure.

    :param failing: checks of the service that failed last.
    :param beneath: checks of what it depends on that failed.
    :param shown: check to the certificate that its address shows, for checks that failed by TLS.
    :param now: Unix seconds.
    """
    cause, confidence, evidence = _cause(service, answers, failing, beneath, shown, now)
    treatment = TREATMENTS.get(cause, "person")
    if cause == "certificate_expired" and not service.require_host().certificates:
        treatment = "person"
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence[:10]),
        "treatment": treatment,
        "next_step": _NEXT_STEPS.get(cause, "") if treatment == "person" else "",
        "stopped": sorted(_stopped(answers)),
        "unreachable": {name: each.unreachable for name, each in answers.items() if each.unreachable},
    }


_Finding = tuple[str, float, list[str]]


def _cause(
    service: Service,
    answers: Mapping[str, MachineAnswer],
    failing: Sequence[CheckResult],
    beneath: Sequence[CheckResult],
    shown: Mapping[str, Shown | None],
    now: float,
) -> _Finding:
    units = {name: answer for name, answer in answers.items() if name.startswith(f"{_UNIT}/")}
    silent = {name: answer.unreachable for name, answer in units.items() if answer.unreachable}
    if units and len(silent) == len(units):
        return "machines_silent", PROVEN, [f"{name.partition('/')[2]}: {why}" for name, why in silent.items()]
    stopped = _stopped(answers)
    if stopped:
        return "process_stopped", PROVEN, [f"the process on {name} is {state}" for name, state in stopped.items()]
    mismatch = _key_mismatch(answers)
    if mismatch:
        sure = PROVEN if any(result.error_class == "token_refused" for result in failing) else LIKELY
        return "signing_key_wrong", sure, mismatch
    expired = [name for name, each in shown.items() if each is not None and not each.is_valid_at(now)]
    if expired:
        return "certificate_expired", PROVEN, [_validity(name, t.cast(Shown, shown[name]), now) for name in expired]
    if not failing:
        return "healthy", PROVEN, ["every process runs, the keys fit, and no check fails"]
    said = [f"{result.id} fails ({result.error_class})" for result in failing[:5]]
    if beneath:
        names = sorted({result.target for result in beneath})
        return "dependency_down", PROVEN, [f"{name}, which it depends on, fails its own checks" for name in names]
    if any(result.error_class in ("tls", "token_refused") for result in failing):
        return "inconclusive", UNDECIDED, [*said, "neither the keys nor the certificate's time explain it"]
    return "not_working", LIKELY, [*said, "its processes run, its keys fit, and what it depends on works"]


def _stopped(answers: Mapping[str, MachineAnswer]) -> dict[str, str]:
    found = {}
    for name, answer in answers.items():
        if name.startswith(f"{_UNIT}/") and answer.result is not None:
            states = [str(each.get("state")) for each in answer.result["before"].values()]
            if states and states[0].lower() not in _RUNNING:
                found[name.partition("/")[2]] = states[0].lower()
    return found


def _key_mismatch(answers: Mapping[str, MachineAnswer]) -> list[str]:
    """Who signs what somebody else cannot verify, by digests only.

    Every verifier has to know every signer's key: behind a gateway a token can come from any to any.
    """
    digests: dict[str, dict[str, set[str]]] = {_SIGNING: {}, _VERIFICATION: {}}
    for name, answer in answers.items():
        kind, _slash, machine = name.partition("/")
        if kind in digests and answer.result is not None:
            digests[kind][machine] = key_digests(base64.b64decode(answer.result.get("content", "")))
    return [
        f"the private key on {signer} belongs to none of the public keys that {verifier} verifies tokens with"
        for signer, private in digests[_SIGNING].items()
        for verifier, public in digests[_VERIFICATION].items()
        if not private & public
    ]


def _certificates(service: Service) -> dict[str, Shown | None]:
    """What the addresses of the service's https checks show."""
    found: dict[str, Shown | None] = {}
    for _level, check in service.checks.up_to("deep"):
        if isinstance(check, HttpCheck) and (parts := urlsplit(check.url)).scheme == "https" and parts.hostname:
            found[check.id] = shown_by(parts.hostname, parts.port or 443, _TLS_SECONDS)
    return found


def _validity(name: str, shown: Shown, now: float) -> str:
    if now < shown.starts_at:
        return f"{name}: the certificate {shown.serial} is not valid for another {(shown.starts_at - now) / 3600:.1f} h"
    return f"{name}: the certificate {shown.serial} expired {(now - shown.expires_at) / 3600:.1f} h ago"


def _look(machine: str, module: str, arguments: Mapping[str, t.Any]) -> MachineCall:
    return MachineCall(machine, module, arguments, _LOOK_SECONDS, check_mode=True)
