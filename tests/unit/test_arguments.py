"""The reader of arguments that modules bring along, held against Ansible's own on the specs of all modules."""

from __future__ import annotations

import importlib
import random
import string
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.codeblue.recovery.plugins.module_utils import _host_module
from ansible_collections.codeblue.recovery.plugins.module_utils._arguments import (
    Arguments,
    UnknownSpec,
    read_arguments,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

MODULES = "ansible_collections.codeblue.recovery.plugins.modules"
FOLDER = Path(__file__).parents[2] / "plugins" / "modules"
# Those that run on machines; the others carry the documentation of actions.
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "_host_module import" in path.read_text(encoding="utf-8"))
SEED = 20
ROUNDS = 60


class Told(Exception):
    """A module's spec and rules."""


@pytest.fixture(params=NAMES)
def spec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    def tell(arguments: dict[str, t.Any], rules: dict[str, t.Any]) -> t.NoReturn:
        raise Told(arguments, rules)

    monkeypatch.setattr(_host_module, "_module", tell)
    with pytest.raises(Told) as told:
        importlib.import_module(f"{MODULES}.{request.param}").main()
    return told.value.args[0], told.value.args[1]


def both(
    spec: dict[str, t.Any], given: dict[str, t.Any], rules: dict[str, t.Any]
) -> tuple[Arguments | BadInput, dict[str, t.Any] | list[str], set[str]]:
    validator = ArgumentSpecValidator(
        spec,
        mutually_exclusive=rules.get("mutually_exclusive"),
        required_together=rules.get("required_together"),
        required_one_of=rules.get("required_one_of"),
        required_if=rules.get("required_if"),
        required_by=rules.get("required_by"),
    )
    try:
        mine: Arguments | BadInput = read_arguments(spec, given, rules)
    except BadInput as error:
        mine = error
    try:
        theirs = validator.validate(given)
    except TypeError as error:
        # It ends so when a number stands for a mapping.
        return mine, [str(error)], set()
    return mine, theirs.error_messages or theirs.validated_parameters, set(theirs._no_log_values)


def value_of(about: t.Mapping[str, t.Any], dice: random.Random) -> t.Any:
    """One that fits, in any of the forms in which Ansible takes it, or now and then one that does not.

    Left out is where this reader is stricter on purpose: a list or a mapping is no text, and true is no number.
    """
    if dice.random() < 0.03:
        others: list[t.Any] = ["no such thing", 7, "12"]
        if about.get("type", "str") in ("str", "path"):
            others.append(True)
        elif about.get("elements", "dict") == "dict":
            others += [[{"a": 1}], {"b": 2}]
        return dice.choice(others if about.get("type") not in ("int", "float") else others[:3])
    if "choices" in about and about.get("type") != "list":
        return dice.choice(about["choices"])
    kind = about.get("type", "str")
    if kind == "list":
        elements = {key: about[key] for key in about if key not in ("type", "elements", "required", "default")}
        return [value_of({**elements, "type": about.get("elements", "str")}, dice) for _ in range(dice.randrange(3))]
    if kind == "dict":
        return given_for(about["options"], dice) if "options" in about else {"a": 1, "b": [2]}
    return {
        "str": lambda: "".join(dice.choices(string.ascii_letters, k=6)),
        "path": lambda: dice.choice(["/var/lib/x", "~/x", "$HOME/y"]),
        "bool": lambda: dice.choice([True, False, "yes", "no", "on", 0, 1]),
        "int": lambda: dice.choice([3, "4", 0, -1, 5.0]),
        "float": lambda: dice.choice([1.5, "2.5", 3, "4"]),
        "json": lambda: dice.choice(['{"a": 1}', {"b": 2}, [1]]),
    }[kind]()


def given_for(spec: t.Mapping[str, t.Any], dice: random.Random) -> dict[str, t.Any]:
    often = {name: about for name, about in spec.items() if dice.random() < (0.98 if about.get("required") else 0.6)}
    given = {name: value_of(about, dice) for name, about in often.items()}
    return {**given, "unheard_of": 1} if dice.random() < 0.02 else given


def test_it_reads_the_specs_of_all_modules_as_ansible_does(spec: tuple[dict[str, t.Any], dict[str, t.Any]]) -> None:
    arguments, rules = spec
    dice = random.Random(SEED)
    read = refused = 0
    for _ in range(ROUNDS):
        given = given_for(arguments, dice)
        mine, theirs, secrets = both(arguments, given, rules)
        if isinstance(theirs, list):
            assert isinstance(mine, BadInput), (given, theirs)
            refused += 1
        else:
            assert isinstance(mine, Arguments), (given, mine)
            assert mine.values == theirs, given
            assert mine.secrets >= secrets, given
            read += 1
    assert refused and read + refused == ROUNDS
    assert read or len(arguments) > 8


SMALL: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "token": {"type": "str", "no_log": True},
    "port": {"type": "int", "default": 5432},
    "mode": {"type": "str", "choices": ["list", "switch"], "default": "list"},
    "units": {"type": "list", "elements": "dict", "options": {"unit": {"type": "str", "required": True}}},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "missing required arguments: name"),
        ({"name": "a", "prot": 1}, "Unsupported parameters: prot"),
        ({"name": "a", "port": "five"}, "port must be a whole number, not 'five'"),
        ({"name": "a", "mode": "swtich"}, "value of mode must be one of: list, switch"),
        ({"name": "a", "units": [{"unit": "x"}, {}]}, "missing required arguments: unit in units[1]"),
        ({"name": "a", "units": 7.5}, "units[0] must be a mapping, not '7.5'"),
        ({"name": ["a"]}, "name must be a text"),
        ({"name": "a", "mode": "switch"}, "mode is switch but all of the following are missing: units"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given: dict[str, t.Any], said: str) -> None:
    with pytest.raises(BadInput) as raised:
        read_arguments(SMALL, given, {"required_if": [("mode", "switch", ["units"])]})
    assert said in raised.value.message and "\n" not in raised.value.message


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    with pytest.raises(BadInput) as raised:
        read_arguments(SMALL, {"name": "a", "token": ["hunter2"]}, {})
    assert "hunter2" not in str(raised.value)


def test_secrets_are_known_wherever_they_stand() -> None:
    spec = {"all": {"type": "list", "elements": "dict", "options": {"key": {"type": "str", "no_log": True}}}}
    assert read_arguments(spec, {"all": [{"key": "one"}, {"key": "two"}]}, {}).secrets == {"one", "two"}


@pytest.mark.parametrize("about", [{"type": "bytes"}, {"type": "str", "aliases": ["b"]}])
def test_a_spec_that_says_more_is_a_defect(about: dict[str, t.Any]) -> None:
    with pytest.raises(UnknownSpec):
        read_arguments({"a": about}, {"a": "x"}, {})
