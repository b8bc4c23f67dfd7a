# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a task that calls this module through the gate."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_module_action import MachineModuleAction


class ActionModule(MachineModuleAction):
    """See plugins/modules/infrastructure_look.py."""
