# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The level `objects` of a snapshot: what a namespace of Kubernetes holds, one file for each object.

    <Kind>/<name>.json       the object without what the server manages
    index.json               of each object its digest, and who keeps it where a controller does

One list for each kind, page by page: the number of calls does not grow with that of the services, and with that of the
objects only by pages. Like everything in the store the files are encrypted; nothing of them is in the catalog.
"""

from __future__ import annotations

import hashlib
import io
import json
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient, Resource
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Forbidden, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import (
    KINDS,
    ObjectKind,
    ObjectName,
    as_bytes,
    kept,
    kept_by_controller,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_writer import SnapshotWriter

OBJECTS = "objects"
INDEX = "index.json"
# An object of the API is at most this large; a file that says otherwise is none.
_LARGEST = 8 * 1024 * 1024
_LARGEST_INDEX = 64 * 1024 * 1024


@dataclass
class Gathered:
    """What was read into a level.

    :param counts: kind to how many objects.
    :param unknown: kinds that could not be read, and why.
    """

    namespace: str
    counts: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, t.Any]:
        """What identifies the level outside of it. Readable without a key: no names, no content."""
        return {"namespace": self.namespace, "kinds": dict(self.counts), "unknown": list(self.unknown)}


def resource_of(kind: ObjectKind) -> Resource:
    """How the API server names a kind."""
    return Resource(kind.group, kind.version, kind.plural)


def gather_into(
    writer: SnapshotWriter, client: KubernetesClient, namespace: str, keep_alive: Callable[[], None]
) -> Gathered:
    """Read a namespace into a snapshot that is being written, a kind at a time.

    A kind that the account may not read, or that the server does not know, is named and fails nothing.

    :param keep_alive: called after every kind.
    :raises CodeblueError: nothing can be read, or the API server does not answer.
    """
    gathered = Gathered(namespace)
    index: dict[str, dict[str, str]] = {}
    for kind in KINDS:
        try:
            found = client.list_all(resource_of(kind), namespace)
        except Forbidden as error:
            gathered.unknown.append(f"{kind.kind}: {error.message}")
            continue
        except NotFound:
            gathered.unknown.append(f"{kind.kind}: this API server does not know it")
            continue
        for each in sorted(found, key=lambda one: str(one["metadata"]["name"])):
            name = ObjectName.of(kind.kind, str(each["metadata"]["name"]))
            content = as_bytes(kept(each, kind))
            writer.add_stream(io.BytesIO(content), OBJECTS, name.path)
            index[name.path] = {"sha256": hashlib.sha256(content).hexdigest(), "controller": kept_by_controller(each)}
        gathered.counts[kind.kind] = len(found)
        keep_alive()
    if not gathered.counts:
        raise CodeblueError(
            f"nothing of namespace {namespace} can be read: {gathered.unknown[0]}",
            "grant the verb list on the kinds of docs/kubernetes.md",
        )
    document = json.dumps({"format": 1, "namespace": namespace, "objects": index}, sort_keys=True).encode()
    writer.add_stream(io.BytesIO(document), OBJECTS, INDEX)
    writer.describe_level(OBJECTS, gathered.facts)
    return gathered


class KeptObjects:
    """The level `objects` of one snapshot, read back with an identity. Contents stay in memory.

    :param digest: of the snapshot's header, as the catalog has it.
    :raises BadInput: there is no such snapshot or level, or no identity.
    :raises CodeblueError: it is damaged.
    """

    def __init__(self, store: ContentStore, snapshot_id: str, digest: str | None) -> None:
        self.snapshot_id = snapshot_id
        self._store = store
        manifest = store.manifest(snapshot_id, digest)
        if OBJECTS not in manifest.levels:
            raise BadInput(f"snapshot {snapshot_id} holds no objects of a namespace", "see codeblue snapshot list")
        self.created_at = manifest.created_at
        self._key = store.naming_key(manifest)
        self._entries = {each.path: each for each in store.entries(manifest) if each.level == OBJECTS}
        index = json.loads(self._content(INDEX, _LARGEST_INDEX))
        self.namespace = str(index["namespace"])
        self._index: Mapping[str, Mapping[str, str]] = index["objects"]

    def names(self) -> list[ObjectName]:
        """All objects, in the order in which they are made again."""
        return sorted(ObjectName.of(*path.removesuffix(".json").split("/", 1)) for path in self._index)

    def has(self, name: ObjectName) -> bool:
        return name.path in self._index

    def controller(self, name: ObjectName) -> str:
        """Who made and kept the object then; empty when nobody did."""
        return self._index[name.path]["controller"]

    def read(self, name: ObjectName) -> dict[str, t.Any]:
        """One object.

        :raises BadInput: it is not in the snapshot.
        :raises CodeblueError: it is damaged.
        """
        if not self.has(name):
            raise BadInput(f"{name} is not in snapshot {self.snapshot_id}", "name an earlier snapshot")
        content = self._content(name.path, _LARGEST)
        if hashlib.sha256(content).hexdigest() != self._index[name.path]["sha256"]:
            raise CodeblueError(f"{OBJECTS}:{name.path} is damaged: its content has another digest")
        return t.cast("dict[str, t.Any]", json.loads(content))

    def _content(self, path: str, most: int) -> bytes:
        entry = self._entries.get(path)
        if entry is None or entry.size > most or None in entry.chunks:
            raise CodeblueError(f"{OBJECTS}:{path} is damaged in snapshot {self.snapshot_id}", "use another snapshot")
        identity, objects = self._store.reading_identity(), self._store.objects
        content = b"".join(objects.read(str(piece), identity, self._key) for piece in entry.chunks)
        if hashlib.sha256(content).hexdigest() != entry.digest:
            raise CodeblueError(f"{OBJECTS}:{path} is damaged in snapshot {self.snapshot_id}", "use another snapshot")
        return content
