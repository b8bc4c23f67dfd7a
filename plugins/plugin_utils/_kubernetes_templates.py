# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pod templates: when two are the same version, what that version is called, and how it is shown without secrets."""

from __future__ import annotations

import hashlib
import hmac
import json
import typing as t
from collections.abc import Mapping

# What controllers add to a template to tell their own copies of it apart.
_ADDED_LABELS = frozenset(("pod-template-hash", "controller-revision-hash"))
# A restart makes a new template of the same version: one that is bad stays bad.
_RESTARTS = frozenset(("kubectl.kubernetes.io/restartedAt", "codeblue.recovery/restarted-at"))
_DIGITS = 12
# Below these keys texts may carry a credential; only that they differ is shown.
_MAY_BE_SECRET = frozenset(("value", "command", "args", "annotations"))
# kubectl keeps a whole copy of what was applied there, values as well.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_WITH_VALUES = frozenset(("Secret", "ConfigMap"))
_VALUES = frozenset(("data", "binaryData", "stringData"))


def cleaned(template: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The template as its author wrote it, without what controllers add.

    It can be given back to the API: a controller adds its own again.
    """
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value is not None}
    for key, added in (("labels", _ADDED_LABELS), ("annotations", frozenset[str]())):
        kept = {name: value for name, value in (metadata.get(key) or {}).items() if name not in added}
        metadata.pop(key, None)
        if kept:
            metadata[key] = kept
    return {**{key: value for key, value in template.items() if key != "$patch"}, "metadata": metadata}


def digest_of(template: Mapping[str, t.Any]) -> str:
    """The same for templates that make the same pods, whatever number their revisions have."""
    same = cleaned(template)
    annotations = {k: v for k, v in same["metadata"].pop("annotations", {}).items() if k not in _RESTARTS}
    if annotations:
        same["metadata"]["annotations"] = annotations
    text = json.dumps(_without_nothing(same), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def version_of(template: Mapping[str, t.Any]) -> str:
    """What a version is called in the record and in marks: its first image as people know it, and its digest.

    As `records:1.2.0+1a2b3c4d5e6f`.
    """
    containers = (template.get("spec") or {}).get("containers") or [{}]
    image = str(containers[0].get("image") or "no-image").rsplit("/", 1)[-1]
    name, at, long_digest = image.partition("@sha256:")
    return f"{name}{at and '@' + long_digest[:_DIGITS]}+{digest_of(template)[:_DIGITS]}"


def shown(template: Mapping[str, t.Any], salt: bytes) -> t.Any:
    """The template for a diff: where a secret may be, a digest that only tells whether two are the same.

    :param salt: of this one diff, so that nobody can try likely secrets against it.
    """
    return _hidden(cleaned(template), salt, False)


def shown_object(found: Mapping[str, t.Any], salt: bytes) -> t.Any:
    """Any object for a diff, likewise; of a Secret or ConfigMap every value is hidden.

    :param salt: of this one diff.
    """
    return _hidden(
        found, salt, False, _MAY_BE_SECRET | _VALUES if found.get("kind") in _WITH_VALUES else _MAY_BE_SECRET
    )


def without_values(found: Mapping[str, t.Any], salt: bytes) -> t.Any:
    """An object for whoever examines it: all but values of variables and Secrets, and copies of them in annotations.

    :param salt: of one collection, within which equal values are seen to be equal.
    """
    notes = (found.get("metadata") or {}).get("annotations") or {}
    if _APPLIED in notes:
        kept = {key: value for key, value in notes.items() if key != _APPLIED}
        found = {**found, "metadata": {**found["metadata"], "annotations": kept}}
    return _hidden(
        found, salt, False, frozenset(("value",)) | (_VALUES if found.get("kind") == "Secret" else frozenset())
    )


def _hidden(value: t.Any, salt: bytes, secret: bool, names: frozenset[str] = _MAY_BE_SECRET) -> t.Any:
    if isinstance(value, Mapping):
        return {key: _hidden(inner, salt, secret or key in names, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(inner, salt, secret, names) for inner in value]
    if secret and value is not None:
        return f"hidden {hmac.new(salt, str(value).encode(), hashlib.sha256).hexdigest()[:_DIGITS]}"
    return value


def _without_nothing(value: t.Any) -> t.Any:
    """Without keys that hold nothing: servers differ in whether they write them down."""
    if isinstance(value, Mapping):
        kept = {key: _without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
