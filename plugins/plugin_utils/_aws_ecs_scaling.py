# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Application Auto Scaling of a service of ECS: suspended while the service is to have no tasks, and resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import SUSPENSIONS, EcsLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import resource_id

#: Under this kind the store keeps what runs have suspended, as `in+out`; `nothing` when they have resumed it.
SCALING_KIND = "aws_ecs_scaling"
NOTHING = "nothing"
_DIMENSION = "ecs:service:DesiredCount"


def set_suspended(account: AwsAccount, look: EcsLook, parts: Sequence[str], suspended: bool) -> None:
    """Suspend or resume parts of it; its bounds stay. Saying it twice does no harm.

    :param parts: of `in`, `out` and `scheduled`; the others stay as they are.
    :raises AwsError: it was not changed.
    """
    off = {name: name not in (look.scaler.active if look.scaler is not None else ()) for name in SUSPENSIONS}
    off |= dict.fromkeys(parts, suspended)
    account.ask(
        "application-autoscaling",
        "register_scalable_target",
        about=look.name,
        ServiceNamespace="ecs",
        ResourceId=resource_id(look),
        ScalableDimension=_DIMENSION,
        SuspendedState={SUSPENSIONS[name]: value for name, value in off.items()},
    )


def command(look: EcsLook, parts: Sequence[str], suspended: bool) -> str:
    """The same for a person."""
    state = json.dumps({SUSPENSIONS[name]: suspended for name in parts}, separators=(",", ":"))
    return (
        "aws application-autoscaling register-scalable-target --service-namespace ecs"
        f" --resource-id {resource_id(look)} --scalable-dimension {_DIMENSION} --suspended-state '{state}'"
    )
