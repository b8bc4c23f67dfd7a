# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which process manager runs a unit."""

from __future__ import annotations


class ModuleDocFragment:
    """The option `process`; with REQUIRED for modules that start or stop the unit."""

    DOCUMENTATION = r"""
options:
  process:
    description: The unit that runs the server.
    type: dict
    suboptions:
      manager:
        description: Which process manager.
        type: str
        choices: [supervisor, systemd]
        required: true
      socket:
        description: Path of supervisord's unix socket. Required with O(process.manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
"""

    REQUIRED = r"""
options:
  process:
    description: The unit that runs the server.
    type: dict
    required: true
    suboptions:
      manager:
        description: Which process manager.
        type: str
        choices: [supervisor, systemd]
        required: true
      socket:
        description: Path of supervisord's unix socket. Required with O(process.manager=supervisor).
        type: path
      unit:
        description: Name of the unit, C(program) or C(group:program) for supervisord.
        type: str
        required: true
"""
