"""The judgement of an intrusion, and the rules of a quarantine as text (well below a second)."""

from __future__ import annotations

import dataclasses
import ipaddress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import is_known, parse_networks
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Closed, rules
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine import persistence, table_name
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_intrusion import DIAGNOSIS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import Seen

_NOTHING: dict[str, Any] = {"connections": [], "strays": [], "processes": 1, "callers": [], "logs_unread": {}}
_FOREIGN = {"address": "203.0.113.9", "port": 443, "state": "ESTABLISHED", "pid": 7, "of_unit": False}
_CALLER = {"subject": "nurse7", "address": "198.51.100.3", "requests": 9, "first": 1.0, "last": 2.0}


def _alarm(topic: str = "intrusion") -> CheckResult:
    blank = {each.name: None for each in dataclasses.fields(CheckResult)}
    return CheckResult(
        **cast(
            "dict[str, Any]",
            {**blank, "target": "records", "id": "foreign", "level": "signals", "topic": topic, "ok": False, "at": 1.0},
        )
    )


def _decide(alarms: list[CheckResult], **answers: dict[str, Any] | str) -> dict[str, Any]:
    given = {
        f"intrusion_{machine}": MachineAnswer(machine, unreachable=answer)
        if isinstance(answer, str)
        else MachineAnswer(machine, result={**_NOTHING, **answer})
        for machine, answer in answers.items()
    }
    seen = Seen(
        service=cast(Any, SimpleNamespace(name="records")),
        services={},
        detection=cast(Any, SimpleNamespace(results=alarms)),
        answers=given,
        ask=lambda _calls: [],
    )
    return DIAGNOSIS.decide(seen)


def test_data_that_leaves_comes_before_everything_else() -> None:
    found = _decide([_alarm()], app1={"connections": [_FOREIGN], "strays": [7], "callers": [_CALLER]}, app2={})
    assert (found["cause"], found["treatment"]) == ("data_leaving", "quarantine")
    assert found["machines"] == ["app1"]
    assert found["peers"] == ["203.0.113.9"]
    assert found["callers"] == ["198.51.100.3"]


def test_a_foreign_user_of_a_sound_service_does_not_close_it() -> None:
    found = _decide([_alarm()], app1={"callers": [_CALLER]}, app2={})
    assert (found["cause"], found["treatment"]) == ("stolen_session", "end_sessions")
    assert found["machines"] == []


def test_an_alarm_that_nobody_finds_is_for_a_person() -> None:
    assert _decide([_alarm()], app1={}, app2={})["treatment"] == "person"
    assert _decide([_alarm("exposure")], app1={}, app2={})["cause"] == "healthy"


def test_a_silent_machine_is_named_and_keeps_nobody_from_containing_the_others() -> None:
    found = _decide([], app1={}, app2="no route")
    assert (found["cause"], found["treatment"]) == ("healthy", "none")
    assert found["confidence"] < 0.95
    assert "app2 cannot be looked at: no route" in found["evidence"]
    assert _decide([_alarm()], app1={}, app2="no route")["treatment"] == "person"


def test_addresses_of_ipv6_that_wrap_ipv4_count_as_those() -> None:
    known = parse_networks(["10.0.0.0/8", "fd00::/8"], "known_networks")
    assert is_known("::ffff:10.1.2.3", known)
    assert is_known("[fd00::1]", known)
    assert not is_known("203.0.113.9", known)
    with pytest.raises(BadInput, match="known_networks"):
        parse_networks(["10.0.0.1/8"], "known_networks")


def test_management_comes_before_what_is_closed() -> None:
    text = rules(
        "codeblue_x",
        Closed(
            ports=(8080,),
            peers=(ipaddress.ip_network("203.0.113.9"),),
            management=(ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_network("fd00::/64")),
        ),
    )
    lines = [line.strip() for line in text.splitlines()]
    assert lines.index("ip saddr { 10.9.0.0/24 } accept") < lines.index(
        "tcp dport { 8080 } counter reject with tcp reset"
    )
    assert "ip6 daddr { fd00::/64 } accept" in lines
    # The same table twice, or two tables: told apart by what they do.
    assert rules("codeblue_x", Closed(ports=(8080,))) == rules("codeblue_x", Closed(ports=(8080,)))
    assert rules("codeblue_x", Closed(ports=(8080,))) != rules("codeblue_x", Closed(ports=(8081,)))


def test_tables_of_different_services_and_machines_differ() -> None:
    names = {table_name(name, place) for name in ("records", "auth") for place in ("/var/lib/a", "/var/lib/b")}
    assert len(names) == 4
    assert table_name("records", "/var/lib/a") == table_name("records", "/var/lib/a")


def test_only_a_directory_that_is_really_read_keeps_rules(tmp_path: Any) -> None:
    configuration = tmp_path / "nftables.conf"
    assert persistence(str(configuration), "t")[0] is None
    configuration.write_text(f'include "{tmp_path}/rules/*.nft"\n')
    assert persistence(str(configuration), "t")[0] is None
    (tmp_path / "rules").mkdir()
    assert persistence(str(configuration), "t")[0] == str(tmp_path / "rules" / "codeblue-t.nft")
    configuration.write_text(f'include "{tmp_path}/rules/*.conf"\n')
    assert persistence(str(configuration), "t")[0] is None
