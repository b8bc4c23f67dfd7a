"""Features in the inventory, and their flags as states."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._feature_changes import (
    OFF,
    FeatureState,
    feature_of,
    flag_changes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service

PLACE: dict[str, t.Any] = {"machine": "app1", "file": "/etc/records/flags.json"}
TRIAGE: dict[str, t.Any] = {"used_by": "records", "enabled": "ai_enabled", "share": "ai_share", "places": [PLACE]}


def service(features: dict[str, t.Any]) -> Service:
    return load_service(
        "ai",
        {
            "codeblue_environment": "lab",
            "codeblue_platform": "host",
            "codeblue_kind": "ai",
            "codeblue_tier": 3,
            "codeblue_depends_on": [],
            "codeblue_objectives": {"rto": "15m", "rpo": "1h"},
            "codeblue_host": {
                "instances": {
                    "app1": {
                        "address": "127.0.0.1",
                        "port": 8103,
                        "process": {"manager": "systemd", "unit": "ai"},
                        "release_copies": ["/var/cache/releases"],
                    }
                },
                "features": features,
            },
            "codeblue_checks": {"shallow": [], "deep": [], "comprehensive": []},
        },
        {"ai", "records", "app1", "ctl1"},
    )


def test_features_are_read() -> None:
    commands = {"machine": "ctl1", "read_command": ["/bin/flags", "get"], "write_command": ["/bin/flags", "set"]}
    found = service({"triage": {**TRIAGE, "places": [PLACE, commands]}})
    feature = feature_of(found, None)
    assert (feature.name, feature.used_by, feature.share) == ("triage", "records", "ai_share")
    assert feature.places[0].as_arguments() == {"path": "/etc/records/flags.json"}
    assert feature.places[1].as_arguments()["read_command"] == ["/bin/flags", "get"]
    assert found.host is not None and "ctl1" in found.host.machines()
    assert found.host.instances["app1"].release_copies == ("/var/cache/releases",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"used_by": "recrods"}, "'recrods' is not in the inventory"),
        ({"places": []}, "places"),
        ({"enabled": None}, "enabled"),
        ({"places": [{"machine": "app9", "file": "/f"}]}, "'app9' is not in the inventory"),
        ({"places": [{"machine": "app1", "file": "flags.json"}]}, "must be an absolute path"),
        ({"places": [{"machine": "app1"}]}, "one of the two ways"),
        ({"places": [{**PLACE, "read_command": ["/a"], "write_command": ["/b"]}]}, "one of the two ways"),
        ({"places": [{"machine": "app1", "read_command": ["/a"]}]}, "belong together"),
        ({"places": [{"machine": "app1", "read_command": ["a"], "write_command": ["/b"]}]}, "absolute path"),
        ({"shares": "x"}, "shares"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        service({"triage": {**TRIAGE, **changes}})
    assert words in str(caught.value) and "features.triage" in str(caught.value)


def test_the_feature_that_is_meant_must_be_known() -> None:
    two = service({"triage": TRIAGE, "summary": {**TRIAGE, "enabled": "summary_enabled"}})
    with pytest.raises(BadInput, match="cannot be told"):
        feature_of(two, None)
    with pytest.raises(BadInput, match="known: triage, summary"):
        feature_of(two, "triag")
    assert feature_of(two, "summary").enabled == "summary_enabled"
    with pytest.raises(BadInput, match="known: none"):
        feature_of(service({}), None)


@pytest.mark.parametrize(
    ("flags", "percent"),
    [
        ({}, 100),
        ({"ai_enabled": True}, 100),
        ({"ai_enabled": True, "ai_share": 25}, 25),
        ({"ai_enabled": False, "ai_share": 25}, 0),
        ({"ai_share": 0}, 0),
        ({"ai_share": 400}, 100),
        ({"ai_share": -3}, 0),
        # What a service cannot use it takes for not there.
        ({"ai_share": "25"}, 100),
        ({"ai_share": True}, 100),
        ({"ai_enabled": "no"}, 100),
    ],
)
def test_the_state_of_a_feature_is_what_services_make_of_its_flags(flags: dict[str, t.Any], percent: float) -> None:
    feature = feature_of(service({"triage": TRIAGE}), None)
    assert FeatureState.of(feature, flags).percent == percent


def test_flags_go_back_to_exactly_what_they_were() -> None:
    feature = feature_of(service({"triage": TRIAGE}), None)
    assert OFF.flags(feature) == {"ai_enabled": False, "ai_share": 0}
    assert FeatureState(True, None).flags(feature) == {"ai_enabled": True, "ai_share": None}
    assert FeatureState(True, 7.5).flags(feature) == {"ai_enabled": True, "ai_share": 7.5}
    switch_only = feature_of(service({"triage": {k: v for k, v in TRIAGE.items() if k != "share"}}), None)
    assert FeatureState(False).flags(switch_only) == {"ai_enabled": False}


def test_every_place_is_a_step_of_its_own() -> None:
    found = service({"triage": {**TRIAGE, "places": [PLACE, {"machine": "app1", "file": "/etc/b.json"}]}})
    changes = flag_changes(found, feature_of(found, None), OFF, "triage_off", "a test", FeatureState(True, 5.0))
    assert [change.action for change in changes] == ["triage_off_1_app1", "triage_off_2_app1"]
    assert changes[0].arguments["expect"] == {"ai_enabled": True, "ai_share": 5}
    assert changes[1].arguments["path"] == "/etc/b.json"
