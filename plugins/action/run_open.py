# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opens a run for all targets of a play, or takes an unfinished one up again."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._opening_action import OPENING_ARGUMENTS, OpeningAction


class ActionModule(OpeningAction):
    """See plugins/modules/run_open.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "open"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = OPENING_ARGUMENTS

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        opener = self.opener(arguments, self.services(self.targets))
        said = {**opener.about, "targets": self.targets}
        target = ", ".join(self.targets)
        if self.check_mode:
            return {
                **said,
                "run_id": None,
                "resumed": False,
                "codeblue": {"target": target, "summary": opener.would_open},
            }
        opened = opener.open(opener.earlier())
        return {
            **said,
            "run_id": opened.run_id,
            "resumed": opened.resumed,
            "change_id": opened.change_id,
            "incident_id": opened.incident_id,
            "codeblue": {"target": target, "summary": opened.summary},
        }
