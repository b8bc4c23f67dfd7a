"""Simulated: a node whose pods become ready, fail or take their time, as the tag of their first image says.

- `…:bad`: the image cannot be pulled
- `…:crash`: the process ends over and over
- `…:unready`: it runs and never becomes ready
- `…:needs-NAME`: it becomes ready if the Secret NAME is there when its pod is seen first, else it waits for it
- `…:behind-NAME`: the process ends over and over when it was started while the Service NAME had no ready pod
- anything else: it becomes ready at once

Pods of the Jobs of a recovery end as `simulated_jobs` says.

A pod that refers to a Secret or ConfigMap, or to a key of one, that is not there when it is seen first waits for it.

Pods are real objects that real controllers made; only what a kubelet would write is written here.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import typing as t
from pathlib import Path

import urllib3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import wanted_references
from simulated_jobs import as_message, contents_of, found_by, is_of_a_recovery, run_locally
from simulated_kubelet import SimulatedKubelet

NODE = "simulated-0"
_CAPACITY = {"cpu": "32", "memory": "64Gi", "pods": "250"}
# After each the lease is renewed, as a kubelet does.
_WATCH_SECONDS = 10
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
_PODS = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}"


class SimulatedNode:
    """Registers a node and plays its kubelet in threads of this process.

    :param kubeconfig: of an account that may do everything.
    :param directory: private, for what answers for logs; None where the API server cannot reach this process.
    """

    def __init__(self, kubeconfig: Path, directory: Path | None = None) -> None:
        self._api = ClusterAccess(str(kubeconfig)).connect()
        self._ended = threading.Event()
        self._addresses: dict[str, str] = {}
        self._watching: t.Any = None
        #: For Jobs with an image of the tag `local`: where the real database of a test is.
        self.local: dict[str, str] = {}
        self._tags: dict[tuple[str, str], str] = {}
        self._kubelet = SimulatedKubelet(directory, self._tag_of) if directory is not None else None
        self._thread = threading.Thread(target=self._run, name="simulated-node", daemon=True)

    def start(self) -> None:
        """Register the node; its pods are looked after from now on."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"simulated": "true"}}}
        self._call("POST", "/api/v1/nodes", node)
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "lastHeartbeatTime": _now()}
        status: dict[str, t.Any] = {"capacity": _CAPACITY, "allocatable": _CAPACITY, "conditions": [ready]}
        status |= self.reached_at
        self._call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status})
        lease = {"holderIdentity": NODE, "leaseDurationSeconds": 3600, "renewTime": _now(precise=True)}
        manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}, "spec": lease}
        self._call("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", manifest)
        self._call("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"taints": None}})
        self._thread.start()

    @property
    def reached_at(self) -> dict[str, object]:
        """The part of its status that says where logs are asked for."""
        return self._kubelet.status if self._kubelet is not None else {}

    def stop(self) -> None:
        """End it; pods stay as they are."""
        if self._kubelet is not None:
            self._kubelet.stop()
        self._ended.set()
        if self._watching is not None:
            self._watching.close()
        self._thread.join(timeout=5)

    def remove(self) -> None:
        """Take the node away, in a cluster that goes on."""
        self._call("DELETE", f"/api/v1/nodes/{NODE}")

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                # Controllers of a cluster that others run take a node that is silent for dead.
                self._call("PATCH", _LEASE, {"spec": {"renewTime": _now(precise=True)}})
                found = self._call("GET", _PODS)
                for pod in found["items"]:
                    self._seen(pod)
                self._watch(found["metadata"]["resourceVersion"])
            except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, AttributeError):
                # The API server restarts in some tests; a kubelet asks again as well.
                self._ended.wait(0.1)

    def _watch(self, version: str) -> None:
        path = f"{_PODS}&watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
        self._watching = self._answer("GET", path)
        rest = b""
        for chunk in self._watching.stream(4096, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    self._seen(event["object"])
                elif event["type"] == "ERROR":
                    return

    def _seen(self, pod: dict[str, t.Any]) -> None:
        """Do what the kubelet would do next for this pod."""
        place = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self._tags[pod["metadata"]["namespace"], pod["metadata"]["name"]] = _tag(pod)
        if pod["metadata"].get("deletionTimestamp"):
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            self._call("DELETE", place, options)
        elif not (pod.get("status") or {}).get("containerStatuses") and is_of_a_recovery(pod):
            self._work(pod, place)
        elif not (pod.get("status") or {}).get("containerStatuses"):
            body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": self._status(pod)}
            self._call("PATCH", f"{place}/status", body)

    def _work(self, pod: dict[str, t.Any], place: str) -> None:
        """Do what the Job of this pod does."""
        tag, namespace = _tag(pod), pod["metadata"]["namespace"]
        code, message = 0, ""
        if self._lacks(pod):
            self._call("PATCH", f"{place}/status", {"status": self._status(pod)})
            return
        name = str(pod["metadata"]["labels"]["job-name"])
        if tag == "fails" or (tag.startswith("fails-") and f"-{tag[6:-2]}-" in name and name.endswith(tag[-2:])):
            code, message = 1, as_message([{"failed": "it was made to fail"}])
        elif tag == "local":
            code, message = run_locally(pod, lambda name: self._secret(namespace, name), self.local)
        elif tag != "hangs":
            path = f"/api/v1/namespaces/{namespace}/configmaps/{contents_of(pod)}"
            state = (self._call("GET", path).get("data") or {}).get("state", "clean")
            lines, after = found_by(pod, state)
            message = as_message(lines)
            if after != state:
                self._call("PATCH", path, {"data": {"state": after}})
        ended = {"exitCode": code, "message": message, "startedAt": _now(), "finishedAt": _now()}
        running = tag == "hangs"
        container = pod["spec"]["containers"][0]
        status = {
            "phase": "Running" if running else "Failed" if code else "Succeeded",
            "startTime": _now(),
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": _now()}} if running else {"terminated": ended},
                }
            ],
        }
        self._call("PATCH", f"{place}/status", {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status})

    def _secret(self, namespace: str, name: str) -> dict[str, str]:
        found = self._call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return t.cast("dict[str, str]", found["data"])

    def _status(self, pod: dict[str, t.Any]) -> dict[str, t.Any]:
        tag = _tag(pod)
        if tag.startswith("behind-") and not self._answers(pod["metadata"]["namespace"], tag.removeprefix("behind-")):
            tag = "crash"
        lacks = self._lacks(pod) or (
            tag.startswith("needs-") and not self._is_there(pod["metadata"]["namespace"], tag.removeprefix("needs-"))
        )
        ready = tag not in ("bad", "crash", "unready") and not lacks
        address = self._addresses.setdefault(pod["metadata"]["uid"], f"10.244.0.{len(self._addresses) % 250 + 1}")
        conditions = [
            {"type": kind, "status": "True" if good else "False", "lastTransitionTime": _now()}
            for kind, good in (("Initialized", True), ("ContainersReady", ready), ("Ready", ready))
        ]
        return {
            "phase": "Pending" if tag == "bad" else "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": _now(),
            "conditions": conditions,
            "containerStatuses": [
                _container(each, "lacks" if lacks else tag, ready) for each in pod["spec"]["containers"]
            ],
        }

    def _lacks(self, pod: dict[str, t.Any]) -> bool:
        """Something that its containers or volumes want is not there."""
        for each in wanted_references({"spec": {"template": {"spec": pod["spec"]}}}):
            if each.name == "kube-root-ca.crt":
                # Every pod mounts it; its controller makes it a moment after the namespace.
                continue
            plural = {"Secret": "secrets", "ConfigMap": "configmaps"}[each.kind]
            found = self._call("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/{plural}/{each.name}")
            if found.get("kind") != each.kind or (each.key is not None and each.key not in (found.get("data") or {})):
                return True
        return False

    def _is_there(self, namespace: str, secret: str) -> bool:
        return self._call("GET", f"/api/v1/namespaces/{namespace}/secrets/{secret}").get("kind") == "Secret"

    def _answers(self, namespace: str, service: str) -> bool:
        """Whether a Service leads to a pod that is ready."""
        labels = f"labelSelector=kubernetes.io%2Fservice-name%3D{service}"
        found = self._call("GET", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{labels}")
        endpoints = [each for part in found["items"] for each in part.get("endpoints") or ()]
        return any(each["conditions"].get("ready") for each in endpoints)

    def _tag_of(self, namespace: str, name: str) -> str:
        return self._tags.get((namespace, name), "")

    def _call(self, method: str, path: str, body: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        answer = self._answer(method, path, body)
        found = json.loads(answer.data or b"{}")
        return t.cast("dict[str, t.Any]", found)

    def _answer(self, method: str, path: str, body: dict[str, t.Any] | None = None) -> t.Any:
        content = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        return self._api.rest_client.pool_manager.request(
            method,
            self._api.configuration.host + path,
            body=json.dumps(body) if body is not None else None,
            headers={"Content-Type": content},
            preload_content=False,
            timeout=urllib3.Timeout(connect=2, read=_WATCH_SECONDS + 5),
        )


def _tag(pod: dict[str, t.Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"]).rpartition(":")[2]


def _container(container: dict[str, t.Any], tag: str, ready: bool) -> dict[str, t.Any]:
    waiting = {
        "bad": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{container["image"]}"'},
        "lacks": {"reason": "CreateContainerConfigError", "message": "secret not found"},
        "crash": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
    }.get(tag)
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 3 if tag == "crash" else 0,
        "state": {"waiting": waiting} if waiting else {"running": {"startedAt": _now()}},
    }


def _now(precise: bool = False) -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if precise else "%Y-%m-%dT%H:%M:%SZ")
