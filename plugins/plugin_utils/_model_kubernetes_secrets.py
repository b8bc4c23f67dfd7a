# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets of a service on Kubernetes that can be rotated, and where the new value of each key comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

#: In place of a path: a new random value is made.
GENERATED = "generated"
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True)
class RotatedSecret:
    """One of `codeblue_kubernetes.secrets`.

    :param keys: key to `generated`, or to the path of a file on the controller that holds its new value.
    """

    name: str
    keys: Mapping[str, str]


def read_secrets(values: TypedMapping, key: str) -> tuple[RotatedSecret, ...]:
    """Read them; what is wrong goes to the problems of the mapping."""
    given = values.plain(key)
    if given is None:
        return ()
    if not isinstance(given, dict):
        values.problem(key, "must name Secrets, and below each its keys")
        return ()
    found = []
    for name, keys in given.items():
        if not isinstance(keys, dict) or not keys:
            values.problem(f"{key}.{name}", f"must name keys, each with {GENERATED} or the path of a file")
            continue
        for each, origin in keys.items():
            where = f"{key}.{name}.{each}"
            if not _KEY.fullmatch(str(each)):
                values.problem(where, f"{quote(str(each))} is no key of a Secret")
            if origin != GENERATED and not str(origin).startswith("/"):
                # Whoever writes the value itself here must not read it again in an error.
                values.problem(where, f"write {GENERATED}, or the absolute path of a file on the controller")
        found.append(RotatedSecret(str(name), {str(each): str(origin) for each, origin in keys.items()}))
    return tuple(found)
