"""An account in two regions, simulated by moto in this process, that tells what it was asked to do.

What RDS does beyond the calls themselves is no part of moto: every state is reached at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import threading
import typing as t
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from botocore import xform_name
from moto.core import DEFAULT_ACCOUNT_ID
from moto.rds.models import rds_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

PRIMARY, STANDBY = "us-east-1", "us-west-2"
_SCOPE = re.compile(r"Credential=[^/]+/\d+/(?P<region>[-\w]+)/(?P<service>[-\w]+)/")
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
Environ = dict[str, t.Any]


@dataclass(frozen=True)
class Asked:
    """One question, as `rds`, `create_db_snapshot`."""

    region: str
    service: str
    operation: str

    @property
    def changes(self) -> bool:
        return is_change(self.operation)


class Regions:
    """The server. A hook is called with each question before it is carried out, and with each answer afterwards."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[Asked], None] = lambda _asked: None
        self.after: Callable[[Asked], None] = lambda _asked: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._application, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _application(self, environ: Environ, start_response: t.Any) -> t.Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = _asked(environ, body)
        if asked is None:
            return self._moto(environ, start_response)
        self.asked.append(asked)
        self.before(asked)
        answer = list(self._moto(environ, start_response))
        if asked.operation == "promote_read_replica":
            _are_no_replicas(asked.region)
        self.after(asked)
        return answer

    @property
    def changes(self) -> list[str]:
        """The changing operations that were asked for, in their order."""
        return [each.operation for each in self.asked if each.changes]

    def forget(self) -> None:
        """Count from here."""
        self.asked.clear()

    def reset(self) -> None:
        """An empty account."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=60).close()
        self.before = self.after = lambda _asked: None
        self.forget()

    def kill_at(self, process: subprocess.Popen[str], number: int, moment: str) -> None:
        """Kill a play, and all that it started, at its so many-th changing call.

        :param moment: `before` the call is carried out, which it then never is, or `after`.
        """

        def kill(asked: Asked) -> None:
            if asked.changes and len(self.changes) == number:
                self.before = self.after = lambda _asked: None
                # Ansible's workers are no longer in its process group, and would finish their step.
                for pid in _with_descendants(process.pid):
                    os.kill(pid, signal.SIGKILL)
                process.wait()
                if moment == "before":
                    raise ConnectionAbortedError("nobody waits for an answer any more")

        setattr(self, moment, kill)

    def client(self, service: str, region: str = PRIMARY) -> t.Any:
        """A client of boto3, beside everything that is tested."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    @property
    def environment(self) -> dict[str, str]:
        """By which a process reaches this account."""
        return {**_CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _asked(environ: Environ, body: bytes) -> Asked | None:
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        return None
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    form = urllib.parse.parse_qs(body.decode("utf-8", "replace")) if not target else {}
    # Services of the REST kind, such as Route 53, are told by their method and path.
    named = target or next(iter(form.get("Action", [])), "")
    operation = xform_name(named) if named else f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    if not named and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        operation = f"get_{environ['PATH_INFO']}"
    return Asked(scope["region"], scope["service"], operation)


def _are_no_replicas(region: str) -> None:
    """Of what was promoted moto says that it replicates still."""
    for each in rds_backends[DEFAULT_ACCOUNT_ID][region].databases.values():
        if not each.is_replica:
            each.source_db_instance_identifier = None


def _with_descendants(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


@contextlib.contextmanager
def running_regions() -> Iterator[Regions]:
    """The server, until the end of the block."""
    regions = Regions()
    try:
        yield regions
    finally:
        regions.close()
