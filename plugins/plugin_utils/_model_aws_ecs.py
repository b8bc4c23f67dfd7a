# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service that runs as a service of ECS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# What ECS takes as a name.
_NAME = re.compile(r"[a-zA-Z0-9][-_a-zA-Z0-9]{0,254}")


@dataclass(frozen=True)
class EcsService:
    """What `codeblue_aws.ecs` says.

    :param desired: how many tasks it is to have when nothing later is known; None when the inventory does not say.
    """

    cluster: str
    service: str
    desired: int | None = None

    def __str__(self) -> str:
        return f"ECS service {self.service} of cluster {self.cluster}"


def read_ecs(values: TypedMapping) -> EcsService:
    """Read `codeblue_aws.ecs`; what is wrong goes to the problems of the mapping."""
    found = EcsService(
        cluster=_name(values, "cluster"),
        service=_name(values, "service"),
        desired=values.integer("desired", default=0, least=1) or None,
    )
    values.finish()
    return found


def _name(values: TypedMapping, key: str) -> str:
    text = values.text(key)
    if text and not _NAME.fullmatch(text):
        values.problem(key, f"{quote(text)} is no name in ECS, write letters, digits, '-' and '_'")
    return text
