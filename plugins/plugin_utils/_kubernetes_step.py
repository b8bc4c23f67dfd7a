# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that change something in a cluster have in common: the connection and the workload."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import VERSION_KIND
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._proven_steps import MISSING as _MISSING_STORE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._proven_steps import NotProven, ProvenSteps

# Half a second for the official client, once per ansible-playbook: its workers are forks and find it imported. A
# failing import here would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Budget, KubernetesClient
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import KubernetesWorkload

    MISSING: ImportError | None = _MISSING_STORE
except ImportError as error:
    MISSING = error

__all__ = ["MISSING", "KubernetesStepAction", "NotProven"]


class KubernetesStepAction(ProvenSteps):
    """Base of these actions. `act` calls `connect` first."""

    MISSING_IMPORT = MISSING

    def connect(self, service: Service, seconds: float) -> None:
        """Get ready to ask the API server of a service.

        :param seconds: for all calls together.
        :raises CodeblueError: there are no usable credentials.
        """
        self._place = service.require_kubernetes()
        self._client = KubernetesClient(ClusterAccess(self._place.kubeconfig, self._place.context), Budget(seconds))
        self._workload = KubernetesWorkload(self._client, self._place)
        self.begin_telling()

    def marked(self) -> set[str]:
        """Versions of the workload that are marked bad."""
        return self.marked_bad(VERSION_KIND)
