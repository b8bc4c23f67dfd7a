# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs of the pods of a workload on Kubernetes, and what in them is about patients: counts and keyed digests.

A log is read whole, as far as its node keeps it in one file; kubelets begin a new one at 10 MiB and give out the last.
It goes through this process and nowhere else, but encrypted as evidence.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._access_log import AccessExtract, read_access
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import Counter, PhiDetector
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    WORKLOAD_RESOURCES,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    ApiUnavailable,
    KubernetesError,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import hash_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import selector_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy

#: Of one container. More than the 10 MiB at which a kubelet begins a new file, unless a site made that more.
WHOLE_LOG = 32 * 1024 * 1024
_MOST_PODS = 50
_MOST_PEOPLE = 50_000

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class PodLog:
    """The log of one container.

    :param hash: of the revision that its pod was made from.
    :param content: each line begins with the time at which it was written.
    :param cut: it is longer than what was read.
    """

    pod: str
    uid: str
    container: str
    hash: str
    content: bytes = field(repr=False)
    previous: bool = False
    cut: bool = False

    @property
    def name(self) -> str:
        """For evidence."""
        return f"log_{self.pod}_{self.container}{'_previous' if self.previous else ''}"


class PodLogs:
    """The logs of one workload. What cannot be read is named in `left_out`."""

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform) -> None:
        self._client = client
        self._place = place
        self.left_out: list[str] = []

    def pods(self) -> list[dict[str, t.Any]]:
        """All that the workload selects, those without a controller among them.

        :raises KubernetesError: they cannot be listed.
        """
        workload = self._place.workload
        manifest = self._client.get(WORKLOAD_RESOURCES[workload.kind], workload.name, self._place.namespace)
        return self._client.list_all(PODS, self._place.namespace, labels=selector_of(manifest))

    def read(
        self, pods: Iterable[Object], most: int = WHOLE_LOG, lines: int | None = None, most_pods: int = _MOST_PODS
    ) -> Iterator[PodLog]:
        """One log after the other, that of a container that ended before its successor's.

        :param most: bytes of each.
        :param lines: only the last of each; None for all.
        """
        for number, pod in enumerate(pods):
            if number >= most_pods:
                self.left_out.append(f"logs of the pods after the first {most_pods}")
                return
            yield from self._of_pod(pod, most, lines)

    def _of_pod(self, pod: Object, most: int, lines: int | None) -> Iterator[PodLog]:
        name, uid = str(pod["metadata"]["name"]), str(pod["metadata"]["uid"])
        status = pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for state in states:
            container = str(state["name"])
            for previous in ([True] if state.get("restartCount") else []) + [False]:
                if not previous and "waiting" in (state.get("state") or {}):
                    continue  # It has not written anything yet.
                try:
                    content = self._client.log(name, container, self._place.namespace, most, previous, lines)
                except ApiUnavailable as error:
                    self.left_out.append(f"{name}/{container}: {error.message}")
                    return
                except KubernetesError as error:
                    self.left_out.append(f"{name}/{container}: {error.message}")
                    continue
                cut = lines is None and len(content) >= most
                revision = hash_of(pod, self._place.workload.kind)
                yield PodLog(name, uid, container, revision, content, previous, cut)


@dataclass
class DirtyPod:
    """A pod of which some log holds patients.

    :param containers: whose, and in how many lines.
    """

    name: str
    uid: str
    hash: str
    containers: dict[str, int] = field(default_factory=dict)


class LogScan:
    """Counts what is in logs, without keeping any of it.

    :param key: of the digests.
    :param since: RFC 3339; what was given before belongs to an earlier breach.
    :param keep_access: keep the lines of accesses for the evidence.
    """

    def __init__(self, policy: PhiPolicy, key: bytes, since: str | None = None, keep_access: bool = False) -> None:
        self._policy = policy
        self._since = since
        self._key = key
        self._detector = PhiDetector(policy.identifiers, policy.fields, policy.ignore)
        self._resource = re.compile(policy.access_resource) if policy.access_resource else None
        self._keep = keep_access
        self.access = AccessExtract(key, _MOST_PEOPLE)
        self.access_lines: list[str] = []
        self.dirty: dict[str, DirtyPod] = {}
        self.kinds: dict[str, int] = {}
        self.people: set[str] = set()
        self.lines = self.lines_read = self.logs = 0
        self.first: str | None = None
        self.truncated = False

    def add(self, log: PodLog) -> None:
        """Count one log."""
        counter = Counter(self._detector, self._key, _MOST_PEOPLE)
        with_access = log.container in self._policy.access_containers
        for raw in log.content.split(b"\n"):
            stamp, _space, text = raw.decode("utf-8", "surrogateescape").partition(" ")
            if not text or (with_access and self._access(text)):
                continue
            before = counter.tally.lines
            counter.line(text)
            if counter.tally.lines > before:
                self.first = min(self.first or stamp, stamp)
        tally = counter.tally
        self.logs += 1
        self.lines += tally.lines
        self.lines_read += tally.lines_read
        self.truncated |= tally.truncated or log.cut
        self.people |= tally.people
        for kind, number in tally.counts.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + number
        if tally.lines:
            pod = self.dirty.setdefault(log.uid, DirtyPod(log.pod, log.uid, log.hash))
            pod.containers[log.container] = pod.containers.get(log.container, 0) + tally.lines

    def evidence(self) -> list[str]:
        """A sentence for each pod, without any of what it says."""
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(self.kinds.items()))
        return [
            f"{sum(pod.containers.values())} lines of the log of pod {pod.name}"
            f" ({', '.join(sorted(pod.containers))}) hold data of patients"
            for pod in sorted(self.dirty.values(), key=lambda each: each.name)
        ] + ([f"of these kinds: {kinds}"] if kinds else [])

    def _access(self, text: str) -> bool:
        """Whether a line is one about an access; one that gave patients to nobody in particular is counted."""
        access = read_access(text, self._policy.access_format, self._policy.access_fields, self._resource)
        if access is None or not access.status or not access.path.startswith("/"):
            return False
        if access.disclosed and not access.subject and not (self._since and access.time < self._since):
            self.access.add(access)
            if self._keep:
                self.access_lines.append(text)
        return True
