"""What the modules document is what the actions of the same name take."""

from __future__ import annotations

import importlib
import tomllib
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


@pytest.mark.parametrize("role", sorted(path.name for path in (_ROOT / "roles").iterdir()))
def test_the_readme_of_a_role_names_every_entry_point_and_variable(role: str) -> None:
    readme = (_ROOT / "roles" / role / "README.md").read_text()
    specs = yaml.safe_load((_ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    for entry, spec in specs.items():
        assert f"### `{entry}`" in readme
        for option in spec["options"]:
            assert f"| `{option}` |" in readme, f"{entry}: {option}"
    for word in ("Idempotent", "Atomic", "Check mode", "How it is undone", "Rights on the machines"):
        assert f"| {word} |" in readme
    assert f"(../roles/{role}/README.md)" in (_ROOT / "docs" / "roles.md").read_text()


def test_the_execution_environment_has_the_packages_of_the_wheel() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    of_the_command = ("ansible-core", "ansible-runner", "click", "rich")
    needed = [each for each in project["dependencies"] if not each.startswith(of_the_command)]
    listed = [line for line in (_ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert listed == needed
