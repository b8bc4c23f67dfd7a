"""Kills one of the processes of a run at one of its steps, resumes the run, and says what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run, Store
from clinic_site import Finished, SeenStep, Site, finish, wait_for, watch_journal
from codeblue.drill.clinic import Clinic
from codeblue.lab.faults import all_faults
from codeblue.runner.collection import own_runbooks

VICTIMS = ("runner", "playbook", "worker")
# When in a step: its intent is on disk, the machine has accepted the change, or its result is on disk.
MOMENTS = ("intent", "accepted", "result")
# Every fault that a card names, and one that none does.
RUNBOOKS = {
    "primary_hung": "database_connection_failure",
    **{fault: card.id for card in (load_card(each.card_path) for each in own_runbooks()) for fault in card.faults},
}
# A step comes within seconds; a machine under load takes its time.
_STEP_SECONDS = 120.0


@dataclass(frozen=True)
class Kill:
    """What is killed and when.

    :param number: of the step, in the order in which the run begins them; the first is 0.
    :param bare: the run is started and resumed by `ansible-playbook` alone; then there is no runner.
    """

    victim: str
    number: int
    moment: str
    bare: bool = False

    def __str__(self) -> str:
        return f"{self.victim}@{self.number}/{self.moment}{'/bare' if self.bare else ''}"


@dataclass(frozen=True)
class Resumed:
    """What came of it.

    :param struck: the step at which the process was killed; None when the run had ended before.
    :param in_doubt: that step had no result when everything of the first attempt was gone.
    """

    run_id: str
    struck: str | None
    in_doubt: bool
    finished: Finished
    seconds: float


class KillableSite(t.Protocol):
    """Where a run can be killed and resumed, on any platform; see `clinic_site.Site`."""

    inventory: Path

    @property
    def database(self) -> Path: ...

    def runs(self) -> list[Run]: ...

    def store(self) -> Store: ...

    def command(self, *arguments: str) -> Finished:
        """`codeblue` with these arguments, to its end."""

    def start_codeblue(self, *arguments: str) -> subprocess.Popen[str]: ...

    def playbook(self, playbook: str, *options: str) -> Finished: ...

    def start_playbook(self, playbook: str, *options: str) -> subprocess.Popen[str]: ...

    def accepted(self, step: SeenStep) -> bool:
        """Whether the change of a step was accepted by what it changes."""


def end_state(site: Site) -> dict[str, t.Any]:
    """What a recovery leaves, without what differs from one to the next."""
    status = site.lab.status()
    return {
        "primary": status.primary,
        "members": {name: member.role for name, member in status.members.items()},
        "servers": status.servers,
        "processes": {name: each["state"] for name, each in status.processes.items()},
        "releases": status.releases,
    }


def settled_end_state(site: Site) -> dict[str, t.Any]:
    """The end state once HAProxy's and supervisord's own checks have caught up."""
    deadline = time.monotonic() + 8.0
    state = end_state(site)
    while time.monotonic() < deadline and ("STARTING" in str(state) or "DOWN" in str(state["servers"])):
        time.sleep(0.1)
        state = end_state(site)
    return state


def timeline(site: Site, member: str) -> int:
    """Grows by one with every promotion."""
    with site.lab.parts.postgresql.connect(member) as connection:
        row = connection.execute("select timeline_id from pg_control_checkpoint()").fetchone()
    assert row is not None
    return int(row[0])


def prepare(site: Site, fault: str) -> None:
    """What has to be there before: a snapshot, as production has one from its schedule."""
    wanted = all_faults()[fault].needs_snapshot
    if wanted and not (site.database.exists() and site.store().snapshots(wanted[0])):
        taken = site.codeblue("snapshot", "create", "-i", str(site.inventory), "--limit", ",".join(wanted), "--json")
        assert taken.code == 0, taken.err


def strike(site: Site, fault: str) -> None:
    """Break, and wait until a check fails: a run that is faster than the fault finds nothing to do."""
    site.lab.break_(fault)
    wait_for(Clinic(site.lab).failing_checks, _STEP_SECONDS, f"failing checks after {fault}", pause=0.1)


def recover(site: Site, fault: str) -> Finished:
    """Break and recover without a kill."""
    prepare(site, fault)
    strike(site, fault)
    return site.run(RUNBOOKS[fault])


def kill_and_resume(site: Site, fault: str, kill: Kill) -> Resumed:
    """Break, run, kill, resume.

    :raises AssertionError: the run never came to that step, or something hung.
    """
    prepare(site, fault)
    known = tuple(run.run_id for run in site.runs())
    strike(site, fault)
    return interrupt_and_resume(site, RUNBOOKS[fault], kill, known)


def interrupt_and_resume(
    site: KillableSite, runbook: str, kill: Kill, known: tuple[str, ...], *options: str
) -> Resumed:
    """Run, kill, resume.

    :param runbook: or an operation.
    :param known: ids of the runs before.
    :raises AssertionError: the run never came to that step, or something hung.
    """
    process = (
        site.start_playbook(f"codeblue.recovery.{runbook}", *options)
        if kill.bare
        else site.start_codeblue("run", runbook, "-i", str(site.inventory), "--json", *options)
    )
    try:
        seen = _wait_for_moment(site, process, kill, known)
        struck = seen is not None and _strike(process, kill, seen)
        if kill.victim == "runner" or kill.bare:
            # Its ansible-playbook, or that one's worker, holds the pipes open: nobody waits for those.
            process.wait(_STEP_SECONDS)
        else:
            finish(process)
    finally:
        if process.poll() is None:
            process.kill()
        _close_pipes(process)
    runs = [run for run in site.runs() if run.run_id not in known]
    assert len(runs) == 1, runs
    run_id = runs[0].run_id
    in_doubt = bool(site.store().open_intents(run_id))
    started = time.monotonic()
    finished = _resume(site, runbook, run_id, kill.bare)
    return Resumed(run_id, seen.name if struck and seen else None, in_doubt, finished, time.monotonic() - started)


def ended_well(resumed: Resumed) -> bool:
    """Recovered; or it had been before, because the kill came when nothing was left to do."""
    return resumed.finished.code == 0 or (
        resumed.finished.code in (2, 3) and "is closed: recovered" in resumed.finished.out + resumed.finished.err
    )


def _resume(site: KillableSite, runbook: str, run_id: str, bare: bool) -> Finished:
    if bare:
        return site.playbook(f"codeblue.recovery.{runbook}", "-e", f"codeblue_run_id={run_id}")
    return site.command("resume", run_id, "-i", str(site.inventory), "--json")


def _wait_for_moment(
    site: KillableSite, process: subprocess.Popen[str], kill: Kill, known: tuple[str, ...]
) -> SeenStep | None:
    def come() -> SeenStep | bool:
        steps = watch_journal(site.database, known)
        if len(steps) > kill.number and (
            kill.moment == "intent"
            or steps[kill.number].finished
            or (kill.moment == "accepted" and site.accepted(steps[kill.number]))
        ):
            return steps[kill.number]
        return process.poll() is not None

    found = wait_for(come, _STEP_SECONDS, f"step {kill.number}")
    return found if isinstance(found, SeenStep) else None


def _strike(process: subprocess.Popen[str], kill: Kill, step: SeenStep) -> bool:
    """Whether there was anything left to kill."""
    if kill.victim == "worker":
        return _kill(step.worker)
    if kill.victim == "playbook" and not kill.bare:
        parent = _parent_of(step.worker) or _playbook_of(process.pid)
        return parent is not None and _kill(parent)
    return _kill(process.pid)


def _kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _parent_of(pid: int) -> int | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        parent = re.search(r"^PPid:\s+(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        if parent is not None and int(parent.group(1)) > 1:
            return int(parent.group(1))
    return None


def _playbook_of(runner: int) -> int | None:
    """The worker has gone already; ansible-playbook is the runner's only child."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
        return int(children[0]) if children else None
    return None


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            pipe.close()
