"""The three artifacts work without the checkout: the wheel in an empty virtual environment, and the tarball.

About 40 s, most of it pip, which installs the wheel with all that it depends on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
import yaml
from codeblue.lab import Lab

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 300


class Installation:
    """A virtual environment with nothing but the wheel and what it depends on, and an account of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {
            "PATH": f"{directory / 'venv' / 'bin'}:/usr/bin:/bin",
            "HOME": str(directory / "home"),
            "XDG_STATE_HOME": str(directory / "state"),
            "LC_ALL": "C.UTF-8",
        }
        (directory / "home").mkdir()

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, in a directory where no file of the checkout is found."""
        return subprocess.run(
            [str(self.directory / "venv" / "bin" / program), *arguments],
            cwd=self.directory / "home",
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(_ROOT)]
    subprocess.run(command, check=True, timeout=_SECONDS)
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory / "venv", with_pip=True)
    # With pip's own settings, which may live in the user's HOME.
    python = str(directory / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, timeout=_SECONDS)
    return Installation(directory)


def test_the_command_lists_the_runbooks(installed: Installation) -> None:
    listed = installed.run("codeblue", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    messages = [json.loads(line) for line in listed.stdout.splitlines()]
    assert messages[-1]["message_type"] == "summary"
    for runbook in ("complete_system_outage", "database_connection_failure"):
        assert runbook in listed.stdout


@pytest.mark.parametrize(
    "arguments",
    [("-t", "role", "codeblue.recovery.rollback"), ("codeblue.recovery.postgresql_failover",)],
    ids=["role", "module"],
)
def test_the_documentation_is_found(installed: Installation, arguments: tuple[str, ...]) -> None:
    shown = installed.run("ansible-doc", *arguments)
    assert shown.returncode == 0, shown.stderr
    assert str(installed.directory) in shown.stdout, "it was found somewhere else"


def test_a_runbook_is_found_by_its_name_and_plans(installed: Installation, session_lab: Lab) -> None:
    session_lab.heal()
    inventory = str(session_lab.inventory_path)
    planned = installed.run(
        "ansible-playbook", "codeblue.recovery.database_connection_failure", "--check", "-i", inventory
    )
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "failed=0" in planned.stdout
    assert not (installed.directory / "state" / "codeblue").exists(), "check mode left a record"


def test_the_tarball_holds_the_collection_and_nothing_else(tmp_path: Path) -> None:
    program = str(Path(sys.executable).parent / "ansible-galaxy")
    build = [program, "collection", "build", "--output-path", str(tmp_path)]
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(build, cwd=_ROOT, env=environment, check=True, capture_output=True, timeout=_SECONDS)
    version = yaml.safe_load((_ROOT / "galaxy.yml").read_text())["version"]
    tarball = tmp_path / f"codeblue-recovery-{version}.tar.gz"
    with tarfile.open(tarball) as content:
        names = content.getnames()
    tops = {name.partition("/")[0] for name in names}
    assert {"plugins", "playbooks", "roles", "runbooks", "meta", "MANIFEST.json"} <= tops
    assert not tops & {"cli", ".venv", ".git", ".cache", ".ci", "Makefile", "pyproject.toml", "dist"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    # The execution environment names the file that `make build` leaves.
    environment_definition = yaml.safe_load((_ROOT / "execution-environment.yml").read_text())
    (collection,) = environment_definition["dependencies"]["galaxy"]["collections"]
    assert collection["source"] == f"dist/{tarball.name}"
