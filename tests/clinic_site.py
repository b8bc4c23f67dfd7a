"""A running clinic and an operator's account beside it: what the tests of whole recoveries have in common.

Everything is real: the lab's processes, the `codeblue` command, `ansible-playbook`, the state store on disk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run, Step, Store, open_store
from codeblue.lab import Lab
from codeblue.lab.layout import MACHINES

# A whole recovery takes a few seconds; beyond this something hangs, unless the machine is busy with other things.
MOST_SECONDS = float(os.environ.get("CODEBLUE_MOST_SECONDS", "90"))
_BIN = Path(sys.executable).parent


@dataclasses.dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def summary(self) -> dict[str, t.Any]:
        last = self.messages[-1]
        assert last["message_type"] == "summary", self
        return last

    @property
    def error_lines(self) -> list[str]:
        """What `codeblue` says on stderr, without what it says about progress."""
        return [line for line in self.err.splitlines() if line.strip()]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """One line that a module left on a machine."""

    machine: str
    target: str
    run_id: str
    key: str
    event: str


class Site:
    """One clinic, and an account with a home, a state directory and a spool of its own.

    :param lab: it runs.
    :param account: a directory of this test; all that commands write besides the machines is below it.
    """

    def __init__(self, lab: Lab, account: Path) -> None:
        self.lab = lab
        self.account = account
        for name in ("home", "state", "run", "spool", "tmp", "work"):
            (account / name).mkdir(mode=0o700, exist_ok=True)
        self.variables: dict[str, str] = {}
        self.inventory: Path = lab.inventory_path

    # -- commands ----------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": str(self.account / "home"),
            "XDG_STATE_HOME": str(self.account / "state"),
            "XDG_CACHE_HOME": str(self.account / "home" / "cache"),
            "XDG_CONFIG_HOME": str(self.account / "home" / "config"),
            "XDG_RUNTIME_DIR": str(self.account / "run"),
            "TMPDIR": str(self.account / "tmp"),
            "CODEBLUE_SPOOL_DIR": str(self.account / "spool"),
            "CODEBLUE_ANCHORS": f"file:{self.account / 'heads.jsonl'}",
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "CODEBLUE_LAB_DIR": str(self.lab.directory),
            **self.variables,
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, as when no terminal is there."""
        return subprocess.Popen(
            command,
            cwd=self.account / "work",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_codeblue(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "codeblue", *arguments)

    def codeblue(self, *arguments: str) -> Finished:
        return finish(self.start_codeblue(*arguments))

    def command(self, *arguments: str) -> Finished:
        """The same, by the name that sites of all platforms have."""
        return self.codeblue(*arguments)

    def run(self, runbook: str, *options: str) -> Finished:
        """`codeblue run` with this site's inventory; JSON lines on stdout."""
        return self.codeblue("run", runbook, "-i", str(self.inventory), "--json", *options)

    def start_playbook(self, playbook: str, *options: str) -> subprocess.Popen[str]:
        return self.start(str(_BIN / "ansible-playbook"), "-i", str(self.inventory), playbook, *options)

    def playbook(self, playbook: str, *options: str) -> Finished:
        """Bare `ansible-playbook` with this site's inventory."""
        return finish(self.start_playbook(playbook, *options))

    # -- what is on disk ---------------------------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        return self.account / "state" / "codeblue"

    @property
    def database(self) -> Path:
        return self.state_dir / "state.sqlite"

    def store(self) -> Store:
        store = open_store(f"sqlite:///{self.database}")
        return store

    def runs(self) -> list[Run]:
        """All runs, the latest first."""
        return self.store().runs() if self.database.exists() else []

    def steps(self, run_id: str) -> list[Step]:
        return self.store().steps(run_id)

    def ledger(self, run_id: str) -> list[dict[str, t.Any]]:
        return self.store().ledger_records(run_id)

    def receipts(self, run_id: str | None = None) -> list[Receipt]:
        """The receipts on all machines, each machine's in the order in which they were written."""
        found = []
        for machine in MACHINES:
            for path in sorted((self.lab.layout.lock_dir(machine) / "receipts").glob("*/*.jsonl")):
                if run_id is not None and path.stem != run_id:
                    continue
                for line in path.read_text(encoding="utf-8").splitlines():
                    record = json.loads(line)
                    found.append(Receipt(machine, path.parent.name, path.stem, record["key"], record["event"]))
        return found

    def accepted(self, step: SeenStep) -> bool:
        """Whether a machine wrote down that it accepted the change of a step."""
        needle = f'"key":"{step.key}"'
        for path in self.lab.directory.glob("machines/*/codeblue/receipts/*/*.jsonl"):
            if any(needle in line and '"event":"accepted"' in line for line in path.read_text().splitlines()):
                return True
        return False

    def fingerprint(self) -> dict[str, t.Any]:
        """What a refused call must leave as it was: receipts, who is primary, the gateway, processes, releases."""
        status = self.lab.status()
        return {
            "receipts": self.receipts(),
            "primary": status.primary,
            "members": {name: member.role for name, member in status.members.items()},
            # As they were switched; what HAProxy's own checks say changes by itself.
            "servers": {
                backend: {name: state if state in ("MAINT", "DRAIN") else "ready" for name, state in servers.items()}
                for backend, servers in status.servers.items()
            },
            # What runs is called starting for its first second.
            "processes": {
                name: ("RUNNING" if each["state"] == "STARTING" else each["state"], each["pid"])
                for name, each in status.processes.items()
            },
            "releases": status.releases,
        }

    def overlay(self, changes: Mapping[str, t.Any], name: str = "overlay.yml") -> Path:
        """A second inventory beside the lab's own, made from it: `changes` maps dotted paths to values."""
        content = yaml.safe_load(self.lab.inventory_path.read_text(encoding="utf-8"))
        for path, value in changes.items():
            place = content
            *parents, last = path.split("/")
            for parent in parents:
                place = place.setdefault(parent, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        file = self.account / name
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return file

    # -- proofs ------------------------------------------------------------------------------------------------

    def verify_record(self, run_id: str) -> None:
        """Export the run's record and verify it against the pinned key and the copied heads."""
        export = self.account / f"{run_id}.export.jsonl"
        made = self.codeblue("audit", "export", run_id, "-o", str(export))
        assert made.code == 0, made
        verified = self.codeblue(
            "audit",
            "verify",
            str(export),
            *self._public_keys(),
            "--head",
            str(self.account / "heads.jsonl"),
        )
        assert verified.code == 0, verified

    def _public_keys(self) -> list[str]:
        """Those of this account: a run that found the state directory full signed with a key beside its spool."""
        places = (self.state_dir / "keys", self.account / "spool")
        return [option for place in places for key in place.rglob("*.pub") for option in ("--public-key", str(key))]

    def assert_receipts_once(self, run_id: str) -> None:
        """No step was done twice, by what the machines themselves wrote down."""
        receipts = self.receipts(run_id)
        for key in {receipt.key for receipt in receipts}:
            for machine in {receipt.machine for receipt in receipts if receipt.key == key}:
                events = [each.event for each in receipts if (each.key, each.machine) == (key, machine)]
                assert events.count("done") <= 1, (key, machine, events)
                # Accepted again only by an attempt that found the first one in doubt, never after it was done.
                assert "accepted" not in events[events.index("done") :] if "done" in events else True, (key, events)

    def assert_no_step_twice(self, run_id: str) -> None:
        """By what the machines themselves wrote down, and by the journal and the record."""
        self.assert_receipts_once(run_id)
        steps = self.steps(run_id)
        assert len({step.key for step in steps}) == len(steps)
        unfinished = [step.key for step in steps if step.finished_at is None]
        assert not unfinished, unfinished
        ok: dict[str, int] = {}
        for record in self.ledger(run_id):
            fields = record["fields"]
            if record["kind"] == "step_result" and fields.get("outcome") == "ok":
                ok[fields["key"]] = ok.get(fields["key"], 0) + 1
        assert all(count == 1 for count in ok.values()), ok


def finish(process: subprocess.Popen[str], seconds: float = MOST_SECONDS) -> Finished:
    """Wait for a command; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} did not end within {seconds:g} s\n{out}\n{err}") from None
    return Finished(process.returncode, out, err)


@dataclasses.dataclass(frozen=True)
class SeenStep:
    """A step as the journal on disk shows it while a run is under way.

    :param started_at: RFC 3339.
    """

    key: str
    name: str
    finished: bool
    worker: int
    started_at: str = ""


def watch_journal(database: Path, known: Sequence[str] = ()) -> list[SeenStep]:
    """The steps of runs that are not in `known`, read without taking part in any lock."""
    if not database.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0)
    except sqlite3.OperationalError:
        return []
    try:
        rows = connection.execute(
            "select run_id, key, stage, action, target, finished_at, holder_pid, started_at from journal order by id"
        ).fetchall()
    except sqlite3.OperationalError:
        # The tables are being made right now.
        return []
    finally:
        connection.close()
    return [
        SeenStep(row[1], f"{row[4]}/{row[2]}/{row[3]}", row[5] is not None, int(row[6]), str(row[7]))
        for row in rows
        if row[0] not in known
    ]


def wait_for(condition: t.Callable[[], t.Any], seconds: float, what: str, pause: float = 0.002) -> t.Any:
    """Poll until the condition holds and return what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        time.sleep(pause)
