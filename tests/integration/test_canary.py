"""A password that is put anywhere a run can see it is in nothing that the run leaves behind; about 60 s.

Searched: stdout and stderr, the operator's home, state, runtime, spool and temporary directories, the whole lab
but its secret files, /dev/shm, and what is new in /tmp and /var/tmp.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clinic_site import Finished, Site, finish, wait_for, watch_journal

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
PLAYBOOK = f"codeblue.recovery.{RUNBOOK}"
_LARGEST = 64 * 1024 * 1024
_SHARED = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"))


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(8)}"


def traces(site: Site, words: list[str], since: float, *finished: Finished) -> list[str]:
    """Where one of the words stands."""
    needles = [word.encode() for word in words]
    found = []
    for each in finished:
        for stream, text in (("stdout", each.out), ("stderr", each.err)):
            found += [f"{stream}: {word}" for word in words if word in text]
    for path in _files(site, since):
        try:
            content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        except OSError:
            # Gone again, or a socket.
            continue
        found += [f"{path}: {needle.decode()}" for needle in needles if needle in content]
    return found


def passwords(site: Site) -> list[str]:
    """Every password in a consumer's file, without the login that stands beside it."""
    paths = site.lab.directory.glob("machines/*/secrets/*.password")
    return [path.read_text().strip().rpartition("password=")[2] for path in paths]


def _files(site: Site, since: float) -> Iterator[Path]:
    spared = {site.account / "given"}
    for root in (site.account, site.lab.directory):
        for path in root.rglob("*"):
            if path.is_file() and "secrets" not in path.parts and not spared & set(path.parents):
                yield path
    for root in _SHARED:
        for place, folders, names in os.walk(root):
            folders[:] = [
                name
                for name in folders
                if (Path(place) / name) not in (site.lab.directory.parent, site.account)
                and not name.startswith(("pytest-of-", "cb-"))
            ]
            for name in names:
                path = Path(place) / name
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
                    yield path


def inventory_with(site: Site, host: str, group: str) -> Path:
    """The lab's inventory and two canaries in it, kept apart from what is searched."""
    given = site.account / "given"
    given.mkdir(exist_ok=True)
    content = yaml.safe_load(site.lab.inventory_path.read_text())
    services = content["all"]["children"]["codeblue_services"]
    services["children"]["codeblue_databases"]["hosts"]["patient_db"]["vendor_password"] = host
    services["vars"] = {"group_password": group}
    content["all"]["children"]["codeblue_machines"]["vars"]["ansible_become_password"] = group
    path = given / "hosts.yml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
@pytest.mark.parametrize("fault", ["primary_dead", "credentials_refused"])
def test_no_canary_is_left_behind(site: Site, way: str, fault: str) -> None:
    since = time.time() - 1
    words = [canary(name) for name in ("host", "group", "environment", "extra")]
    site.inventory = inventory_with(site, words[0], words[1])
    site.variables = {"PGPASSWORD": words[2], "DB_PASSWORD": words[2]}
    site.lab.break_(fault)
    if way == "codeblue":
        finished = site.codeblue("run", RUNBOOK, "-i", str(site.inventory), "-e", f"db_password={words[3]}", "-vvvv")
    else:
        # ansible-playbook itself shows its command line at -vvvv, and so does ps: a value belongs into a file.
        variables = site.account / "given" / "extra.yml"
        variables.write_text(f"db_password: {words[3]}\n")
        finished = site.playbook(PLAYBOOK, "--diff", "-e", f"@{variables}", "-vvvv")
    assert finished.code == 0, finished
    words += passwords(site)
    assert traces(site, sorted(set(words)), since, finished) == []


def test_no_canary_is_left_behind_when_a_step_fails(site: Site) -> None:
    """A standby that cannot be promoted, because the address is another's: the failover fails."""
    since = time.time() - 1
    words = [canary(name) for name in ("host", "group", "extra")]
    path = inventory_with(site, words[0], words[1])
    content = yaml.safe_load(path.read_text())
    database = content["all"]["children"]["codeblue_services"]["children"]["codeblue_databases"]["hosts"]["patient_db"]
    database["codeblue_host"]["gateway"]["socket"] = "/nowhere/haproxy.sock"
    path.write_text(yaml.safe_dump(content))
    site.inventory = path
    site.lab.break_("primary_dead")
    finished = site.codeblue("run", RUNBOOK, "-i", str(path), "-e", f"db_password={words[2]}", "-vvvv")
    assert finished.code in (1, 3, 5), finished
    assert traces(site, words, since, finished) == []


@pytest.mark.parametrize("number", [0, pytest.param(2, marks=pytest.mark.extended)])
def test_no_canary_is_left_behind_after_a_kill(site: Site, number: int) -> None:
    since = time.time() - 1
    words = [canary(name) for name in ("host", "group", "environment", "extra")]
    site.inventory = inventory_with(site, words[0], words[1])
    site.variables = {"PGPASSWORD": words[2]}
    site.lab.break_("credentials_refused")
    process = site.start_codeblue(
        "run", RUNBOOK, "-i", str(site.inventory), "--json", "-e", f"db_password={words[3]}", "-vvvv"
    )
    wait_for(lambda: len(watch_journal(site.database)) > number, 30, f"step {number}")
    os.kill(process.pid, signal.SIGKILL)
    killed = finish(process)
    assert traces(site, words, since, killed) == []
    resumed = site.codeblue("resume", site.runs()[0].run_id, "-e", f"db_password={words[3]}", "-vvvv")
    assert resumed.code == 0, resumed
    words += passwords(site)
    assert traces(site, sorted(set(words)), since, killed, resumed) == []


def test_arguments_of_actions_are_not_repeated(site: Site) -> None:
    """A playbook of somebody's own with a password in a variable that it hands to an action, which refuses."""
    since = time.time() - 1
    word = canary("argument")
    given = site.account / "given"
    given.mkdir()
    play = given / "own.yml"
    login = {
        "bin_dir": site.lab.state.binaries.postgresql_bin_dir if site.lab.state.binaries else "/usr/bin",
        "port": 1,
    }
    play.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "db1",
                    "gather_facts": False,
                    "vars": {"new_password": word},
                    "tasks": [
                        {
                            "name": "A secret by its variable",
                            "codeblue.recovery.secret_file": {
                                "path": str(site.account / "work" / "x.password"),
                                "value": "{{ new_password }}",
                            },
                            "ignore_errors": True,
                        },
                        {
                            "name": "A verifier by its variable",
                            "codeblue.recovery.postgresql_set_password": {
                                **login,
                                "role": "records_app",
                                "verifier": "{{ new_password }}",
                            },
                        },
                    ],
                }
            ]
        )
    )
    finished = site.playbook(str(play), "-vvvv", "--diff")
    assert finished.code != 0 and "no run is open" in finished.out, finished
    assert traces(site, [word], since, finished) == []
