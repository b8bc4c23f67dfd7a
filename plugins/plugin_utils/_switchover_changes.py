# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps of a planned switchover, there and back, as journalled changes.

A `Switch` is what was decided before the first of them. It stands in the journal, and a resumed run goes on from it:
the members look different by then.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway, HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import (
    login_arguments,
    member_arguments,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rejoin_changes import rejoin_change, slot_names
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_AROUND_SECONDS = 10.0
#: First words of the actions of the way back.
BACK = "back_"
STOP = "stop_old"
LEAD = "lead_to_new"


@dataclass(frozen=True)
class Switch:
    """From which member to which.

    :param followers: members that are to follow the new primary, the old one among them.
    :param slots: of each follower at the new primary.
    :param gateway_before: member to `ready`, `drain` or `maint`, as the gateway had it.
    """

    old: str
    new: str
    system_identifier: str
    followers: tuple[str, ...]
    slots: Mapping[str, str]
    gateway_before: Mapping[str, str]

    def as_decision(self) -> dict[str, t.Any]:
        """For the journal."""
        return {"switch": asdict(self)}

    @staticmethod
    def from_decision(decision: Mapping[str, t.Any]) -> Switch:
        """Out of the journal."""
        kept = dict(decision["switch"])
        return Switch(**{**kept, "followers": tuple(kept["followers"])})


class SwitchChanges:
    """Makes the changes of one switch.

    :param slot_prefix: a member's replication slot is this and the name of its machine.
    """

    def __init__(self, database: HostDatabase, gateway: Gateway | None, switch: Switch, slot_prefix: str) -> None:
        self._database = database
        self._gateway = gateway
        self._switch = switch
        self._slot_prefix = slot_prefix

    @property
    def old(self) -> Member:
        return self._database.members[self._switch.old]

    @property
    def new(self) -> Member:
        return self._database.members[self._switch.new]

    def hold(self) -> list[Change]:
        """No new session reaches any member, and those that are open are ended."""
        if self._gateway is None:
            return []
        states = dict.fromkeys(self._database.members, "maint")
        return [gateway_change(self._gateway, states, "hold_writes", reason="the primary is about to change")]

    def stop(self, seconds: float) -> Change:
        """Shut the old primary down in order, so that it starts as a standby only."""
        return Change(
            action=STOP,
            machine=self.old.machine,
            module="postgresql_fence",
            arguments={
                **member_arguments(self._database, self.old),
                "state": "fenced",
                "grace": seconds,
                "read_log": True,
                "timeout": seconds + _AROUND_SECONDS,
            },
            decision={**self._switch.as_decision(), "reason": f"{self.new.machine} is to be the primary"},
            seconds=seconds + 3 * _AROUND_SECONDS,
        )

    def promote(self, end_lsn: str | None, seconds: float) -> Change:
        """Promote the new primary, which must have received all of the old one's log.

        :param end_lsn: where the old primary's log ends; None in a plan, before it has ended.
        """
        arguments: dict[str, t.Any] = {
            **login_arguments(self._database, self.new),
            "system_identifier": self._switch.system_identifier,
            "slots": [self._switch.slots[name] for name in self._switch.followers],
            "timeout": seconds,
        }
        if end_lsn is not None:
            arguments |= {"primary_lsn": end_lsn, "maximum_loss_bytes": 0}
        return Change(
            action="promote_new",
            machine=self.new.machine,
            module="postgresql_promote",
            arguments=arguments,
            decision={"reason": f"{self.old.machine} is shut down, its log ends at {end_lsn}"},
            seconds=seconds + _AROUND_SECONDS,
        )

    def lead(self) -> list[Change]:
        """The gateway leads to the new primary, over restarts too."""
        if self._gateway is None:
            return []
        states = {name: "ready" if name == self.new.machine else "maint" for name in self._database.members}
        return [gateway_change(self._gateway, states, LEAD, reason=f"{self.new.machine} is the primary")]

    def rejoin(self, seconds: float) -> list[Change]:
        """Everybody who streamed before streams from the new primary, without a copy."""
        return [
            rejoin_change(
                self._database,
                self.new,
                self._database.members[name],
                self._switch.slots[name],
                "rewind",
                seconds,
                # What the old primary kept for its standbys would hold its own log for ever.
                unneeded_slots=[
                    slot
                    for other in self._database.members
                    if other != name
                    for slot in slot_names(other, self._slot_prefix)
                ],
            )
            for name in self._switch.followers
        ]

    # -- the way back ------------------------------------------------------------------------------------------

    def back_release(self, reason: str) -> Change:
        """The old primary may start as a primary again."""
        return Change(
            action=f"{BACK}release",
            machine=self.old.machine,
            module="postgresql_fence",
            arguments={**member_arguments(self._database, self.old), "state": "released"},
            decision={"reason": reason},
            seconds=30.0,
        )

    def back_start(self, seconds: float) -> Change:
        """Start it."""
        return Change(
            action=f"{BACK}start",
            machine=self.old.machine,
            module="postgresql_start",
            arguments={**member_arguments(self._database, self.old), "timeout": seconds},
            decision={"reason": f"{self.old.machine} stays the primary"},
            seconds=seconds + _AROUND_SECONDS,
        )

    def back_gateway(self) -> list[Change]:
        """Every server as it was."""
        if self._gateway is None:
            return []
        return [gateway_change(self._gateway, self._switch.gateway_before, f"{BACK}gateway", reason="as before")]
