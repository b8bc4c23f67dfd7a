"""When a drill breaks nothing, and what becomes of one that is interrupted. Takes about 30 s."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from codeblue.drill.site import exclusive_drill
from codeblue.lab import Lab
from codeblue.lab.processes import processes_of
from codeblue.runner.processes import processes_with
from drill_support import Ended, codeblue, interrupted, phase

pytestmark = [pytest.mark.lab, pytest.mark.drill]

DATABASE = ("drill", "database_connection_failure", "--json")


def assert_nothing_is_left(ended: Ended, lab: Lab, state_directory: Path) -> None:
    status = lab.status()
    assert status.active_faults == []
    assert status.primary == "db1"
    assert status.members["db2"].streams_from_peer
    assert _playbooks(state_directory) == []
    (drill,) = ended.drills
    assert drill["undone"]
    assert not drill["recovered"]


def _playbooks(state_directory: Path) -> list[str]:
    """Command lines of ansible-playbooks that were started by a test."""
    lines = []
    for process in processes_with("XDG_STATE_HOME", str(state_directory)):
        try:
            lines.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except FileNotFoundError:
            # Gone meanwhile, which is what is hoped for.
            continue
    return [line for line in lines if "ansible-playbook" in line]


@pytest.mark.parametrize(
    ("moment", "after", "number", "times"),
    [
        # Right after the damage, while detection goes on.
        ("fault", 0.2, signal.SIGTERM, 1),
        # In the middle of the run, by a person who presses it three times.
        ("detected", 1.5, signal.SIGINT, 3),
    ],
)
def test_an_interrupted_drill_is_undone(
    lab: Lab, state_directory: Path, moment: str, after: float, number: signal.Signals, times: int
) -> None:
    ended = interrupted(
        *DATABASE, "--fault", "primary_dead", when=phase(moment), after=after, number=number, times=times
    )
    assert ended.exit_code == 130, ended.errors
    assert ended.summary["outcome"] == "interrupted"
    assert_nothing_is_left(ended, lab, state_directory)


def test_a_clinic_that_is_broken_already_is_refused(lab: Lab) -> None:
    lab.break_("records_credentials_refused")
    ended = codeblue(*DATABASE, "--fault", "primary_dead")
    assert ended.exit_code == 3
    assert "records_credentials_refused" in ended.summary["error"]
    assert lab.status().active_faults == ["records_credentials_refused"]


def test_criteria_that_fire_before_the_fault_fail_the_control(lab: Lab) -> None:
    # Somebody stopped it by hand, so that no fault is on record.
    lab.parts.supervisor.stop("records-app1", "records-app2")
    ended = codeblue(*DATABASE, "--fault", "primary_dead")
    (drill,) = ended.drills
    assert ended.exit_code == 1
    assert not drill["control_silent"]
    assert not drill["detected"]
    assert drill["undone"]
    assert "control" in ended.summary["problems"][0]["problem"]


def test_what_is_no_lab_is_not_broken(lab: Lab) -> None:
    inventory = lab.inventory_path.read_text(encoding="utf-8")
    try:
        lab.inventory_path.write_text(
            inventory.replace("codeblue_environment: lab", "codeblue_environment: production"), encoding="utf-8"
        )
        ended = codeblue(*DATABASE)
    finally:
        lab.inventory_path.write_text(inventory, encoding="utf-8")
    assert ended.exit_code == 3
    assert "production" in ended.summary["error"]
    assert lab.status().active_faults == []


def test_two_drills_do_not_share_a_lab(lab: Lab) -> None:
    with exclusive_drill(lab):
        ended = codeblue(*DATABASE)
    assert ended.exit_code == 3
    assert "another drill" in ended.summary["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drill",), "RUNBOOK or --all"),
        (("drill", "--all", "--fault", "fire"), "no card names the fault"),
        (("drill", "database_conection_failure"), "database_connection_failure"),
        (("drill", "database_connection_failure", "--fault", "fire"), "primary_dead"),
        (("drill", "database_connection_failure", "--fault", "replication_stopped"), "takes nothing away"),
        (("drill", "--all", "--report", "/nowhere/report.md"), "/nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(clinic: Lab, arguments: tuple[str, ...], said: str) -> None:
    ended = codeblue(*arguments, "--json")
    assert ended.exit_code == 2
    assert said in f"{ended.summary['error']} {ended.summary['hint']}"
    assert clinic.status().active_faults == []


@pytest.fixture
def own_directory() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="cb-drills-", dir="/var/tmp"))
    parent.chmod(0o755)
    yield parent / "lab"
    shutil.rmtree(parent)


def test_a_lab_of_its_own_is_started_and_stopped_also_when_interrupted(own_directory: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    ended = interrupted(
        *(*DATABASE, "--lab-dir", str(own_directory), "--report", str(report)),
        when=phase("control"),
        after=0.0,
        number=signal.SIGTERM,
    )
    assert ended.exit_code == 130, ended.errors
    assert ended.drills[0]["undone"]
    assert not own_directory.exists()
    assert processes_of(own_directory) == []
    assert "then interrupted" in report.read_text(encoding="utf-8")
    assert ended.summary["drills"] == 1


@pytest.mark.extended
def test_a_lab_that_cannot_be_brought_back_is_made_anew_for_the_drills_that_are_left(own_directory: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "codeblue", *DATABASE),
            *("--fault", "pool_exhausted", "--repeat", "2", "--lab-dir", str(own_directory)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        messages = []
        for line in process.stdout:
            messages.append(json.loads(line))
            if messages[-1].get("phase") == "fault" and not any(each.get("phase") == "undone" for each in messages):
                # Without its password nobody can heal the lab; the run itself does not need it.
                (own_directory / "secrets" / "sentinel.password").unlink()
    process.wait()
    first, second = [each for each in messages if each["message_type"] == "drill"]
    assert not first["undone"]
    # The second drill was one on a lab that could be broken and brought back.
    assert second["undone"], messages[-1]
    # It was not left safe, whatever came afterwards.
    assert process.returncode == 5
    assert any("made anew" in str(each.get("text")) for each in messages)
    assert not own_directory.exists()
