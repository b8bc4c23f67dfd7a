# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Credentials that a program of the kubeconfig gives (`users[].user.exec`), within a time and a size.

The official client waits for such a program without an end, lets it ask at the terminal, and goes on without
credentials when it fails: then the API server refuses somebody nameless, which nobody understands. Here it gets no
terminal and its time, it is ended with all that it started, and what went wrong is said.

What it gave is kept in the memory of this process until shortly before it ends, and a failure for some seconds: many
checks load the same account at once.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import selectors
import signal
import subprocess
import time
import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_official as official

#: Programs of large clouds take one to five seconds, when what they ask is slow.
PROGRAM_SECONDS = 10.0
# A token or a certificate with its key are some kilobytes.
_MOST_BYTES = 1 << 20
_MOST_SAID = 200
# So long before its end a token is asked for anew, and so long a failure is not tried again.
_BEFORE_END = 60.0
_FAILED_SECONDS = 10.0
_HINT = "run it by hand: kubectl get --raw /version"

_kept: dict[str, tuple[float, dict[str, t.Any]]] = {}
_failed: dict[str, tuple[float, str]] = {}


class ProgramFailed(BaseException):
    """The program gave no credentials. No `Exception`: the official client would log those and go on without."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = _HINT


class CredentialProgram(official.kube_config.ExecProvider):
    """The program of one account; takes the place of the official client's class."""

    def run(self, previous_response: t.Any = None) -> dict[str, t.Any]:
        """What it gives: a token, or a certificate with its key.

        :raises ProgramFailed: it gives none, or takes too long.
        """
        key = json.dumps([self.args, sorted(self.env.items()), self.cwd])
        now = time.monotonic()
        if key in _kept and now < _kept[key][0]:
            return _kept[key][1]
        if key in _failed and now < _failed[key][0]:
            raise ProgramFailed(_failed[key][1])
        name = Path(str(self.args[0])).name
        try:
            status = _status(self._output(name), str(self.api_version), name)
        except ProgramFailed as failed:
            _failed[key] = (time.monotonic() + _FAILED_SECONDS, failed.message)
            raise
        _kept[key] = (time.monotonic() + _seconds_left(status), status)
        return status

    def _output(self, name: str) -> bytes:
        spec: dict[str, t.Any] = {"interactive": False}
        if self.cluster:
            spec["cluster"] = self.cluster.value
        question = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        try:
            process = subprocess.Popen(
                self.args,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.cwd,
                env={**self.env, "KUBERNETES_EXEC_INFO": json.dumps(question)},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(f"the credential program {name} cannot be started: {error.strerror}") from error
        with process:
            try:
                out, said = _read(process, name)
            finally:
                # With what it started itself, which would hold its pipes open.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        if code != 0:
            raise ProgramFailed(f"the credential program {name} ended with {code}: {_short(said) or 'it says nothing'}")
        return out


def forget() -> None:
    """Ask programs anew: what they gave was refused."""
    _kept.clear()


def _read(process: subprocess.Popen[bytes], name: str) -> tuple[bytes, bytes]:
    """All that it writes until it ends."""
    if process.stdout is None or process.stderr is None:
        raise AssertionError("it was started with pipes")
    ends = time.monotonic() + PROGRAM_SECONDS
    found: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)
        while process.poll() is None or selector.get_map():
            left = ends - time.monotonic()
            if left <= 0:
                raise ProgramFailed(f"the credential program {name} gave nothing within {PROGRAM_SECONDS:g} s")
            if process.poll() is not None and not selector.select(0):
                # It has ended; what it started may hold its pipes for ever.
                break
            for ready, _events in selector.select(min(left, 0.05)):
                chunk = os.read(ready.fd, 65536)
                found[ready.fd] += chunk
                if len(found[ready.fd]) > _MOST_BYTES:
                    raise ProgramFailed(f"the credential program {name} writes more than {_MOST_BYTES} bytes")
                if not chunk:
                    selector.unregister(ready.fileobj)
    out, said = found.values()
    return bytes(out), bytes(said)


def _status(out: bytes, version: str, name: str) -> dict[str, t.Any]:
    """The credentials in an answer; nothing of it goes into an error."""
    try:
        answer = json.loads(out)
        status = answer["status"]
        fits = answer["kind"] == "ExecCredential" and answer["apiVersion"] == version
    except (ValueError, KeyError, TypeError):
        raise ProgramFailed(f"the credential program {name} answers nothing that is an ExecCredential") from None
    if not fits:
        raise ProgramFailed(f"the credential program {name} does not answer as {version}")
    if not isinstance(status, dict) or not (
        status.get("token") or (status.get("clientCertificateData") and status.get("clientKeyData"))
    ):
        raise ProgramFailed(f"the credential program {name} gives neither a token nor a certificate with its key")
    return status


def _seconds_left(status: dict[str, t.Any]) -> float:
    """How long credentials are good; without a time until they are refused, or this process ends."""
    ends = status.get("expirationTimestamp")
    if not isinstance(ends, str):
        return float("inf")
    try:
        moment = datetime.datetime.fromisoformat(ends.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp() - time.time() - _BEFORE_END


def _short(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:_MOST_SAID] if lines else ""
