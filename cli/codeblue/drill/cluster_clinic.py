"""The lab on a cluster as a drill sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.drill.result import DATABASE_CONTENTS, TRAFFIC
from codeblue.drill.site import DrillFault, Site, Witness
from codeblue.lab.injection import Injection
from codeblue.lab.kubernetes.cluster import look_for_kubelets
from codeblue.lab.kubernetes.faults import cluster_faults
from codeblue.lab.kubernetes.lab import KubernetesLab

# What there is none of without kubelets. What the database holds is not counted with them either: which images run
# there is the site's affair.
_WITHOUT_KUBELETS = ("kubelets", TRAFFIC, DATABASE_CONTENTS, "isolation")
_WITH_KUBELETS = (DATABASE_CONTENTS,)


class ClusterClinic(Site):
    """A lab on a cluster that is up."""

    def __init__(self, lab: KubernetesLab) -> None:
        super().__init__(lab.inventory_path)
        self.lab = lab
        self._real = look_for_kubelets(lab.parts.client)
        self.simulated = _WITH_KUBELETS if self._real else _WITHOUT_KUBELETS

    @property
    def faults(self) -> Mapping[str, DrillFault]:
        return cluster_faults()

    def witness(self, fault: str, scratch: Path) -> Witness:
        from codeblue.drill.workload_witness import WorkloadWitness

        return WorkloadWitness(self.services, cluster_faults()[fault].hits, self._real)

    def prepare(self, fault: str) -> str | None:
        from codeblue.drill.preparation import take_snapshot

        services = cluster_faults()[fault].needs_snapshot
        return take_snapshot(self.inventory_path, services) if services else None

    def lose_a_part(self) -> str | None:
        lost = self.lab.parts.delete_one_pod_each()
        return f"{len(lost)} pods, one of each workload; others come by themselves"

    def wait_whole(self) -> None:
        if left := self.lab.parts.wait_complete():
            raise CodeblueError(f"a pod that was lost does not come back by itself: {left[0]}")

    def break_(self, fault: str) -> Injection:
        return self.lab.break_(fault)

    def heal(self) -> float:
        return self.lab.heal()

    def facts(self) -> dict[str, str]:
        state = self.lab.state
        kubelets = "real" if self._real else "none, pods are simulated"
        return {"Kubernetes": state.place, "kubelets": kubelets, "images": f"{state.image}/…"}

    def wrong_parts(self) -> list[str]:
        return self.lab.deviations()
