"""Two gateways in front of one database: both follow the primary, and one that is away keeps nobody waiting (25 s)."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from clinic_site import Site
from host_cluster import free_port

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
HOST = "all/children/codeblue_services/children/codeblue_databases/hosts/patient_db/codeblue_host"
MACHINES = "all/children/codeblue_machines/hosts"


def _servers(path: Path) -> dict[str, str]:
    """Whether the database's servers take traffic at a gateway."""
    servers = HaproxyRuntime(str(path), Deadline(10)).servers()
    return {name: servers[f"patient_db/{name}"].state for name in ("db1", "db2")}


@pytest.fixture
def second(site: Site) -> Iterator[Path]:
    """Another HAProxy with the configuration of the clinic's, on ports of its own; its runtime socket."""
    layout = site.lab.layout
    place = layout.gateway_socket.parent
    runtime, state = place / "second.sock", site.account / "second.state"
    state.touch()
    text = layout.gateway_config.read_text(encoding="utf-8")
    text = text.replace(str(layout.gateway_socket), str(runtime)).replace(str(layout.gateway_state_file), str(state))
    text = re.sub(r"bind 127\.0\.0\.1:\d+", lambda _found: f"bind 127.0.0.1:{free_port()}", text)
    configuration = site.account / "second.cfg"
    configuration.write_text(text, encoding="utf-8")
    binaries = site.lab.parts.state.binaries
    assert binaries is not None
    process = subprocess.Popen([binaries.haproxy, "-db", "-f", configuration], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(CodeblueError, OSError):
                if _servers(runtime)["db1"] == "ready":
                    break
            assert time.monotonic() < deadline and process.poll() is None, "the second gateway does not start"
            time.sleep(0.05)
        yield runtime
    finally:
        process.kill()
        process.wait()
        runtime.unlink(missing_ok=True)


def _value(site: Site, path: str) -> dict[str, t.Any]:
    value = yaml.safe_load(site.lab.inventory_path.read_text(encoding="utf-8"))
    for part in path.split("/"):
        value = value[part]
    return t.cast("dict[str, t.Any]", value)


def _with_pair(site: Site, runtime: Path, state: Path) -> None:
    """From now on the database has two gateways."""
    first, machine = _value(site, f"{HOST}/gateway"), _value(site, f"{MACHINES}/lb1")
    beside = {**first, "machine": "lb2", "socket": str(runtime), "state_file": str(state)}
    changes = {f"{HOST}/gateway": None, f"{HOST}/gateways": [first, beside], f"{MACHINES}/lb2": machine}
    site.inventory = site.overlay(changes)


def test_both_lead_to_the_new_primary(site: Site, second: Path) -> None:
    _with_pair(site, second, site.account / "second.state")
    site.lab.break_("primary_dead")
    finished = site.run(RUNBOOK)
    assert finished.code == 0, finished
    expected = {"db1": "maint", "db2": "ready"}
    assert _servers(site.lab.layout.gateway_socket) == _servers(second) == expected
    run = site.runs()[0]
    changed = [step.action for step in site.steps(run.run_id) if step.action.endswith("@2")]
    assert changed == ["close_gateway@2", "lead_to_standby@2"]
    assert "db2" in (site.account / "second.state").read_text(encoding="utf-8"), "a restart keeps it"
    site.verify_record(run.run_id)


def test_one_that_is_away_is_due_afterwards(site: Site, second: Path) -> None:
    _with_pair(site, second.with_name("nobody.sock"), site.account / "second.state")
    site.lab.break_("primary_dead")
    finished = site.run(RUNBOOK)
    assert finished.code == 0, finished
    assert _servers(site.lab.layout.gateway_socket) == {"db1": "maint", "db2": "ready"}
    run = site.runs()[0]
    notes = [record["fields"]["text"] for record in site.ledger(run.run_id) if record["kind"] == "note"]
    due = [note for note in notes if note.startswith("due afterwards haproxy_server on lb2")]
    assert len(due) == 2 and "close_gateway" in due[0] and "lead_to_standby" in due[1], notes
    assert "haproxy_server on lb2" in finished.out, finished
    site.verify_record(run.run_id)
