"""Small parts of the lab that need no clinic: processes, ports, state, locks, programs, the model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from codeblue.lab import Lab, ports, processes
from codeblue.lab.clinic import triage_model
from codeblue.lab.files import write_json, write_text
from codeblue.lab.layout import Layout, default_directory
from codeblue.lab.ports import choose_ports, give_back, is_free
from codeblue.lab.processes import MARKER, ProcessIdentity
from codeblue.lab.state import LabState, exclusive
from codeblue.lab.supervisor import Program


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Shorter than tmp_path, which is too long for a lab's sockets when tests run in parallel."""
    with tempfile.TemporaryDirectory(prefix="cb-") as directory:
        yield Path(directory)


@pytest.fixture
def layout(short_path: Path) -> Layout:
    root = short_path / "lab"
    root.mkdir()
    return Layout(root)


def sleeper(**options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], **options)  # type: ignore[call-overload, no-any-return]


def test_a_signal_never_hits_another_process_with_the_same_id() -> None:
    with sleeper() as child:
        real = processes.identity(child.pid)
        assert real is not None
        assert not processes.send(ProcessIdentity(child.pid, real.start_ticks - 1), signal.SIGKILL)
        assert processes.is_running(real)
        assert processes.send(real, signal.SIGKILL)
        assert processes.wait_gone([real], 2.0) == []
    assert not processes.send(real, signal.SIGKILL)


def test_a_zombie_counts_as_gone() -> None:
    child = sleeper()
    found = processes.identity(child.pid)
    assert found is not None
    child.kill()
    assert processes.wait_gone([found], 2.0) == []
    child.wait()


def test_processes_of_a_lab_are_found_by_marker_and_nobody_elses(tmp_path: Path) -> None:
    with (
        sleeper(env={MARKER: str(tmp_path / "lab"), "PATH": os.defpath}) as own,
        sleeper(env={MARKER: str(tmp_path / "lab2"), "PATH": os.defpath}) as others,
        sleeper(cwd=tmp_path) as shell_in_the_directory,
    ):
        try:
            assert [found.pid for found in processes.processes_of(tmp_path / "lab")] == [own.pid]
        finally:
            for each in (own, others, shell_in_the_directory):
                each.kill()


def test_a_stopped_process_is_ended_too() -> None:
    with sleeper() as child:
        found = processes.identity(child.pid)
        assert found is not None
        processes.send(found, signal.SIGSTOP)
        assert processes.end([found], signal.SIGTERM, 2.0) == []


def test_ports_are_distinct_and_free(tmp_path: Path) -> None:
    chosen = choose_ports([f"port{number}" for number in range(50)], tmp_path)
    assert len(set(chosen.values())) == 50
    assert all(20000 <= port <= 32000 and is_free(port) for port in chosen.values())


def test_a_port_of_another_lab_is_not_taken_while_its_server_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(ports, "_LAST", 20001)
    here, there = tmp_path / "here", tmp_path / "there"
    for directory in (here, there):
        directory.mkdir()
    both = choose_ports(["first", "second"], here)
    with pytest.raises(CodeblueError, match="no free port"):
        choose_ports(["third"], there)
    give_back([both["first"]], there)
    with pytest.raises(CodeblueError, match="no free port"):
        choose_ports(["third"], there)
    give_back([both["first"]], here)
    assert choose_ports(["third"], there)["third"] == both["first"]
    there.rmdir()
    assert choose_ports(["fourth"], here)["fourth"] in both.values()


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_state_survives_its_file(layout: Layout) -> None:
    state = LabState(boot_id="b", created_at="now", ports={"x": 1}, supervisord=ProcessIdentity(5, 6))
    state.save(layout)
    assert LabState.load(layout) == state


def test_no_state_is_no_lab(layout: Layout) -> None:
    assert LabState.load(layout) is None
    with pytest.raises(BadInput, match="there is no lab"):
        Lab.load(layout.root)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"binaries": null, "supervisord": {"pid": 1}}', "null"])
def test_a_damaged_state_is_named(layout: Layout, content: str) -> None:
    write_text(layout.state_file, content)
    with pytest.raises(CodeblueError, match=r"lab\.json is damaged.*codeblue lab down"):
        LabState.load(layout)


def test_down_cleans_up_a_damaged_lab(layout: Layout) -> None:
    write_text(layout.state_file, "{")
    assert Lab(layout.root).down()
    assert not layout.root.exists()
    assert not layout.lock_file.exists()


def test_down_without_a_lab_says_so(tmp_path: Path) -> None:
    assert not Lab(tmp_path / "none").down()


def test_up_refuses_a_directory_with_something_else_in_it(layout: Layout) -> None:
    (layout.root / "thesis.txt").write_text("important")
    with pytest.raises(BadInput, match="not empty"):
        Lab(layout.root).up()
    assert (layout.root / "thesis.txt").read_text() == "important"
    assert not Lab(layout.root).down()
    assert (layout.root / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["a b", "it's", "x" * 100, "100%", 'say"'])
def test_up_refuses_a_path_that_its_programs_cannot_use(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="--dir"):
        Lab(tmp_path / name).up()
    assert not (tmp_path / name).exists()


def test_up_refuses_a_link(short_path: Path) -> None:
    (short_path / "link").symlink_to(short_path)
    with pytest.raises(BadInput, match="not a directory of your own"):
        Lab(short_path / "link").up()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
def test_up_as_root_names_a_directory_that_nobody_cannot_reach() -> None:
    closed = Path("/var/tmp") / f"cb-closed-{os.getpid()}"
    closed.mkdir(mode=0o700)
    try:
        with pytest.raises(BadInput, match="cannot be reached by nobody"):
            Lab(closed / "lab").up()
    finally:
        shutil.rmtree(closed)


def test_too_little_space_is_one_clear_line() -> None:
    too_much = "codeblue.lab.lab._NEEDED_BYTES"
    directory = Path("/var/tmp") / f"cb-little-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(too_much, 10**18)
        with pytest.raises(CodeblueError, match=r"no space for the lab in .*only .* MB free"):
            Lab(directory).up()
    assert not directory.exists()
    Layout(directory).lock_file.unlink()


def test_the_lock_keeps_a_second_command_out_and_names_the_first(layout: Layout) -> None:
    script = (
        "import sys, time; from pathlib import Path; from codeblue.lab.layout import Layout;"
        "from codeblue.lab.state import exclusive\n"
        "with exclusive(Layout(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(layout.root)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Refused, match=f"process {holder.pid}"), exclusive(layout, 0.2):
            pass
        holder.kill()
        holder.wait()
    with exclusive(layout, 2.0):
        pass


def test_the_lock_of_a_removed_file_keeps_nobody_out(layout: Layout) -> None:
    with exclusive(layout):
        layout.lock_file.unlink()
        with exclusive(layout, 0.5):
            pass


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEBLUE_LAB_DIR", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.delenv("CODEBLUE_LAB_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_directory() == tmp_path / "codeblue" / "lab"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory() == Path("/var/tmp/codeblue-lab-0")


def test_a_program_with_percent_and_blank_reaches_supervisord_unharmed() -> None:
    section = Program("x", ["/bin/a b", "100%"], "/d", "/l", environment={"A": "1%"}).section()
    assert 'command = "/bin/a b" 100%%' in section
    assert 'environment = A="1%%"' in section


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_text(path, "one", 0o600)
    write_json(path, {"a": 1}, 0o600)
    assert json.loads(path.read_text()) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_model_learns_and_is_the_same_for_the_same_seed() -> None:
    weights = triage_model.train(5)
    assert weights == triage_model.train(5) != triage_model.train(6)
    assert triage_model.probability(weights, "Severe chest pain, unconscious") > 0.9
    assert triage_model.probability(weights, "Routine follow-up, stable") < 0.1


def test_the_package_is_light_to_import() -> None:
    heavy = "{'psycopg', 'supervisor', 'yaml', 'cryptography'}"
    script = f"import sys, codeblue.lab, codeblue.commands.lab; print({heavy} & set(sys.modules))"
    started = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "set()", f"after {time.monotonic() - started:.2f} s"
