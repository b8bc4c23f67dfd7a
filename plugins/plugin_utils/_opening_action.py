# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the two actions that come first in a play have in common: they open its run."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import (
    MISSING,
    StepAction,
    codeblue_variables,
)

# A failing import at the top of an action plugin would abort the whole play, past rescue. It is said in run().
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opener import RunOpener

    _MISSING = MISSING
except ImportError as error:
    _MISSING = error

OPENING_ARGUMENTS: dict[str, t.Any] = {
    "runbook": {"type": "str", "required": True},
    "run_id": {"type": "str"},
    "because": {"type": "str"},
    "accept": {"type": "list", "elements": "str", "default": []},
}


class OpeningAction(StepAction):
    """Base of `run_open` and `diagnose`."""

    MISSING_IMPORT = _MISSING

    def opener(self, arguments: Mapping[str, t.Any], services: Mapping[str, Service]) -> RunOpener:
        """The opening that the task's arguments ask for, checked.

        :raises BadInput: see `RunOpener`.
        """
        hostvars = self._variables["hostvars"]
        return RunOpener(
            arguments["runbook"],
            services,
            {name: codeblue_variables(hostvars[name]) for name in services},
            {name: hostvars[name] for name in self.service_names()},
            run_id=arguments["run_id"],
            because=arguments["because"],
            accept=arguments["accept"],
        )

    def service_names(self) -> list[str]:
        """All services of the inventory, whatever `--limit` says."""
        return [str(name) for name in self._variables["groups"].get("codeblue_services", self.targets)]
