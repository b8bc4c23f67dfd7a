"""Flags in a ConfigMap: as JSON in a key, or each a key of its own."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._config_map_flags import data_of, flags_in, is_so
from ansible_collections.codeblue.recovery.plugins.plugin_utils._feature_changes import OFF, feature_of, flag_changes
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import ConfigMapPlace

JSON = ConfigMapPlace("clinic", "flags", "flags.json")
KEYS = ConfigMapPlace("clinic", "flags")


def service(**place: t.Any) -> Service:
    feature = {"used_by": "records", "enabled": "on", "places": [{"config_map": "flags", **place}]}
    settings = {"namespace": "clinic", "deployment": "ai", "features": {"triage": feature}}
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "kubernetes",
        "codeblue_kind": "ai",
        "codeblue_objectives": {"rto": "5m", "rpo": "0s"},
        "codeblue_kubernetes": settings,
    }
    return load_service("ai", variables, {"ai", "records"})


def test_only_the_flags_that_are_wanted_change() -> None:
    held = {"data": {"flags.json": '{"a": true, "b": 5, "c": "x"}', "other": "kept"}}
    flags = flags_in(held, JSON)
    change = data_of(flags, JSON, {"a": False, "b": None})
    assert change.keys() == {"flags.json"} and json.loads(change["flags.json"] or "") == {"a": False, "c": "x"}
    assert flags_in({}, JSON) == {}


def test_a_key_for_each_flag() -> None:
    held = {"data": {"a": "true", "b": "25", "c": "dark", "d": '{"x": 1}'}}
    assert flags_in(held, KEYS) == {"a": True, "b": 25, "c": "dark", "d": '{"x": 1}'}
    assert data_of({}, KEYS, {"a": False, "b": 0, "c": None}) == {"a": "false", "b": "0", "c": None}


def test_true_is_not_one() -> None:
    assert is_so({"a": True}, {"a": True}) and not is_so({"a": True}, {"a": 1}) and not is_so({}, {"a": False})
    assert is_so({}, {"a": None})


@pytest.mark.parametrize("text", ["[1]", "a: true", "{"])
def test_what_is_no_json_object_is_not_overwritten(text: str) -> None:
    with pytest.raises(CodeblueError, match=r"clinic: key flags\.json holds no JSON object"):
        flags_in({"data": {"flags.json": text}}, JSON)


def test_a_place_is_read_and_becomes_a_step() -> None:
    found = service(key="f", restarts="statefulset/records", refreshed_within=5)
    feature = feature_of(found, "triage")
    assert feature.places[0].config_map == ConfigMapPlace("clinic", "flags", "f", "statefulset/records", 5.0)
    (change,) = flag_changes(found, feature, OFF, "triage_off", "a test")
    assert (change.action, change.machine) == ("triage_off_1_flags", "ConfigMap flags in namespace clinic")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"restarts": "records"}, "write it like deployment/records"),
        ({"config_map": "Flags!"}, "is no name in Kubernetes"),
        ({"file": "/etc/flags"}, "file"),
        ({"refreshed_within": "soon"}, "refreshed_within"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(place: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        service(**place)
    assert words in str(caught.value) and "codeblue_kubernetes.features.triage" in str(caught.value)
