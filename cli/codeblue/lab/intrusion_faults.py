"""Faults of intrusion: a release that sends data outside, and a stolen token that is in use."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.faults import Fault, Injection
from codeblue.lab.files import make_directory, write_json, write_text
from codeblue.lab.intrusion import (
    COLLECTOR_PORT,
    IMPLANT_ARGUMENT,
    IMPLANT_TARGET,
    collector_address,
    folder,
)
from codeblue.lab.layout import APPLICATION_MACHINES, COLLECTOR_UNIT, INTRUDER_UNIT, MACHINES, Layout, unit
from codeblue.lab.parts import Parts
from codeblue.lab.processes import end, identity
from codeblue.lab.releases import EXFILTRATING
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret

_SERVICE = "records"


class ServiceSendingData(Fault):
    name: ClassVar[str] = "service_sending_data"
    summary: ClassVar[str] = (
        f"release {EXFILTRATING} of records starts a hidden process that sends data to an address outside"
    )
    hits: ClassVar[tuple[str, ...]] = ("exfiltration_stopped", "records")
    rto_target: ClassVar[float | None] = 45.0
    watches: ClassVar[tuple[str, ...]] = ("exfiltration_stopped", "stolen_token_refused")

    def inject(self, parts: Parts) -> Injection:
        make_directory(folder(parts.layout), 0o700)
        parts.supervisor.start(COLLECTOR_UNIT)
        injection = self.strike(version=EXFILTRATING)
        target = {"address": collector_address(parts.state), "port": COLLECTOR_PORT}
        for machine in APPLICATION_MACHINES:
            parts.gateway.set_state(_SERVICE, machine, "drain")
            parts.releases.deploy(_SERVICE, machine, EXFILTRATING, by="deployment")
            root = parts.layout.release_root(machine, _SERVICE)
            write_json(root / "releases" / EXFILTRATING / IMPLANT_TARGET, target)
            parts.supervisor.stop(unit(_SERVICE, machine))
            parts.supervisor.start(unit(_SERVICE, machine))
            parts.gateway.set_state(_SERVICE, machine, "ready")
            parts.gateway.wait_up({_SERVICE: [machine]}, 5.0)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(COLLECTOR_UNIT)


class StolenToken(Fault):
    name: ClassVar[str] = "stolen_token"
    summary: ClassVar[str] = "a valid token of the clinic is used from an address outside to read records"
    hits: ClassVar[tuple[str, ...]] = ("stolen_token_refused",)
    rto_target: ClassVar[float | None] = 45.0
    watches: ClassVar[tuple[str, ...]] = ("exfiltration_stopped", "stolen_token_refused")

    def inject(self, parts: Parts) -> Injection:
        make_directory(folder(parts.layout), 0o700)
        token = _log_in(parts)
        injection = self.strike()
        write_text(folder(parts.layout) / "token", token, 0o600)
        parts.supervisor.start(INTRUDER_UNIT)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(INTRUDER_UNIT)


INTRUSION_FAULTS: tuple[type[Fault], ...] = (ServiceSendingData, StolenToken)


def _log_in(parts: Parts) -> str:
    """A token as any user gets one; it is stolen from whoever it belongs to."""
    connection = http.client.HTTPConnection("127.0.0.1", parts.gateway.front_port("auth"), timeout=2.0)
    try:
        password = read_secret(parts.layout.secret(PROBE_ACCOUNT))
        body = json.dumps({"username": PROBE_ACCOUNT, "password": password})
        connection.request("POST", "/login", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CodeblueError(f"no token can be had: {type(error).__name__}", "codeblue lab heal") from error
    finally:
        connection.close()
    if response.status != 200:
        raise CodeblueError(f"no token can be had: {response.status}", "codeblue lab heal")
    return str(answer["token"])


def implants(layout: Layout) -> list[int]:
    """Processes that the exfiltrating release started and that live on without their unit."""
    roots = [os.fsencode(layout.release_root(machine, _SERVICE)) for machine in APPLICATION_MACHINES]
    found = []
    for folder_of_process in Path("/proc").iterdir():
        if not folder_of_process.name.isdigit():
            continue
        try:
            command = (folder_of_process / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if IMPLANT_ARGUMENT.encode() in command and any(part.startswith(root) for part in command for root in roots):
            found.append(int(folder_of_process.name))
    return found


def remove_intrusion(layout: Layout) -> None:
    """End what hides, forget what was stolen, and open what a recovery closed."""
    end([known for pid in implants(layout) if (known := identity(pid))], signal.SIGKILL, 5.0)
    shutil.rmtree(folder(layout), ignore_errors=True)
    for note in _quarantines(layout):
        kept = json.loads(note.read_text(encoding="utf-8"))
        # It may have gone with a reload of the machine's own rules; then there is nothing to remove.
        subprocess.run(["nft", "delete", "table", "inet", kept["table"]], capture_output=True, timeout=10, check=False)
        if kept["persisted_in"]:
            Path(kept["persisted_in"]).unlink(missing_ok=True)
        note.unlink()


def _quarantines(layout: Layout) -> list[Path]:
    return [note for machine in MACHINES for note in layout.lock_dir(machine).glob("quarantine/*.json")]


def intrusion_left(layout: Layout) -> list[str]:
    """What betrays a lab that is not healed."""
    found = [f"process {pid} sends data outside" for pid in implants(layout)]
    found += [f"{note.stem} is in quarantine" for note in _quarantines(layout)]
    return [*found, *(["a stolen token is kept"] if (folder(layout) / "token").exists() else [])]
