# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a module's arguments by its argument spec, as AnsibleModule does, without importing Ansible.

What an import of `ansible.module_utils.basic` costs, a quarter of a module's whole time, is spent while a clinic
waits. Of the spec what this collection's modules use is known; a test holds both readers against each other.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

Spec = t.Mapping[str, t.Any]
Values = t.Dict[str, t.Any]

_TRUE = ("y", "yes", "on", "1", "true", "t")
_FALSE = ("n", "no", "off", "0", "false", "f")
_KEYS = frozenset(("type", "elements", "required", "default", "choices", "options", "no_log"))
_RULES = frozenset(("required_if", "required_one_of", "required_together", "required_by", "mutually_exclusive"))


class UnknownSpec(Exception):
    """An argument spec says something that this reader does not know: a defect of the module."""


@dataclass(frozen=True)
class Arguments:
    """What a module was given, typed and with defaults.

    :param secrets: the values of all arguments with `no_log`.
    """

    values: Values
    secrets: t.FrozenSet[str]


def read_arguments(spec: Spec, given: t.Mapping[str, t.Any], rules: t.Mapping[str, t.Any]) -> Arguments:
    """The arguments by the spec.

    :param given: what was sent; texts stand for numbers and truths too.
    :param rules: `required_if` and so on, as AnsibleModule takes them.
    :raises BadInput: something is missing, unknown or of another type; the line names it, never a secret value.
    """
    secrets: t.Set[str] = set()
    return Arguments(_mapping(spec, given, rules, "", secrets), frozenset(secrets))


def _mapping(
    spec: Spec, given: t.Mapping[str, t.Any], rules: t.Mapping[str, t.Any], where: str, secrets: t.Set[str]
) -> Values:
    unknown = sorted(str(name) for name in given if name not in spec)
    if unknown:
        known = ", ".join(sorted(spec))
        raise BadInput("Unsupported parameters: %s%s" % (", ".join(unknown), _within(where)), "known: %s" % known)
    if set(rules) - _RULES:
        raise UnknownSpec("rules %s" % sorted(set(rules) - _RULES))
    values: Values = {}
    for name, about in spec.items():
        if set(about) - _KEYS - _RULES:
            raise UnknownSpec("%s: %s" % (name, sorted(set(about) - _KEYS - _RULES)))
        value = given.get(name)
        values[name] = value if value is not None else about.get("default")
    missing = sorted(name for name, about in spec.items() if about.get("required") and given.get(name) is None)
    if missing:
        raise BadInput("missing required arguments: %s%s" % (", ".join(missing), _within(where)))
    for name, about in spec.items():
        if values[name] is not None:
            values[name] = _value(about, values[name], "%s.%s" % (where, name) if where else name, secrets)
    _check_rules(values, given, rules, where)
    return values


def _value(about: Spec, value: t.Any, name: str, secrets: t.Set[str]) -> t.Any:
    secret = bool(about.get("no_log"))
    converted = _converted(about.get("type", "str"), value, name, secret)
    if secret:
        secrets.update(_texts(value), _texts(converted))
    if isinstance(converted, list):
        converted = [
            _element(about, each, "%s[%d]" % (name, position), secret, secrets)
            for position, each in enumerate(converted)
        ]
    elif isinstance(converted, dict) and "options" in about:
        converted = _mapping(about["options"], converted, _rules_of(about), name, secrets)
    choices = about.get("choices")
    if choices is not None:
        wrong = [each for each in (converted if isinstance(converted, list) else [converted]) if each not in choices]
        if wrong:
            raise BadInput("value of %s must be one of: %s" % (name, ", ".join(str(each) for each in choices)))
    return converted


def _element(about: Spec, value: t.Any, name: str, secret: bool, secrets: t.Set[str]) -> t.Any:
    kind = about.get("elements")
    if kind is None:
        return value
    converted = _converted(kind, value, name, secret)
    if isinstance(converted, dict) and "options" in about:
        return _mapping(about["options"], converted, _rules_of(about), name, secrets)
    return converted


def _rules_of(about: Spec) -> Values:
    return {name: about[name] for name in about if name in _RULES}


def _converted(kind: str, value: t.Any, name: str, secret: bool) -> t.Any:
    try:
        return _CONVERTERS[kind](value)
    except KeyError:
        raise UnknownSpec("%s: type %s" % (name, kind)) from None
    except (ValueError, TypeError):
        shown = "" if secret else ", not %.80r" % (value,)
        raise BadInput("%s must be %s%s" % (name, _WORDS[kind], shown)) from None


def _text(value: t.Any) -> str:
    if isinstance(value, (dict, list)):
        raise TypeError
    return str(value)


def _path(value: t.Any) -> str:
    return os.path.expanduser(os.path.expandvars(_text(value)))


def _truth(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower().strip()
    if word in _TRUE or value == 1:
        return True
    if word in _FALSE or value == 0:
        return False
    raise ValueError


def _integer(value: t.Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: t.Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _list(value: t.Any) -> t.List[t.Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, str):
        return [each.strip() for each in value.split(",")]
    if isinstance(value, (int, float)):
        return [str(value)]
    raise TypeError


def _dict(value: t.Any) -> Values:
    read = json.loads(value) if isinstance(value, str) else value
    if not isinstance(read, dict):
        raise TypeError
    return dict(read)


def _json(value: t.Any) -> str:
    if not isinstance(value, (str, list, tuple, dict)):
        raise TypeError
    return value.strip() if isinstance(value, str) else json.dumps(value)


_CONVERTERS: t.Mapping[str, t.Callable[[t.Any], t.Any]] = {
    "str": _text,
    "path": _path,
    "bool": _truth,
    "int": _integer,
    "float": _number,
    "list": _list,
    "dict": _dict,
    "json": _json,
}
_WORDS = {
    "str": "a text",
    "path": "a path",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "a mapping",
    "json": "JSON",
}


def _texts(value: t.Any) -> t.Iterator[str]:
    """All texts in a value, those of its keys left out."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None and not isinstance(value, bool) and str(value):
        yield str(value)


def _check_rules(values: Values, given: t.Mapping[str, t.Any], rules: t.Mapping[str, t.Any], where: str) -> None:
    """Hold what was given against the rules between arguments."""
    there = {name for name, value in given.items() if value is not None}
    for group in rules.get("mutually_exclusive", ()):
        if len(there & set(group)) > 1:
            raise BadInput("parameters are mutually exclusive: %s%s" % ("|".join(group), _within(where)))
    for group in rules.get("required_one_of", ()):
        if not there & set(group):
            raise BadInput("one of the following is required: %s%s" % (", ".join(group), _within(where)))
    for group in rules.get("required_together", ()):
        if 0 < len(there & set(group)) < len(set(group)):
            raise BadInput("parameters are required together: %s%s" % (", ".join(group), _within(where)))
    for name, needed in dict(rules.get("required_by", {})).items():
        missing = [each for each in ([needed] if isinstance(needed, str) else needed) if values.get(each) is None]
        if values.get(name) is not None and missing:
            raise BadInput("missing parameter(s) required by '%s': %s%s" % (name, ", ".join(missing), _within(where)))
    for rule in rules.get("required_if", ()):
        name, wanted, needed = rule[:3]
        one_is_enough = bool(rule[3]) if len(rule) > 3 else False
        missing = [each for each in needed if values.get(each) is None]
        short = len(missing) == len(needed) if one_is_enough else bool(missing)
        if values.get(name) == wanted and short:
            which = "any of" if one_is_enough else "all of"
            raise BadInput(
                "%s is %s but %s the following are missing: %s%s"
                % (name, wanted, which, ", ".join(missing), _within(where))
            )


def _within(where: str) -> str:
    return " in %s" % where if where else ""
