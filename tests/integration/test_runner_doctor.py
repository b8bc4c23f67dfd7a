"""The doctor looks at real inventories, stores and copies. About 15 s."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from runner_support import Controller, Finished

_OBJECTIVES = {"rto": "5m", "rpo": "5m"}


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path, {"CODEBLUE_ANCHORS": f"file:{tmp_path}/heads"})


def _gateway(machine: str, depends_on: list[str]) -> dict[str, t.Any]:
    process = {"manager": "systemd", "unit": "haproxy"}
    return {
        "codeblue_platform": "host",
        "codeblue_kind": "gateway",
        "codeblue_tier": 1,
        "codeblue_depends_on": depends_on,
        "codeblue_objectives": _OBJECTIVES,
        # A template: what counts is what Ansible makes of it.
        "codeblue_host": {"instances": {machine: {"address": "{{ loopback }}", "port": 18080, "process": process}}},
    }


def _inventory(path: Path, services: dict[str, t.Any]) -> str:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    content = {
        "all": {
            "vars": {
                "codeblue_environment": "lab",
                "codeblue_snapshot_recipients": ["age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"],
                "loopback": "127.0.0.1",
                **local,
            },
            "children": {
                "codeblue_machines": {"hosts": {"lb1": {}, "lb2": {"ansible_connection": "ssh", "ansible_port": 1}}},
                "codeblue_services": {"hosts": services},
            },
        }
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def _lines(ended: Finished, check: str) -> list[tuple[str, str]]:
    return [(m["status"], m["text"]) for m in ended.of_type("finding") if m["check"] == check]


def test_a_sound_inventory_and_a_machine_that_does_not_answer(controller: Controller, tmp_path: Path) -> None:
    inventory = _inventory(tmp_path / "hosts.json", {"inner": _gateway("lb1", []), "outer": _gateway("lb2", ["inner"])})
    ended = controller.codeblue("doctor", "-i", inventory, "--json")
    assert ended.code == 0, ended.out
    assert _lines(ended, "inventory") == [("ok", "2 services, 2 machines")]
    assert _lines(ended, "recovery order") == [("ok", "inner → outer")]
    assert [status for status, _text in _lines(ended, "needs")] == ["ok"]
    controller.variables["ANSIBLE_TIMEOUT"] = "3"
    reached = controller.codeblue("doctor", "-i", inventory, "--reach", "--json")
    assert reached.code == 2
    assert [status for status, _text in _lines(reached, "machines")] == ["failed", "ok"], reached.out
    assert _lines(reached, "machines")[0][1].startswith("lb2: ")


def test_what_is_wrong_in_an_inventory_is_named(controller: Controller, tmp_path: Path) -> None:
    circle = _inventory(tmp_path / "circle.json", {"a": _gateway("lb1", ["b"]), "b": _gateway("lb1", ["a"])})
    ended = controller.codeblue("doctor", "-i", circle, "--json")
    assert ended.code == 2
    assert "goes in a circle" in _lines(ended, "inventory")[0][1]
    broken = _gateway("lb9", [])
    broken["codeblue_tier"] = "first"
    ended = controller.codeblue("doctor", "-i", _inventory(tmp_path / "broken.json", {"a": broken}), "--json")
    texts = " ".join(text for _status, text in _lines(ended, "inventory"))
    assert "codeblue_tier" in texts
    assert "lb9" in texts
    undefined = _gateway("lb1", [])
    undefined["codeblue_objectives"] = {"rto": "{{ nowhere }}", "rpo": "5m"}
    ended = controller.codeblue("doctor", "-i", _inventory(tmp_path / "undefined.json", {"a": undefined}), "--json")
    assert ended.code == 2
    assert "'nowhere' is undefined" in " ".join(text for _status, text in _lines(ended, "inventory"))


def test_a_key_that_an_operation_needs_is_missed(controller: Controller, tmp_path: Path) -> None:
    inventory = _inventory(
        tmp_path / "hosts.json", {"front": {**_gateway("lb1", []), "codeblue_snapshot_recipients": []}}
    )
    ended = controller.codeblue("doctor", "-i", inventory, "--no-criteria", "--json")
    assert ended.code == 4
    text = "snapshot_services: front has no codeblue_snapshot_recipients: no snapshot is taken"
    assert _lines(ended, "needs") == [("warning", text)]
    (need,) = ended.of_type("need")
    assert (need["wanted_by"], need["services"], need["severity"]) == ("snapshot_services", ["front"], "needed")


def test_no_group_and_no_file(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("[others]\nx\n", encoding="utf-8")
    ended = controller.codeblue("doctor", "-i", str(tmp_path / "other"), "--json")
    assert ended.code == 2
    assert _lines(ended, "inventory") == [("failed", "no host is in the group codeblue_services")]
    assert controller.codeblue("doctor", "-i", "/nowhere").code == 2


def test_a_store_that_cannot_be_used_is_a_finding(controller: Controller) -> None:
    controller.variables["CODEBLUE_STATE_URL"] = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    ended = controller.codeblue("doctor", "--json")
    assert ended.code == 2
    assert _lines(ended, "state store")[0][0] == "failed"


def test_anchors_that_cannot_be_written_are_a_finding(controller: Controller) -> None:
    controller.variables["CODEBLUE_ANCHORS"] = "file:/nowhere/heads syslog:/nowhere/log"
    ended = controller.codeblue("doctor", "--json")
    assert [status for status, _text in _lines(ended, "anchors")] == ["failed", "failed"]
