# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes one field of an object from what was seen to what is wanted, and nothing that somebody else made of it."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient, Resource
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, KubernetesError

# Controllers write the status of an object all the time while it rolls out.
_MOST_CONFLICTS = 8


@dataclass(frozen=True)
class Field:
    """A field of one object.

    :param path: as a JSON patch names it; the field is replaced whole.
    :param text: what a manifest holds there, so that two can be compared and shown.
    """

    resource: Resource
    namespace: str
    name: str
    path: str
    text: Callable[[Mapping[str, t.Any]], str]


def change_field(client: KubernetesClient, field: Field, before: str, after: str, value: t.Any) -> float | None:
    """Replace the field, unless it is neither what it was nor what it is to be.

    :param before: its text as it was decided on.
    :param after: its text as it is to be, that of `value`.
    :returns: the Unix time at which that was accepted; None when it was so already.
    :raises Refused: somebody else has changed it.
    :raises KubernetesError: it was not changed.
    """
    sent = False
    for _conflict in range(_MOST_CONFLICTS):
        manifest = client.get(field.resource, field.name, field.namespace)
        present = field.text(manifest)
        if present == after:
            # With an answer that was lost on the way, it was this very call that did it.
            return time.time() if sent else None
        if present != before:
            raise Refused(
                f"{field.resource.plural} {field.name} in namespace {field.namespace}: somebody has made"
                f" {field.path.rpartition('/')[2]} {present or 'empty'} meanwhile, nothing was overwritten",
                "look whether that works; run again to leave it",
            )
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": manifest["metadata"]["resourceVersion"]},
            # As `add` it also replaces, and works where the field is not there.
            {"op": "add", "path": field.path, "value": value},
        ]
        try:
            client.patch(field.resource, field.name, field.namespace, operations)
            return time.time()
        except Conflict:
            sent = True
    raise KubernetesError(
        f"{field.resource.plural} {field.name}: is changed over and over by others", "find out who keeps it"
    )
