"""The lab on a cluster as a drill sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_enforcement import look_for_enforcement

from codeblue.drill.result import DATABASE_CONTENTS, ISOLATION, TRAFFIC
from codeblue.drill.runbook_command import RunbookCommand
from codeblue.drill.site import DrillFault, Site, Witness
from codeblue.lab.injection import Injection
from codeblue.lab.kubernetes.cluster import look_for_kubelets
from codeblue.lab.kubernetes.faults import cluster_faults
from codeblue.lab.kubernetes.lab import KubernetesLab

# What there is none of without kubelets. What the database holds is not counted with them either: which images run
# there is the site's affair.
_WITHOUT_KUBELETS = ("kubelets", TRAFFIC, DATABASE_CONTENTS, ISOLATION)
_WITH_KUBELETS = (DATABASE_CONTENTS,)
_WHOLE_SECOND = 1.0
_RELEASE = "release_service"


class ClusterClinic(Site):
    """A lab on a cluster that is up."""

    def __init__(self, lab: KubernetesLab) -> None:
        super().__init__(lab.inventory_path)
        self.lab = lab
        self._real = look_for_kubelets(lab.parts.client)
        self.simulated = _WITHOUT_KUBELETS
        if self._real:
            enforced = look_for_enforcement(lab.parts.client, lab.parts.namespace).by
            self.simulated = _WITH_KUBELETS if enforced else (*_WITH_KUBELETS, ISOLATION)

    @property
    def faults(self) -> Mapping[str, DrillFault]:
        return cluster_faults()

    def witness(self, fault: str, scratch: Path) -> Witness:
        from codeblue.drill.workload_witness import WorkloadWitness

        known = cluster_faults()[fault]
        return WorkloadWitness(self.services, known.hits, self._real, known.signals)

    def prepare(self, fault: str) -> str | None:
        from codeblue.drill.preparation import take_snapshot

        services = cluster_faults()[fault].needs_snapshot
        return take_snapshot(self.inventory_path, services) if services else None

    def keep_baseline(self) -> str:
        kept = super().keep_baseline()
        # An API server tells in whole seconds when a release came: it is to come in a later one than that.
        time.sleep(_WHOLE_SECOND)
        return kept

    def is_left_to_person(self, fault: str) -> bool:
        return cluster_faults()[fault].left_to_person

    def not_contained(self, fault: str) -> list[str]:
        return cluster_faults()[fault].not_contained(self.lab.parts)

    def give_back(self, fault: str) -> str:
        known = cluster_faults()[fault]
        known.give_back(self.lab.parts)
        for service in known.hits:
            command = RunbookCommand(_RELEASE, self.inventory_path, ("--limit", service))
            try:
                command.start()
                report = command.wait()
            finally:
                command.stop()
            if report.exit_code != 0:
                raise CodeblueError(f"{_RELEASE} of {service} ended as {report.outcome}: {report.why}")
        return f"codeblue run {_RELEASE} --limit {','.join(known.hits)}"

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
