"""What of the infrastructure belongs to a service, how it is kept, and how a later look is held against it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._infrastructure import addresses_of, readable_files
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_infrastructure import (
    InfrastructureInForce,
    MachineScope,
    differences,
    in_force,
    scopes_of,
    scopes_of_kept,
)

PROCESS = {"manager": "systemd", "unit": "any.service"}
COMMON = {"codeblue_environment": "staging", "codeblue_platform": "host", "codeblue_tier": 1}
OBJECTIVES = {"codeblue_objectives": {"rto": "15m", "rpo": "5m"}}


def instance(address: str, **more: Any) -> dict[str, Any]:
    return {"address": address, "port": 8080, "process": PROCESS, **more}


def site() -> dict[str, Service]:
    front = {
        "machine": "lb1",
        "socket": "/run/haproxy.sock",
        "state_file": "/var/lib/haproxy/state",
        "backend": "records",
        "servers": {"app1": "app1"},
        "refused_sources_file": "/etc/haproxy/refused",
    }
    url = "https://records.clinic.example/health"
    return load_services(
        {
            "records": {
                **COMMON,
                **OBJECTIVES,
                "codeblue_kind": "service",
                "codeblue_depends_on": ["gateway"],
                "codeblue_host": {"instances": {"app1": instance("10.0.0.1")}, "gateway": front},
                "codeblue_checks": {"shallow": [{"id": "http", "type": "http", "url": url, "timeout": "1s"}]},
            },
            "gateway": {
                **COMMON,
                **OBJECTIVES,
                "codeblue_kind": "gateway",
                "codeblue_depends_on": [],
                "codeblue_host": {
                    "instances": {"lb1": instance("lb.clinic.example", config_files=["/etc/haproxy/haproxy.cfg"])}
                },
                "codeblue_checks": {"shallow": [{"id": "tcp", "type": "tcp", "address": "10.0.0.9", "port": 80}]},
            },
        },
        ["records", "gateway", "app1", "lb1"],
    )


def test_a_service_is_asked_for_its_gateway_and_for_the_names_of_all_that_it_needs() -> None:
    services = site()
    names = {"records.clinic.example", "lb.clinic.example"}
    assert scopes_of(services["records"], services) == [
        MachineScope("app1", names=names),
        MachineScope("lb1", {"/run/haproxy.sock"}, {"/var/lib/haproxy/state", "/etc/haproxy/refused"}, names),
    ]


def test_a_gateway_is_known_by_those_behind_it() -> None:
    services = site()
    files = {"/var/lib/haproxy/state", "/etc/haproxy/refused", "/etc/haproxy/haproxy.cfg"}
    assert scopes_of(services["gateway"], services) == [
        MachineScope("lb1", {"/run/haproxy.sock"}, files, {"lb.clinic.example"})
    ]


def answer(machine: str, **changes: Any) -> MachineAnswer:
    known = {"files": [], "servers": {}, "rules": None, "names": {}, "unknown": []}
    return MachineAnswer(machine, result={**known, **changes})


def name(*addresses: str) -> dict[str, Any]:
    return {"addresses": list(addresses), "reason": None if addresses else "Name or service not known"}


def test_a_machine_that_is_silent_is_named_and_the_rest_is_kept() -> None:
    looked = [
        answer("lb1", files=["/etc/haproxy/login.pem"], servers={"/run/haproxy.sock": "1\n"}, unknown=["no nft"]),
        MachineAnswer("app1", unreachable="No route to host"),
    ]
    found = in_force(looked)
    assert [(each.machine, each.level, each.paths) for each in found.readings] == [
        ("lb1", "infrastructure", ("etc/haproxy/login.pem",))
    ]
    assert found.documents == {"in_force/lb1/haproxy_servers/run/haproxy.sock": b"1\n"}
    assert found.facts == {"machines": ["lb1"], "unknown": ["lb1: no nft", "app1: No route to host"]}


def restored(directory: Path, found: InfrastructureInForce) -> Path:
    for path, content in found.documents.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return directory


def test_a_later_look_says_which_names_and_rules_are_different(tmp_path: Path) -> None:
    rules = "table inet filter {\n  tcp dport 22 accept\n  tcp dport 5432 drop\n}\n"
    before = {"db.example": name("10.0.0.11"), "web.example": name("10.0.0.5"), "old.example": name("10.0.0.7")}
    kept = restored(tmp_path, in_force([answer("app1", rules=rules, names=before)]))
    assert scopes_of_kept(kept) == [MachineScope("app1", names=set(before))]
    assert differences(kept, in_force([answer("app1", rules=rules, names=before)])) == []

    after = {**before, "db.example": name("10.0.0.12", "10.0.0.13"), "old.example": name()}
    now = in_force([answer("app1", rules=rules.replace("5432 drop", "5432 accept"), names=after)])
    assert differences(kept, now) == [
        "app1: db.example was 10.0.0.11, is 10.0.0.12, 10.0.0.13",
        "app1: old.example was 10.0.0.7, is nothing (Name or service not known)",
        "app1: nftables: gone: tcp dport 5432 drop",
        "app1: nftables: new: tcp dport 5432 accept",
    ]
    silent = in_force([MachineAnswer("app1", unreachable="No route to host")])
    assert differences(kept, silent) == [
        "app1: names.json is not compared (app1: No route to host)",
        "app1: nftables.rules is not compared (app1: No route to host)",
    ]


def test_names_are_resolved_and_one_that_is_unknown_has_a_reason() -> None:
    found = addresses_of(["localhost", "no.such.invalid", "a" * 70 + ".example"], Deadline(10.0))
    assert "127.0.0.1" in found["localhost"]["addresses"] or "::1" in found["localhost"]["addresses"]
    assert found["localhost"]["reason"] is None
    assert all(not each["addresses"] and each["reason"] for host, each in found.items() if host != "localhost")
    assert json.dumps(found)


def test_a_link_is_kept_with_what_it_leads_to_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    real, link = tmp_path / "real.pem", tmp_path / "live.pem"
    real.write_text("key")
    link.symlink_to(real)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    good, unknown = readable_files([str(link), str(tmp_path / "gone.pem"), str(pipe)])
    assert good == sorted([str(link), str(real)])
    assert unknown == [f"{tmp_path / 'gone.pem'}: No such file or directory", f"{pipe} is no regular file"]
