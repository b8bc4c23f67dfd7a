# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which member of a database takes writes now, by what the members themselves say."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import member_arguments

# postgresql_status looks for 3 s at most; the rest is for the connection and the start of Python.
_LOOK_SECONDS = 8.0


@dataclass(frozen=True)
class Members:
    """The members as they are now.

    :param answers: what `postgresql_status` said, by machine.
    """

    database: HostDatabase
    primary: Member
    answers: Mapping[str, MachineAnswer]

    def status(self, machine: str) -> dict[str, t.Any]:
        """What one member said; empty when it could not be asked."""
        return self.answers[machine].result or {}

    def streams(self, machine: str) -> bool:
        """The primary sends the log to this member, and the member runs as a standby."""
        return self.status(machine).get("in_recovery") is True and any(
            each.get("name") == machine and each.get("state") == "streaming"
            for each in self.status(self.primary.machine).get("replication") or []
        )


def find_primary(
    service: str, database: HostDatabase, look: Callable[[Sequence[MachineCall]], list[MachineAnswer]]
) -> Members:
    """Ask every member at once.

    :raises Refused: none of them is a primary, or more than one.
    """
    answers = look(
        [
            MachineCall(
                member.machine,
                "codeblue.recovery.postgresql_status",
                member_arguments(database, member),
                _LOOK_SECONDS,
                check_mode=True,
            )
            for member in database.members.values()
        ]
    )
    writable = [
        answer.machine
        for answer in answers
        if answer.result is not None
        and (answer.result.get("sql") or {}).get("answers")
        and answer.result.get("in_recovery") is False
    ]
    if not writable:
        raise Refused(
            f"{service}: no member is a primary that answers",
            "bring it back first: codeblue run database_connection_failure",
        )
    if len(writable) > 1:
        raise Refused(f"{service}: {' and '.join(writable)} both take writes", "fence one of them by hand now")
    return Members(database, database.members[writable[0]], {answer.machine: answer for answer in answers})
