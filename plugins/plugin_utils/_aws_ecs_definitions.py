# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Task definitions: when two make the same tasks, and how they are shown without secrets."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import typing as t
from collections.abc import Mapping

Definition = Mapping[str, t.Any]

# What ECS adds to a task definition, or what says nothing about the tasks made of it.
_ADDED = frozenset(
    (
        "taskDefinitionArn",
        "revision",
        "status",
        "registeredAt",
        "registeredBy",
        "deregisteredAt",
        "requiresAttributes",
        "compatibilities",
        "family",
    )
)
# Below these keys texts may carry a credential; only that they differ is shown.
_MAY_BE_SECRET = frozenset(("environment", "command", "entryPoint", "dockerLabels", "options", "secretOptions"))
_DIGITS = 12


def digest_of(definition: Definition) -> str:
    """The same for task definitions that make the same tasks, whatever their numbers."""
    return hashlib.sha256(json.dumps(_same(definition), sort_keys=True, default=str).encode()).hexdigest()


def shown(before: Definition, after: Definition) -> tuple[t.Any, t.Any]:
    """Two task definitions for a diff: where a secret may be, a digest that only tells whether two are the same."""
    # Of this one diff, so that nobody can try likely secrets against it.
    salt = secrets.token_bytes(16)
    return _hidden(_same(before), salt, False), _hidden(_same(after), salt, False)


def _same(definition: Definition) -> dict[str, t.Any]:
    return {key: value for key, value in definition.items() if key not in _ADDED and value not in (None, [], {}, "")}


def _hidden(value: t.Any, salt: bytes, secret: bool) -> t.Any:
    if isinstance(value, Mapping):
        names = {"name"} if secret else set()
        return {
            key: inner if key in names else _hidden(inner, salt, secret or key in _MAY_BE_SECRET)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_hidden(inner, salt, secret) for inner in value]
    if secret and value is not None:
        return f"hidden {hmac.new(salt, str(value).encode(), hashlib.sha256).hexdigest()[:_DIGITS]}"
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
