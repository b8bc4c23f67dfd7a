"""The data of the database on a cluster are damaged, while everything works.

What a database of the lab holds is simulated where there are no kubelets: its state stands in a ConfigMap, which the
monitoring reads and which the simulated Jobs of a recovery read and mend.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.lab.kubernetes.cluster import look_for_kubelets
from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.signals import CONTENTS, DATA_INTEGRITY

_RUNBOOK = "data_corruption_detected"
_DATABASE = ("patient_db",)
# Six Jobs, one after the other, with the writers away.
_SECONDS = 120.0


@dataclass(frozen=True)
class DamagedData(ClusterFault):
    """Somebody damages the data.

    :param state: what becomes of them.
    """

    state: str = "damaged"

    def damage(self, parts: ClusterParts) -> None:
        if look_for_kubelets(parts.client):
            raise BadInput(
                f"fault {self.name} is simulated: real Jobs would look at the real database",
                "drill it with: python tests/kubernetes/local_cluster.py",
            )
        for service in self.hits:
            name = f"{parts.workload_of(service).name}{CONTENTS}"
            parts.patch("ConfigMap", name, "/data/state", self.state)


DATA_FAULTS: tuple[ClusterFault, ...] = (
    DamagedData(
        "patient_db_overwritten",
        "rows of patient_db are overwritten, which is simulated",
        _DATABASE,
        _RUNBOOK,
        _SECONDS,
        signals=(DATA_INTEGRITY,),
        state="damaged",
    ),
    DamagedData(
        "patient_db_table_dropped",
        "a table of patient_db is dropped, which is simulated",
        _DATABASE,
        _RUNBOOK,
        _SECONDS,
        signals=(DATA_INTEGRITY,),
        state="dropped",
    ),
)
