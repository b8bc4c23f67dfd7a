"""What is written holds: modules and actions, roles, tables, links, and the commands in the pages. About 5 s."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_module_action import MachineModuleAction
from codeblue.lab.faults import all_faults
from codeblue.main import cli

_ROOT = Path(__file__).resolve().parents[2]
_PLUGINS = "ansible_collections.codeblue.recovery.plugins"
_ACTIONS = sorted(path.stem for path in (_ROOT / "plugins" / "action").glob("*.py"))
_PAGES = sorted([_ROOT / "README.md", *(_ROOT / "docs").rglob("*.md"), *_ROOT.glob("roles/*/README.md")])
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


def test_the_page_on_machines_names_every_module_that_runs_there() -> None:
    page = (_ROOT / "docs" / "machines.md").read_text()
    for name in _MODULES:
        action = importlib.import_module(f"{_PLUGINS}.action.{name}").ActionModule
        if issubclass(action, MachineModuleAction):
            assert f"`{name}`" in page, name


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in _headings(text)}
    assert {anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text)} <= headings


def _headings(text: str) -> list[str]:
    return [line for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines() if line.startswith("#")]


def test_the_index_names_every_page() -> None:
    index = (_ROOT / "docs" / "README.md").read_text()
    for page in (_ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
    for runbook in (_ROOT / "runbooks").glob("*/README.md"):
        assert f"](../runbooks/{runbook.parent.name}/README.md)" in index


def test_tables_of_faults_are_complete() -> None:
    faults = all_faults()
    lab = (_ROOT / "docs" / "lab.md").read_text()
    drills = (_ROOT / "docs" / "drills.md").read_text()
    for name in faults:
        assert f"| `{name}` |" in lab, name
    rows = [line for line in drills.splitlines() if line.startswith("| `") and line.endswith(" s |")]
    told = {
        (fault, runbook, float(seconds.removesuffix(" s")))
        for names, runbook, seconds in (row.strip("| ").split(" | ") for row in rows)
        for fault in re.findall(r"`(\w+)`", names)
    }
    for card in (_ROOT / "runbooks").glob("*/runbook.yml"):
        for fault in yaml.safe_load(card.read_text())["faults"]:
            assert (fault, f"`{card.parent.name}`", faults[fault].rto_target) in told, fault


def test_commands_in_the_pages_exist() -> None:
    """Every `codeblue …` in a block of commands or a table: command, subcommand and long options."""
    for page in _PAGES:
        for line in page.read_text().splitlines():
            for words in re.findall(
                r"(?:^|[$`/|] ?)(?:/opt/codeblue/bin/)?codeblue ((?:[a-z][a-z-]* ?){1,2}[^`#|;>]*)", line
            ):
                _hold_against_the_command(words.split(), f"{page.name}: {line.strip()}")


def _hold_against_the_command(words: list[str], where: str) -> None:
    command: click.Command = cli
    first = words[0]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None:
            assert first == "drill", where  # It takes a runbook, or one of its commands.
            break
        command, words = inner, words[1:]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("--") and len(word) > 2} <= known, where


def test_the_architecture_lists_every_key_of_the_inventory() -> None:
    page = (_ROOT / "docs" / "architecture.md").read_text()
    sources = [*(_ROOT / "plugins" / "plugin_utils").glob("_model*.py")]
    sources += (_ROOT / "plugins" / "plugin_utils").glob("_checks*.py")
    reads = re.compile(r'\.(?:\w+)\("([a-z][a-z0-9_]+)"|_\w+\(\w+, "([a-z][a-z0-9_]+)"')
    keys = {first or second for path in sources for first, second in reads.findall(path.read_text())}
    assert {"known_networks", "issuer_key_from", "max_response"} <= keys
    assert sorted(key for key in keys if not key.endswith("_") and not re.search(rf"\b{key}\b", page)) == []
