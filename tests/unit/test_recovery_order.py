"""Dependencies decide the order, tiers within it; cycles and unknown names are said whole."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.codeblue.recovery.plugins.filter.recovery_order import FilterModule
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import Ranked, recovery_order

CLINIC = {
    "patient_db": Ranked([], 0),
    "auth": Ranked(["patient_db"], 1),
    "ai": Ranked([], 3),
    "records": Ranked(["patient_db", "auth"], 2),
    "gateway": Ranked(["records", "auth", "ai"], 4),
}


def test_waves_follow_dependencies_then_tiers() -> None:
    assert recovery_order(CLINIC) == [["patient_db"], ["auth"], ["records"], ["ai"], ["gateway"]]


def test_equal_tiers_share_a_wave_in_alphabetical_order() -> None:
    assert recovery_order({"b": Ranked([], 1), "a": Ranked([], 1), "c": Ranked(["a"], 1)}) == [["a", "b"], ["c"]]


def test_a_tier_never_overrides_a_dependency() -> None:
    assert recovery_order({"first": Ranked(["late"], 0), "late": Ranked([], 9)}) == [["late"], ["first"]]


def test_targets_keep_their_order_through_services_that_are_no_targets() -> None:
    assert recovery_order(CLINIC, ["gateway", "patient_db"]) == [["patient_db"], ["gateway"]]
    assert recovery_order(CLINIC, ["records"]) == [["records"]]
    assert recovery_order(CLINIC, []) == []


def test_a_cycle_is_reported_with_its_whole_path() -> None:
    ring = {"a": Ranked(["b"], 0), "b": Ranked(["c"], 0), "c": Ranked(["a"], 0), "d": Ranked(["a"], 0)}
    with pytest.raises(BadInput, match="a -> b -> c -> a") as caught:
        recovery_order(ring, ["d"])
    assert caught.value.exit_code == 2


def test_shared_dependencies_are_no_cycle() -> None:
    diamond = {"top": Ranked(["l", "r"], 0), "l": Ranked(["base"], 0), "r": Ranked(["base"], 0), "base": Ranked([], 0)}
    assert recovery_order(diamond) == [["base"], ["l", "r"], ["top"]]


def test_unknown_names_are_named_with_who_needs_them() -> None:
    with pytest.raises(BadInput, match=r"auth: codeblue_depends_on: 'patient_bd'.*did you mean patient_db"):
        recovery_order({**CLINIC, "auth": Ranked(["patient_bd"], 1)})
    with pytest.raises(BadInput, match=r"recrods: is no service .*did you mean records"):
        recovery_order(CLINIC, ["recrods"])


def test_a_long_chain_does_not_hit_the_recursion_limit() -> None:
    chain = {str(number): Ranked([str(number - 1)] if number else [], 0) for number in range(5000)}
    assert len(recovery_order(chain, ["4999", "0"])) == 2


def test_filter_reads_hostvars_and_turns_errors_into_filter_errors() -> None:
    order = FilterModule().filters()["recovery_order"]
    hostvars = {
        "db": {"codeblue_tier": 0},
        "api": {"codeblue_depends_on": ["auth"], "codeblue_tier": "2"},
        "auth": {"codeblue_depends_on": ["db"]},
        "unrelated": {"codeblue_depends_on": ["unrelated"]},
    }
    assert order(["api", "db"], hostvars) == [["db"], ["api"]]
    with pytest.raises(AnsibleFilterError, match="must be a list"):
        order("api", hostvars)
    with pytest.raises(AnsibleFilterError, match="unrelated -> unrelated"):
        order(["unrelated"], hostvars)
