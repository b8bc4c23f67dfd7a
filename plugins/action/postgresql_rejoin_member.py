# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes every member that does not stream a standby of the present primary."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import Members, find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rejoin_changes import rejoin_change, slot_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction


class ActionModule(StepAction):
    """See plugins/modules/postgresql_rejoin_member.py."""

    STAGE = "rejoin"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "strategy": {
            "type": "str",
            "choices": ["rewind", "copy", "rewind_then_copy"],
            "default": "rewind_then_copy",
        },
        "slot_prefix": {"type": "str", "default": "standby_"},
        "timeout": {"type": "float", "default": 600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target} is no database", "choose a service of kind database")
        if database.replication_user is None:
            raise BadInput(f"{self.target}: codeblue_host.postgresql.replication_user is missing", "name the role")
        members = find_primary(self.target, database, self.look)
        away = [member for member in database.members.values() if self._is_away(members, member)]
        primary = members.primary.machine
        if not away:
            return {
                "primary": primary,
                "members": {},
                "codeblue": {"summary": f"every member streams from {primary}"},
            }
        # One after the other: each full copy takes the primary's bandwidth for itself.
        ended = {member.machine: self._rejoin(database, members, member, arguments) for member in away}
        verb = "would bring" if self.check_mode else "brought"
        return {
            "changed": any(result.get("changed") for result in ended.values()),
            "primary": primary,
            "members": {
                machine: {name: result.get(name) for name in ("method", "timeline", "kept_data_dir", "rewind_error")}
                for machine, result in ended.items()
            },
            "codeblue": {
                "summary": f"{verb} back as standby of {primary}: "
                + ", ".join(f"{machine} by {result.get('method')}" for machine, result in ended.items())
            },
        }

    def _is_away(self, members: Members, member: Member) -> bool:
        if member.machine == members.primary.machine:
            return False
        answer = members.answers[member.machine]
        managed = members.status(member.machine).get("managed_by")
        if managed:
            raise Refused(f"{self.target}: {member.machine} is managed by {managed}", f"let {managed} bring it back")
        answer.result_or_raise()
        return not members.streams(member.machine)

    def _rejoin(
        self, database: HostDatabase, members: Members, member: Member, arguments: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        slot = slot_of(members.status(members.primary.machine), member.machine, arguments["slot_prefix"])
        change = rejoin_change(database, members.primary, member, slot, arguments["strategy"], arguments["timeout"])
        return self.change(change).checked().result
