# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds out who uses which secret, and names whoever the inventory does not."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rotation_action import RotationAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import (
    MissingConsumer,
    foreign_sessions,
    look_for_consumers,
    secrets_of,
)

_SECONDS = 20.0


class ActionModule(RotationAction):
    """See plugins/modules/secret_consumers.py."""

    BYPASS_HOST_LOOP = True

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        every = self.every_service()
        machines = [str(name) for name in self._variables["groups"].get("codeblue_machines", [])]
        hostvars = self._variables["hostvars"]
        known = [secret for service in every.values() for secret in secrets_of(service)]
        usage = look_for_consumers(known, hostvars, machines, self.look)
        missing: list[MissingConsumer] = list(usage.missing)
        unseen = list(usage.unseen)
        for service in every.values():
            database = service.require_host().postgresql
            roles = [login for each in service.require_host().credentials.values() for login in each.logins]
            if database is None or not roles:
                continue
            try:
                primary = find_primary(service.name, database, self.look).primary
                call = MachineCall(
                    primary.machine,
                    "codeblue.recovery.postgresql_login_roles",
                    {**login_arguments(database, primary), "roles": roles},
                    _SECONDS,
                    check_mode=True,
                )
                sessions = self.look([call])[0].result_or_raise()["sessions"]
            except CodeblueError as error:
                unseen.append(f"{service.name}: {error.message}")
                continue
            missing += foreign_sessions(service, every, hostvars, sessions)
        said = f"{len(known)} secrets in {usage.files} files, {len(missing)} consumers that the inventory does not name"
        return {
            "changed": False,
            "secrets": len(known),
            "files": usage.files,
            "missing": [str(each) for each in missing],
            "unseen": unseen,
            "codeblue": {"summary": said},
        }
