"""A service is put into quarantine and given back by hand, on a lab of its own (about 40 s on busy cores)."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine import table_name
from codeblue.lab import Lab
from drill_support import codeblue

pytestmark = [
    pytest.mark.extended,
    pytest.mark.lab,
    pytest.mark.drill,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="only root with nft may filter"),
]


def _tables(lab: Lab) -> list[str]:
    """Of our own that nftables has; other labs on this machine have others."""
    own = {
        table_name(f"records-{machine}", f"{lab.layout.lock_dir(machine)}/quarantine")
        for machine in ("app1", "app2", "lb1")
    }
    listed = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=True, text=True).stdout
    found = [each["table"]["name"] for each in json.loads(listed)["nftables"] if "table" in each]
    return sorted(name for name in found if name in own or not name.startswith("codeblue_"))


def _gateway(lab: Lab) -> list[list[str]]:
    """Backend, server, state that an operator set, weight; without what changes by itself."""
    lines = lab.parts.gateway.command("show servers state").splitlines()[2:]
    rows = [line.split() for line in lines]
    return [[row[1], row[3], row[6], row[7]] for row in rows if len(row) > 8]


def _answers(connection: http.client.HTTPConnection) -> int:
    try:
        connection.request("GET", "/health/live")
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0


def _run(lab: Lab, operation: str) -> Any:
    return codeblue("run", operation, "-i", str(lab.inventory_path), "--limit", "records", "--json")


def test_a_service_is_cut_off_also_for_those_who_were_there_and_given_back_exactly(lab: Lab) -> None:
    tables, gateway = _tables(lab), _gateway(lab)
    instance = lab.parts.state.ports["records_app1"]
    existing = http.client.HTTPConnection("127.0.0.1", instance, timeout=3)
    assert _answers(existing) == 200
    planned = codeblue("plan", "quarantine_service", "-i", str(lab.inventory_path), "--limit", "records", "--json")
    assert planned.exit_code == 0, planned.errors
    assert (_tables(lab), _gateway(lab)) == (tables, gateway)
    closed = _run(lab, "quarantine_service")
    assert closed.exit_code == 0, closed.errors
    assert len(_tables(lab)) == len(tables) + 2
    assert _answers(existing) == 0
    assert _answers(http.client.HTTPConnection("127.0.0.1", instance, timeout=3)) == 0
    front = lab.parts.gateway.front_port("records")
    assert _answers(http.client.HTTPConnection("127.0.0.1", front, timeout=3)) == 503
    # The others go on.
    assert _answers(http.client.HTTPConnection("127.0.0.1", lab.parts.gateway.front_port("auth"), timeout=3)) == 200
    again = _run(lab, "quarantine_service")
    assert again.exit_code == 0, again.errors
    assert not [each for each in again.messages if each.get("accepted_at")]
    opened = _run(lab, "release_service")
    assert opened.exit_code == 0, opened.errors
    assert (_tables(lab), _gateway(lab)) == (tables, gateway)
    assert _answers(http.client.HTTPConnection("127.0.0.1", front, timeout=3)) == 200
    assert not [each for each in _run(lab, "release_service").messages if each.get("accepted_at")]
