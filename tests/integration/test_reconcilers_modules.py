"""Modules that meet the lab's keeper: refused before the first change, suspended, still so afterwards.

About 8 s, with the extended ones 25 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import codeblue.lab
import pytest
from host_cluster import run_module

_KEEPER = Path(codeblue.lab.__file__).parent / "clinic" / "keeper.py"
_SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
[unix_http_server]
file={root}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:keeper]
command={python} {keeper} {root}/keeper.json
autostart=false
startsecs=0
stdout_logfile={root}/keeper.log
redirect_stderr=true
[program:web]
command=/bin/sleep 1000
autostart=true
autorestart=true
startsecs=0
"""


@dataclass
class Site:
    root: Path
    number: int = 0

    def process(self, unit: str) -> dict[str, Any]:
        return {"manager": "supervisor", "socket": str(self.root / "supervisor.sock"), "unit": unit}

    @property
    def declared(self) -> list[dict[str, Any]]:
        owns = [str(self.root / "kept"), str(self.root / "records")]
        return [{"name": "keeper", "owns": owns, "restarts": ["web"], "process": self.process("keeper")}]

    def run(self, module: str, /, check: bool = False, known: bool = True, **given: Any) -> dict[str, Any]:
        self.number += 1
        step = {"run_id": "run", "target": "t", "key": f"k{self.number}", "generation": 1, "lock_dir": str(self.root)}
        arguments = {**given, **({"reconcilers": self.declared} if known else {})}
        return run_module(module, arguments if check else {**arguments, "step": step}, check=check).result

    def look(self, **given: Any) -> dict[str, Any]:
        return run_module("reconcilers_look", {"lock_dir": str(self.root), **given}).result

    def keep(self, files: dict[Path, Path] | None = None, units: list[str] | None = None) -> None:
        kept = {"files": {str(place): str(source) for place, source in (files or {}).items()}, "units": units or []}
        content = json.dumps({**kept, "supervisor_socket": str(self.root / "supervisor.sock")})
        (self.root / "keeper.json").write_text(content)
        started = self.run("process_state", known=False, units=[{**self.process("keeper"), "state": "started"}])
        assert not started.get("failed"), started

    @property
    def keeper_log(self) -> str:
        return (self.root / "keeper.log").read_text() if (self.root / "keeper.log").exists() else ""


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="codeblue-reconcilers-") as directory:
        site = Site(Path(directory))
        (site.root / "kept").mkdir()
        config = site.root / "supervisord.conf"
        config.write_text(_SUPERVISORD.format(root=site.root, python=sys.executable, keeper=_KEEPER))
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        until(lambda: (site.root / "supervisor.sock").exists())
        yield site
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.run("process_state", known=False, units=[{**running.process("keeper"), "state": "stopped"}])
    running.run("process_state", known=False, units=[{**running.process("web"), "state": "started"}])
    for record in (running.root / "suspended").glob("*"):
        record.unlink()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def flags(site: Site) -> tuple[Path, Path]:
    place, source = site.root / "kept" / "flags.json", site.root / "repository.json"
    for path in (place, source):
        path.write_text('{"ai_enabled": true}')
    return place, source


def test_a_file_is_not_touched_before_its_keeper_is_suspended(site: Site) -> None:
    place, source = flags(site)
    site.keep({place: source})
    wanted = {"path": str(place), "flags": {"ai_enabled": False}, "settle": 0.0}
    planned = site.run("feature_flag", check=True, **wanted)
    assert [each["treatment"] for each in planned["reconcilers"]] == ["suspend"]
    refused = site.run("feature_flag", **wanted)
    assert refused["failed"] and refused["exit_code"] == 3 and refused["nothing_changed"], refused
    assert refused["accepted_at"] is None and place.read_text() == source.read_text()
    (found,) = refused["reconcilers"]
    assert (found["name"], found["about"]) == ("keeper", [str(place)])
    assert found["undo"] == f"supervisorctl -s unix://{site.root}/supervisor.sock start keeper"

    suspended = site.run("reconciler_suspend", name="keeper", about=found["about"])
    assert suspended["changed"] and suspended["after"] == {"at_work": False, "suspended": True}, suspended
    assert not site.run("reconciler_suspend", name="keeper")["changed"]
    done = site.run("feature_flag", **wanted)
    assert done["changed"] and "reconcilers" not in done, done
    # Longer than the keeper's round: it would have been put back by now.
    held = time.monotonic() + 1.5
    until(lambda: time.monotonic() >= held)
    seen = site.look(left=done["left"])
    assert (seen["no_longer_so"], seen["not_seen"]) == ([], [])
    assert [(each["name"], each["run_id"]) for each in seen["suspended"]] == [("keeper", "run")]

    resumed = site.run("reconciler_suspend", name="keeper", state="resumed")
    assert resumed["changed"] and resumed["after"]["at_work"], resumed
    until(lambda: "true" in place.read_text())
    seen = site.look(left=done["left"])
    assert seen["no_longer_so"] == [f"flag ai_enabled in {place} is true again"] and seen["suspended"] == []
    assert not site.run("reconciler_suspend", name="keeper", state="resumed")["changed"]


@pytest.mark.extended
def test_a_release_link_that_is_put_back_is_seen_later(site: Site) -> None:
    root = site.root / "records"
    for version in ("1.0.0", "1.1.0"):
        (root / "releases" / version).mkdir(parents=True)
    (root / "current").symlink_to("releases/1.1.0")
    source = site.root / "repository-current"
    source.symlink_to("releases/1.1.0")
    # Nobody has said that it keeps this link.
    done = site.run("release_switch", known=False, release_root=str(root), version="1.0.0")
    assert done["left"] == [{"kind": "link", "path": f"{root}/current", "value": "releases/1.0.0"}]
    assert site.look(left=done["left"])["no_longer_so"] == []
    site.keep({root / "current": source})
    until(lambda: (root / "current").readlink() == Path("releases/1.1.0"))
    assert site.look(left=done["left"])["no_longer_so"] == [f"{root}/current points to releases/1.1.0 again"]
    refused = site.run("release_switch", release_root=str(root), version="1.0.0")
    assert refused["exit_code"] == 3 and (root / "current").readlink() == Path("releases/1.1.0")


@pytest.mark.extended
def test_a_unit_that_is_started_again_is_seen_after_a_moment(site: Site) -> None:
    site.keep(units=["web"])
    held = {**site.process("web"), "state": "held"}
    ended = site.run("process_state", known=False, units=[held], settle=3.0)
    assert ended["failed"] and "somebody started it again" in ended["msg"], ended
    refused = site.run("process_state", units=[held])
    assert refused["exit_code"] == 3 and refused["nothing_changed"], refused
    assert site.run("reconciler_suspend", name="keeper", about=["web"])["changed"]
    done = site.run("process_state", units=[held], settle=1.5)
    assert done["changed"] and done["after"]["web"]["state"] == "stopped", done
    assert not site.run("process_state", units=[held])["changed"]
    assert site.look(left=done["left"])["no_longer_so"] == []
    started = site.run("process_state", units=[{**site.process("web"), "state": "started"}])
    assert started["changed"] and started["left"][0]["value"] is None
    assert site.look(left=done["left"])["no_longer_so"] == ["web was stopped and is running again"]


@pytest.mark.extended
def test_a_secret_that_is_replaced_again_is_seen_and_never_told(site: Site) -> None:
    path = site.root / "password"
    done = site.run("secret_file", path=str(path), value="open-sesame-1", digest_salt="salt")
    assert site.look(left=done["left"])["no_longer_so"] == []
    assert "open-sesame" not in json.dumps(done)
    other = path.with_suffix(".new")
    other.write_text("open-sesame-2")
    other.replace(path)
    assert site.look(left=done["left"])["no_longer_so"] == [f"{path} was replaced again"]


def test_a_member_of_patroni_is_not_fenced(site: Site) -> None:
    data = site.root / "data"
    data.mkdir(exist_ok=True)
    (data / "patroni.dynamic.json").write_text("{}")
    member = {
        "bin_dir": "/bin",
        "os_user": "nobody",
        "port": 1,
        "data_dir": str(data),
        "process": site.process("web"),
        "state": "fenced",
    }
    refused = site.run("postgresql_fence", **member)
    assert refused["failed"] and refused["exit_code"] == 3 and refused["nothing_changed"], refused
    assert refused["msg"].startswith("patroni keeps ") and "patronictl failover" in refused["hint"]
    assert not (data / "standby.signal").exists()
    running = site.run("process_state", known=False, check=True, units=[{**site.process("web"), "state": "started"}])
    assert running["before"]["web"]["state"] == "running"
