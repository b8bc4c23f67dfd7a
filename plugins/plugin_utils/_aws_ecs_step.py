# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that change a service of ECS have in common: the service, and who else may set what they set."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING as _MISSING_CLIENT
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import AwsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

# A failing import here would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import OWN_CONTROLLER, EcsLook
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_waiter import EcsWaiter
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_ecs import VERSION_KIND

    MISSING: ImportError | None = _MISSING_CLIENT
except ImportError as error:
    MISSING = error

__all__ = ["MISSING", "EcsStepAction", "NotProven"]

_HOW: Mapping[str, str] = {
    "CODE_DEPLOY": "roll back in CodeDeploy: aws deploy stop-deployment --auto-rollback-enabled",
    "EXTERNAL": "roll back where its task sets are made, such as in the pipeline that deploys it",
}


class EcsStepAction(AwsStepAction):
    """Base of these actions. `act` calls `connect_ecs` first."""

    MISSING_IMPORT = MISSING

    def connect_ecs(self, service: Service, seconds: float) -> EcsLook:
        """Get ready, and look at the service.

        :param seconds: for all calls together.
        :raises BadInput: the inventory names no service of ECS.
        :raises CodeblueError: it cannot be looked at.
        """
        self.connect(service, seconds)
        if self._place.ecs is None:
            raise BadInput(f"{service.name}: codeblue_aws.ecs is missing", "name the cluster and the service of ECS")
        self._ecs = self._place.ecs
        self._waiter = EcsWaiter(self._account, self._ecs, self.renew)
        return self._waiter.read()

    def marked(self) -> set[str]:
        """Task definitions that are marked bad."""
        return self.marked_bad(VERSION_KIND)

    def refuse_other_controller(self, look: EcsLook) -> None:
        """Deployments that another controller carries out are its own.

        :raises Refused: another one does.
        """
        if look.controller != OWN_CONTROLLER:
            raise Refused(
                f"{self._ecs}: {look.controller} carries out its deployments, nothing was changed",
                _HOW.get(look.controller, "have it deploy the last good one"),
            )
