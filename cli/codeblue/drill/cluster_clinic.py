"""The lab on a cluster as a drill sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        self._parts = lab.parts
        self._real = look_for_kubelets(self._parts.client)
        self.simulated = _WITH_KUBELETS if self._real else _WITHOUT_KUBELETS

    @property
    def faults(self) -> Mapping[str, DrillFault]:
        return cluster_faults()

    def witness(self, fault: str, scratch: Path) -> Witness:
        from codeblue.drill.workload_witness import WorkloadWitness

        return WorkloadWitness(self.services, cluster_faults()[fault].hits, self._real)

    def break_(self, fault: str) -> Injection:
        return self.lab.break_(fault)

    def heal(self) -> float:
        return self.lab.heal()

    def facts(self) -> dict[str, str]:
        state = self._parts.state
        kubelets = "real" if self._real else "none, pods are simulated"
        return {"Kubernetes": state.place, "kubelets": kubelets, "images": f"{state.image}/…"}

    def wrong_parts(self) -> list[str]:
        return self.lab.deviations()
