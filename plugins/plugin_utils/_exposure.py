# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the steps of an exposure of patients' data share: what was found, where logs are kept closed, digests."""

from __future__ import annotations

import hashlib
import hmac
import os
import posixpath
import secrets
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import state_dir

_KEY_BYTES = 32
_SHIPPING_SECONDS = 15.0


@dataclass(frozen=True)
class Exposure:
    """What the diagnosis found; see `_diagnosis_exposure`.

    :param logs: machine -> live logs.
    :param releases: machine -> the release that was current.
    """

    pages: tuple[str, ...]
    logs: Mapping[str, tuple[str, ...]]
    releases: Mapping[str, str]
    began_at: str | None
    detected_at: str | None

    @classmethod
    def of(cls, diagnosis: Mapping[str, t.Any]) -> Exposure:
        """:raises BadInput: the diagnosis is not one of an exposure."""
        found = diagnosis.get("exposure")
        if not isinstance(found, Mapping):
            raise BadInput("the diagnosis says nothing about an exposure", "give what the role diagnose found")
        return cls(
            pages=tuple(found["pages"]),
            logs={machine: tuple(logs) for machine, logs in found["logs"].items()},
            releases=dict(found["releases"]),
            began_at=found.get("began_at"),
            detected_at=found.get("detected_at"),
        )


@dataclass(frozen=True)
class ClosedLogs:
    """Logs of one directory of a machine, and where they are kept closed."""

    machine: str
    directory: str
    logs: tuple[str, ...]

    @property
    def name(self) -> str:
        """For keys of steps and names of evidence."""
        return f"{self.machine}_{hashlib.sha256(self.directory.encode()).hexdigest()[:8]}"

    def arguments(self, state: str) -> dict[str, t.Any]:
        """For the module `log_scrub`."""
        return {"log_files": list(self.logs), "protected_dir": self.directory, "state": state}


def closed_logs(exposure: Exposure, run_id: str) -> list[ClosedLogs]:
    """One protected directory for each directory of logs: files can only be renamed within a file system."""
    found = []
    for machine, logs in sorted(exposure.logs.items()):
        for directory in sorted({posixpath.dirname(log) for log in logs}):
            mine = tuple(log for log in logs if posixpath.dirname(log) == directory)
            found.append(ClosedLogs(machine, posixpath.join(directory, f".codeblue-{run_id}"), mine))
    return found


def shipping_changes(policy: PhiPolicy, machines: t.Iterable[str], state: str) -> list[Change]:
    """Stop for good or start what sends logs elsewhere, on these machines.

    :param state: `held` or `started`.
    """
    return [
        Change(
            action=f"shipping_{state}_{machine}",
            machine=machine,
            module="process_state",
            arguments={
                "units": [{**policy.log_shipping[machine].as_arguments(), "state": state}],
                "timeout": _SHIPPING_SECONDS,
            },
            decision={"unit": policy.log_shipping[machine].unit, "state": state},
            seconds=_SHIPPING_SECONDS + 10.0,
        )
        for machine in sorted(machines)
        if machine in policy.log_shipping
    ]


def policy_of(service: Service) -> PhiPolicy:
    """:raises BadInput: the inventory does not say what is about patients here."""
    if service.phi is None:
        raise BadInput(f"{service.name}: codeblue_phi is missing", "see docs/privacy.md")
    return service.phi


def digest_key(breach_id: str) -> str:
    """The key of the digests of one breach, the same whenever it is asked for on this controller.

    It is derived from a key that never leaves the controller, so that digests tell nobody anything who has not got it,
    and those of two breaches cannot be compared.
    """
    return hmac.new(_site_key(), breach_id.encode(), hashlib.sha256).hexdigest()


def breach_id_of(run_id: str, target: str) -> str:
    """A run opens at most one breach for a target."""
    return f"BRC-{run_id}-{target}"


def front_of(service: Service) -> str:
    """Scheme, host and port by which clients reach the service, from its own checks.

    :raises BadInput: it has no check over HTTP.
    """
    for level in (service.checks.shallow, service.checks.deep):
        for check in level:
            if isinstance(check, HttpCheck):
                parts = urlsplit(check.url)
                return f"{parts.scheme}://{parts.netloc}"
    raise BadInput(f"{service.name}: no check over http says how clients reach it", "add one to codeblue_checks")


def statuses_from_outside(base: str, pages: Sequence[str], seconds: float) -> dict[str, int | None]:
    """What who says nothing about themselves is answered; None for no answer, which gives nothing away."""
    import httpx

    found: dict[str, int | None] = {}
    with httpx.Client(timeout=seconds, follow_redirects=False, trust_env=False) as client:
        for page in pages:
            try:
                with client.stream("GET", base + page) as response:
                    found[page] = response.status_code
            except httpx.HTTPError:
                found[page] = None
    return found


def _site_key() -> bytes:
    """Made at its first use, for this account alone."""
    path = state_dir() / "keys" / "phi-digest.key"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _make(path)
        content = path.read_bytes()
    except OSError as error:
        raise CodeblueError(f"{path}: {error.strerror}", "it is needed to count people without naming them") from error
    if len(content) != _KEY_BYTES or path.stat().st_mode & 0o077:
        raise CodeblueError(f"{path} is damaged or open to others", f"chmod 600 {path}, or move it away")
    return content


def _make(path: Path) -> None:
    if path.exists():
        return
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(staged, path)
        except FileExistsError:
            # Another process was quicker; its key is the one.
            return
    finally:
        staged.unlink()
