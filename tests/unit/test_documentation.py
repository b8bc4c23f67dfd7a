"""What the modules document is what the actions of the same name take."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).resolve().parents[2]
_PLUGINS = "ansible_collections.codeblue.recovery.plugins"
_ACTIONS = sorted(path.stem for path in (_ROOT / "plugins" / "action").glob("*.py"))
_MODULES = sorted(path.stem for path in (_ROOT / "plugins" / "modules").glob("*.py"))


def _documented(name: str) -> dict[str, Any]:
    module = importlib.import_module(f"{_PLUGINS}.modules.{name}")
    return dict(yaml.safe_load(module.DOCUMENTATION))


def _arguments(name: str) -> dict[str, dict[str, Any]]:
    return dict(importlib.import_module(f"{_PLUGINS}.action.{name}").ActionModule.ARGUMENTS)


def test_every_module_has_an_action_that_passes_the_gates_first() -> None:
    assert _MODULES == _ACTIONS


@pytest.mark.parametrize("name", [each for each in _ACTIONS if _arguments(each)])
def test_documented_options_are_the_arguments_of_the_action(name: str) -> None:
    options = _documented(name)["options"]
    arguments = _arguments(name)
    assert sorted(options) == sorted(arguments)
    for option, argument in arguments.items():
        said = options[option]
        for key, missing in (("type", "str"), ("elements", None), ("choices", None), ("default", None)):
            assert said.get(key, missing) == argument.get(key, missing), f"{name}: {option}: {key}"
        assert bool(said.get("required")) == bool(argument.get("required")), f"{name}: {option}: required"


@pytest.mark.parametrize("name", _MODULES)
def test_modules_say_how_they_support_check_mode_and_repetition(name: str) -> None:
    attributes = _documented(name)["attributes"]
    assert {"check_mode", "diff_mode", "idempotent"} <= set(attributes)
    assert attributes["check_mode"]["support"] == "full"


@pytest.mark.parametrize("name", _MODULES)
def test_modules_have_examples_and_describe_what_they_return(name: str) -> None:
    module = importlib.import_module(f"{_PLUGINS}.modules.{name}")
    tasks = yaml.safe_load(module.EXAMPLES)
    assert all(f"codeblue.recovery.{name}" in task for task in tasks)
    for key, returned in yaml.safe_load(module.RETURN).items():
        assert {"description", "returned", "type"} <= set(returned), f"{name}: {key}"
