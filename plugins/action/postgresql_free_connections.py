# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends the sessions that exhaust a database's places, and keeps their owner from taking them again."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction


class ActionModule(StepAction):
    """See plugins/modules/postgresql_free_connections.py."""

    STAGE = "isolate"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "connection_limit": {"type": "int", "default": 3},
        "idle_seconds": {"type": "float", "default": 0.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        diagnosis = arguments["diagnosis"]
        offender = diagnosis.get("offender")
        if not offender or not offender.get("may_be_ended"):
            who = f"{offender['user']}, a role of the service itself" if offender else "nobody who sticks out"
            raise CodeblueError(
                f"{self.target}: the places are held by {who}",
                "restart the instances that hold them one after the other, see the runbook's branch restart_own_leak",
            )
        member = database.members[diagnosis["primary"]]
        ended = self.change(
            Change(
                action=f"end_sessions_{offender['user']}",
                machine=member.machine,
                module="postgresql_end_sessions",
                arguments={
                    **login_arguments(database, member),
                    "users": [offender["user"]],
                    "idle_seconds": arguments["idle_seconds"],
                    "service_roles": list(database.service_roles),
                    "connection_limit": arguments["connection_limit"],
                },
                decision={"offender": offender, "reason": "it holds the places with idle sessions"},
            )
        ).result
        verb = "would end" if self.check_mode else "ended"
        return {
            "changed": bool(ended.get("changed")),
            "ended": ended.get("ended"),
            "undo": ended.get("undo"),
            "codeblue": {
                "summary": f"{verb} {ended.get('ended', 0)} idle sessions of {offender['user']} and limited it to "
                f"{arguments['connection_limit']}"
            },
        }
