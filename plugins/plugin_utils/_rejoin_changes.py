# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making a standby of a member, as one journalled step."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import member_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_START_SECONDS = 10.0
_NO_SLOT_NAME = re.compile(r"[^a-z0-9_]")


def rejoin_change(
    database: HostDatabase,
    primary: Member,
    member: Member,
    slot: str,
    strategy: str,
    seconds: float,
    unneeded_slots: Sequence[str] = (),
) -> Change:
    """Have a member stream from the primary.

    :param slot: at the primary.
    :param strategy: as the module `postgresql_rejoin` takes it.
    :param unneeded_slots: of the member, to be dropped when nobody streams by them.
    """
    source: dict[str, t.Any] = {
        "address": primary.address,
        "port": primary.port,
        "admin_user": database.admin_user,
        "database": database.database,
        "replication_user": database.replication_user,
    }
    if database.admin_passfile is not None:
        # One file on the member's machine, with a line for each of the two roles.
        source["admin_passfile"] = database.admin_passfile
    return Change(
        action=f"rejoin_{member.machine}",
        machine=member.machine,
        module="postgresql_rejoin",
        arguments={
            **member_arguments(database, member),
            "strategy": strategy,
            "source": source,
            "slot": slot,
            "unneeded_slots": list(unneeded_slots),
            "application_name": member.machine,
            "timeout": seconds,
        },
        decision={"primary": primary.machine, "strategy": strategy},
        seconds=seconds + _START_SECONDS,
    )


def slot_of(primary_status: Mapping[str, t.Any], machine: str, prefix: str) -> str:
    """A slot that the primary keeps for this member already, else one named after it.

    :param primary_status: what `postgresql_status` says about the primary.
    """
    named, prefixed = slot_names(machine, prefix)
    known = {str(slot.get("name")) for slot in primary_status.get("slots") or [] if slot.get("type") == "physical"}
    return named if named in known and prefixed not in known else prefixed


def slot_names(machine: str, prefix: str) -> tuple[str, str]:
    """The names that a slot for this member may have."""
    named = _NO_SLOT_NAME.sub("_", machine.lower())
    return named, f"{prefix}{named}"
