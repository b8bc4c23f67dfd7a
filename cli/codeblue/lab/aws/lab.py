"""The lab on AWS as a whole: up, down, status, break, heal."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import botocore.exceptions
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.lab.aws.account import LabAccount, ServerControl
from codeblue.lab.aws.blueprint import AI_SECRET, DATABASE_SECRET, REGIONS, SIGNING_SECRET
from codeblue.lab.aws.faults import heal_all, inject
from codeblue.lab.aws.inventory import write_access, write_inventory
from codeblue.lab.aws.joining import join
from codeblue.lab.aws.layout import AwsLayout, default_aws_directory
from codeblue.lab.aws.outside import ASKED
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.aws.state import AwsLabState
from codeblue.lab.aws.status import AwsLabStatus, look
from codeblue.lab.files import make_directory
from codeblue.lab.injection import Injection, active_faults
from codeblue.lab.lab import UpResult
from codeblue.lab.ports import choose_ports, give_back
from codeblue.lab.processes import MARKER, end, identity, interruptions_as_exceptions, is_running, processes_of
from codeblue.lab.secrets import make_identity, new_password, read_secret, write_secret
from codeblue.lab.state import boot_id, exclusive

_START_SECONDS = 60.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.05
_UP = "codeblue lab up --platform aws"
_DOWN = "codeblue lab down --platform aws"
_SECRETS = (DATABASE_SECRET, AI_SECRET, SIGNING_SECRET, "analytics")


class AwsLab:
    """One lab: an account that a server of its own keeps on loopback, and a directory that knows it.

    :param directory: None for the default.
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        root = default_aws_directory() if directory is None else Path(directory).expanduser().absolute()
        self.layout = AwsLayout(root)

    @property
    def directory(self) -> Path:
        return self.layout.root

    @property
    def inventory_path(self) -> Path:
        return self.layout.inventory

    @property
    def state(self) -> AwsLabState:
        """What its file says.

        :raises BadInput: there is no lab in the directory.
        """
        state = AwsLabState.load(self.layout)
        if state is None:
            raise BadInput(f"there is no lab on AWS in {self.layout.root}", f"start one with: {_UP}")
        return state

    @property
    def parts(self) -> AwsParts:
        return AwsParts(self.layout, self.state)

    def up(self) -> UpResult:
        """Start the server and fill its account; one that is up stays as it is.

        With `AWS_ENDPOINT_URL` that of another lab is used, and nothing is started.

        :raises Refused: what is there is not marked as a lab, or nobody could put it back.
        :raises CodeblueError: it does not start; then nothing of it is left.
        """
        started = time.monotonic()
        with exclusive(self.layout):
            known = AwsLabState.load(self.layout)
            if known is not None:
                if known.phase == "ready" and _server_runs(known):
                    return UpResult(True, self.inventory_path, 0.0)
                self._remove()
            elif self.layout.root.exists() and any(self.layout.root.iterdir()):
                raise BadInput(f"{self.layout.root} is not empty and holds no such lab", "choose another with --dir")
            with interruptions_as_exceptions():
                self._start(started)
        return UpResult(False, self.inventory_path, time.monotonic() - started)

    def down(self) -> bool:
        """End the server and remove the lab's directory.

        :returns: False when there was no lab.
        """
        with exclusive(self.layout):
            was_there = self.layout.state_file.exists()
            if was_there:
                self._remove()
            self.layout.lock_file.unlink()
        return was_there

    def require_up(self) -> None:
        """:raises BadInput: there is no lab in the directory, or its server does not run."""
        self._require_up()

    def status(self) -> AwsLabStatus:
        return look(self.parts, _server_runs(self.state))

    def active_faults(self) -> list[str]:
        return active_faults(self.layout)

    def break_(self, fault: str) -> Injection:
        """Inject a fault.

        :raises BadInput: there is no such fault, or no lab.
        :raises Refused: the account is not marked as a lab any more.
        """
        with exclusive(self.layout):
            parts = self._require_up()
            closed = parts.control.state()["closed_regions"]
            parts.account.require_lab([each for each in REGIONS if each not in closed])
            return inject(parts, fault)

    def heal(self) -> float:
        """Undo all faults and put the whole account back as it was filled; returns the seconds that it took.

        :raises CodeblueError: it does not become what it was.
        """
        started = time.monotonic()
        with exclusive(self.layout):
            parts = self._require_up()
            heal_all(parts)
            parts.control.reset()
            left = [*parts.wait_steady(), *self.deviations(parts)]
        if left:
            raise CodeblueError(f"the lab is not what it was: {'; '.join(left[:3])}", f"begin anew: {_DOWN}")
        return time.monotonic() - started

    def deviations(self, parts: AwsParts | None = None) -> list[str]:
        """How it differs from the state after `up`, one line each: faults, tasks, and what is seen from outside."""
        parts = parts or self.parts
        found = [f"fault {name} is still injected" for name in self.active_faults()]
        found += [f"region {name} does not answer" for name in parts.control.state()["closed_regions"]]
        wrong = ((name, parts.outside.wrong(name)) for name in ASKED)
        return [*found, *parts.unsteady(), *(f"{name}: {said}" for name, said in wrong if said is not None)]

    # -- parts of it -------------------------------------------------------------------------------------------

    def _require_up(self) -> AwsParts:
        parts = self.parts
        if parts.state.phase != "ready" or not _server_runs(parts.state):
            raise BadInput(f"the lab in {self.layout.root} is not up", f"start it with: {_UP}")
        return parts

    def _start(self, started: float) -> None:
        versions = _versions()
        make_directory(self.layout.root, 0o700)
        state = AwsLabState(boot_id(), datetime.now(UTC).isoformat(timespec="seconds"), versions=versions)
        state.save(self.layout)
        try:
            make_directory(self.layout.faults, 0o700)
            make_directory(self.layout.secrets, 0o700)
            make_identity(self.layout)
            if url := os.environ.get("AWS_ENDPOINT_URL"):
                join(state, url)
                key = "of a lab that another directory keeps"
            else:
                names = ["control", "edge", *(f"{kind}-{region}" for region in REGIONS for kind in ("aws", "front"))]
                state.ports = choose_ports(names, self.layout.root)
                state.save(self.layout)
                self._start_server(state)
                key = self._fill(state)
            parts = AwsParts(self.layout, state)
            if left := parts.wait_steady():
                raise CodeblueError(f"the clinic does not start: {'; '.join(left[:3])}")
            write_access(self.layout, state, key)
            write_inventory(parts)
        except BaseException:
            self._remove()
            raise
        state.phase = "ready"
        state.seconds_to_ready = round(time.monotonic() - started, 3)
        state.save(self.layout)

    def _start_server(self, state: AwsLabState) -> None:
        ports = state.ports
        settings = {
            "control": ports["control"],
            "edge": ports["edge"],
            "regions": {region: ports[f"aws-{region}"] for region in REGIONS},
            "fronts": {region: ports[f"front-{region}"] for region in REGIONS},
            "calls": str(self.layout.calls),
        }
        # Without the images that moto knows: their snapshots would be made at the first question for any.
        images = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
        environment = {**os.environ, **images, MARKER: str(self.layout.root)}
        with self.layout.server_log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "codeblue.lab.aws.server"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.layout.root,
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.close()
        state.server = identity(process.pid)
        state.save(self.layout)
        control = ServerControl(f"http://127.0.0.1:{ports['control']}")
        deadline = time.monotonic() + _START_SECONDS
        while not control.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CodeblueError(f"the lab's server does not start: {_last_line(self.layout.server_log)}")
            time.sleep(_POLL_SECONDS)

    def _fill(self, state: AwsLabState) -> str:
        """Fill the account; returns the secret of the key of the recovery's user."""
        from codeblue.lab.aws.filling import Filling, fill

        for name in _SECRETS:
            write_secret(self._secret_file(name), new_password())
        control = ServerControl(f"http://127.0.0.1:{state.ports['control']}")
        account = LabAccount(f"http://127.0.0.1:{state.ports['control']}")
        filling = Filling(account, lambda name: read_secret(self._secret_file(name)), lambda: _pass_time(control))
        try:
            fill(filling)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            why = _last_line(self.layout.server_log)
            raise CodeblueError(f"the account cannot be filled: {error}; the server says: {why}") from error
        # Who reads the state of the lab need not know the key.
        key = filling.facts.pop("key-secret-codeblue")
        write_secret(self.layout.secret("deploy-bot-key"), filling.facts.pop("key-secret-deploy-bot"))
        state.facts = filling.facts
        control.serve(state.facts)
        return key

    def _secret_file(self, name: str) -> Path:
        return self.layout.secret(name.replace("/", "-"))

    def _remove(self) -> None:
        """End the server with its children, and remove the directory; what says that this is a lab last."""
        mine = processes_of(self.layout.root)
        if left := end(mine, signal.SIGTERM, _END_SECONDS):
            left = end(left, signal.SIGKILL, _END_SECONDS)
        if left:
            raise CodeblueError(f"process {left[0].pid} of the lab does not end", "look at it with ps")
        state = AwsLabState.load(self.layout)
        if state is not None and state.server is not None:
            give_back(state.ports.values(), self.layout.root)
        for entry in self.layout.root.iterdir():
            if entry == self.layout.state_file:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.layout.state_file.unlink(missing_ok=True)
        self.layout.root.rmdir()


def _server_runs(state: AwsLabState) -> bool:
    if state.server is None:
        return state.phase == "ready" and ServerControl(state.url("control")).answers()
    return state.boot_id == boot_id() and state.server is not None and is_running(state.server)


def _pass_time(control: ServerControl) -> None:
    control.do("settle")


def _versions() -> dict[str, str]:
    """Of what plays the account.

    :raises BadInput: it is not installed.
    """
    try:
        return {name: importlib.metadata.version(name) for name in ("moto", "botocore", "boto3")}
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(
            f"the lab on AWS needs {error.name}, which is not installed", "pip install 'codeblue-recovery[aws-lab]'"
        ) from error


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"see {path}"
