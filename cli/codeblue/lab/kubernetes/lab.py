"""The lab on a cluster as a whole: up, down, status, break, heal."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import NAMESPACES, KubernetesClient
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound

from codeblue.lab.files import make_directory
from codeblue.lab.injection import Injection, active_faults
from codeblue.lab.kubernetes.cluster import LabCluster, cordoned, look_for_kubelets
from codeblue.lab.kubernetes.faults import heal_all, inject
from codeblue.lab.kubernetes.inventory import write_inventory
from codeblue.lab.kubernetes.layout import DEFAULT_NAMESPACE, KubernetesLayout, default_kubernetes_directory
from codeblue.lab.kubernetes.manifests import MADE_BY, Object
from codeblue.lab.kubernetes.monitoring import end_monitoring, monitoring_missing, start_monitoring
from codeblue.lab.kubernetes.objects import differences, digests, put_back, read_objects
from codeblue.lab.kubernetes.parts import READY_SECONDS, ClusterParts
from codeblue.lab.kubernetes.state import KubernetesLabState
from codeblue.lab.kubernetes.status import KubernetesLabStatus, look
from codeblue.lab.lab import UpResult
from codeblue.lab.processes import interruptions_as_exceptions
from codeblue.lab.secrets import make_identity
from codeblue.lab.state import exclusive

DEFAULT_IMAGE = "clinic"
_ACCOUNT_SECONDS = 30.0
_GONE_SECONDS = 90.0
_POLL_SECONDS = 0.1
_DOWN = "codeblue lab down --platform kubernetes"


class KubernetesLab:
    """One lab: a namespace of a cluster, and a directory here that knows it.

    :param directory: None for the default.
    :param context: of the kubeconfig; None for the current one, or that of the lab that is up.
    :param namespace: None for the default, or that of the lab that is up.
    :param image: what comes before the name of each service in its image, for `up`.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        image: str | None = None,
    ) -> None:
        root = default_kubernetes_directory() if directory is None else Path(directory).expanduser().absolute()
        self.layout = KubernetesLayout(root)
        self._context = context
        self._namespace = namespace
        self._image = image

    @property
    def directory(self) -> Path:
        return self.layout.root

    @property
    def inventory_path(self) -> Path:
        return self.layout.inventory

    @property
    def state(self) -> KubernetesLabState:
        """What its file says.

        :raises BadInput: there is no lab in the directory, or it is that of another namespace or context.
        """
        state = KubernetesLabState.load(self.layout)
        if state is None:
            raise BadInput(
                f"there is no lab of a cluster in {self.layout.root}",
                "start one with: codeblue lab up --platform kubernetes",
            )
        for wanted, has, what in (
            (self._namespace, state.namespace, "namespace"),
            (self._context, state.context, "context"),
        ):
            if wanted is not None and wanted != has:
                raise BadInput(
                    f"the lab in {self.layout.root} is in {what} {has}, not {wanted}", "name its directory with --dir"
                )
        return state

    @property
    def parts(self) -> ClusterParts:
        return ClusterParts(self.layout, self.state)

    def up(self) -> UpResult:
        """Put the clinic into its namespace; one that is up stays as it is.

        :raises Refused: the cluster is not marked as a lab, or the namespace is somebody else's.
        :raises CodeblueError: it does not start; then nothing of it is left.
        """
        started = time.monotonic()
        with exclusive(self.layout):
            known = KubernetesLabState.load(self.layout)
            if known is not None:
                parts = self.parts
                if known.phase == "ready" and self._own_namespace(parts.client, known):
                    start_monitoring(self.layout, known)
                    return UpResult(True, self.inventory_path, 0.0)
                self._remove(parts)
            elif self.layout.root.exists() and any(self.layout.root.iterdir()):
                raise BadInput(f"{self.layout.root} is not empty and holds no such lab", "choose another with --dir")
            with interruptions_as_exceptions():
                self._start(started)
        return UpResult(False, self.inventory_path, time.monotonic() - started)

    def down(self) -> bool:
        """Remove the lab's namespace and its directory.

        :returns: False when there was no lab.
        """
        with exclusive(self.layout):
            if KubernetesLabState.load(self.layout) is None:
                self.layout.lock_file.unlink()
                return False
            self._remove(self.parts)
            self.layout.lock_file.unlink()
        return True

    def require_up(self) -> None:
        """:raises BadInput: there is no lab in the directory, or its namespace is gone."""
        self._require_up()

    def status(self) -> KubernetesLabStatus:
        return look(self.parts)

    def active_faults(self) -> list[str]:
        return active_faults(self.layout)

    def break_(self, fault: str) -> Injection:
        """Inject a fault.

        :raises BadInput: there is no such fault, or no lab.
        :raises Refused: the cluster is not marked as a lab any more.
        """
        with exclusive(self.layout):
            parts = self._require_up()
            parts.cluster.require_lab(parts.client)
            return inject(parts, fault)

    def heal(self) -> float:
        """Undo all faults and put every object back; returns the seconds that it took.

        :raises CodeblueError: it does not become what it was.
        """
        started = time.monotonic()
        with exclusive(self.layout):
            parts = self._require_up()
            heal_all(parts)
            put_back(parts.client, parts.namespace, parts.manifests, parts.state.digests)
            parts.delete_stuck_pods()
            left = [*parts.wait_complete(), *self.deviations(parts)]
        if left:
            raise CodeblueError(f"the lab is not what it was: {'; '.join(left[:3])}", f"begin anew: {_DOWN}")
        return time.monotonic() - started

    def deviations(self, parts: ClusterParts | None = None) -> list[str]:
        """How it differs from the state after `up`: objects by their digests, pods, nodes; one line each."""
        parts = parts or self.parts
        found = [f"fault {name} is still injected" for name in self.active_faults()]
        now = digests(read_objects(parts.client, parts.namespace))
        found += differences(now, parts.state.digests)
        found += [
            f"node {name} is cordoned" for name in cordoned(parts.client) if name not in parts.state.unschedulable
        ]
        return found + monitoring_missing(self.layout) + parts.incomplete()

    # -- parts of it -------------------------------------------------------------------------------------------

    def _require_up(self) -> ClusterParts:
        parts = self.parts
        if parts.state.phase != "ready" or not self._own_namespace(parts.client, parts.state):
            raise BadInput(
                f"the lab in {self.layout.root} is not up", "start it with: codeblue lab up --platform kubernetes"
            )
        return parts

    def _start(self, started: float) -> None:
        cluster = LabCluster.current(self._context)
        client = cluster.client()
        cluster.require_lab(client)
        if self._image is None and look_for_kubelets(client):
            raise BadInput(
                f"the cluster of context {cluster.context} runs real containers, and no images are named",
                "name what comes before auth, records, ai, gateway and patient-db: --image",
            )
        state = KubernetesLabState(
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
            namespace=self._namespace or DEFAULT_NAMESPACE,
            image=self._image or DEFAULT_IMAGE,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            unschedulable=cordoned(client),
        )
        _refuse_foreign(client, state)
        make_directory(self.layout.root, 0o700)
        state.save(self.layout)
        parts = ClusterParts(self.layout, state, client)
        try:
            self._fill(parts)
        except BaseException:
            self._remove(parts)
            raise
        state.phase = "ready"
        state.seconds_to_ready = round(time.monotonic() - started, 3)
        state.save(self.layout)

    def _fill(self, parts: ClusterParts) -> None:
        state, client = parts.state, parts.client
        make_directory(self.layout.faults, 0o700)
        make_identity(self.layout)
        labels = {MADE_BY[0]: MADE_BY[1]}
        made = client.create(
            NAMESPACES,
            "",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": state.namespace, "labels": labels}},
        )
        state.namespace_uid = str(made["metadata"]["uid"])
        state.save(self.layout)
        parts.wait_account(_ACCOUNT_SECONDS)
        for manifest in parts.manifests:
            client.create(manifest.resource, state.namespace, manifest.body)
        if left := parts.wait_complete(READY_SECONDS):
            raise CodeblueError(
                f"the clinic in {state.place} does not start: {'; '.join(left[:3])}",
                "look at its images and at the nodes; nothing of it was left",
            )
        state.digests = digests(read_objects(client, state.namespace))
        start_monitoring(self.layout, state)
        write_inventory(parts)

    def _own_namespace(self, client: KubernetesClient, state: KubernetesLabState) -> bool:
        found = _namespace(client, state.namespace)
        return found is not None and found["metadata"]["uid"] == state.namespace_uid

    def _remove(self, parts: ClusterParts) -> None:
        """Remove the namespace, if it is the lab's own, and then what knows of it."""
        end_monitoring(parts.layout)
        if parts.layout.faults.exists():
            heal_all(parts)
        state, client = parts.state, parts.client
        found = _namespace(client, state.namespace)
        if found is not None and found["metadata"]["uid"] == state.namespace_uid and _is_of_a_lab(found):
            # One that goes already cannot be deleted again.
            with suppress(NotFound, Conflict):
                client.delete(NAMESPACES, state.namespace, "", state.namespace_uid)
            _wait_gone(client, state)
        for entry in self.layout.root.iterdir():
            if entry == self.layout.state_file:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        # Last of all what says that this is a lab, so that an interrupted removal can be repeated.
        self.layout.state_file.unlink(missing_ok=True)
        self.layout.root.rmdir()


def _refuse_foreign(client: KubernetesClient, state: KubernetesLabState) -> None:
    found = _namespace(client, state.namespace)
    if found is None:
        return
    if _is_of_a_lab(found):
        raise Refused(
            f"{state.place} holds a lab that belongs to another directory",
            "take it down from there (--dir), or choose another with --namespace",
        )
    raise Refused(
        f"{state.place} is there already and was not made by a lab", "choose another with --namespace; it is left alone"
    )


def _namespace(client: KubernetesClient, name: str) -> Object | None:
    try:
        return client.get(NAMESPACES, name)
    except NotFound:
        return None


def _is_of_a_lab(namespace: Object) -> bool:
    return (namespace["metadata"].get("labels") or {}).get(MADE_BY[0]) == MADE_BY[1]


def _wait_gone(client: KubernetesClient, state: KubernetesLabState) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while (found := _namespace(client, state.namespace)) is not None:
        if found["metadata"]["uid"] != state.namespace_uid:
            return
        if time.monotonic() > deadline:
            raise CodeblueError(
                f"{state.place} is being deleted and does not go", "see its conditions: kubectl describe namespace"
            )
        time.sleep(_POLL_SECONDS)
