# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which step of which run a changing module is doing."""

from __future__ import annotations


class ModuleDocFragment:
    """The option `step`."""

    DOCUMENTATION = r"""
options:
  step:
    description:
      - Which step of which run this is. The action of the same name fills it in after it has passed the gates.
      - Needed unless the module runs in check mode.
    type: dict
    suboptions:
      run_id:
        description: Of the run.
        type: str
        required: true
      target:
        description: The service that is recovered. One step at a time changes it.
        type: str
        required: true
      key:
        description: Names the step within the run. A step that was finished here is not done again.
        type: str
        required: true
      generation:
        description: Of the lease. A lower one than was seen here before is refused.
        type: int
        required: true
      lock_dir:
        description: Directory on the machine for the lock, the generation and the receipts. Made when it is missing.
        type: path
        default: /var/lib/codeblue
      yields:
        description: Another step may end this one when it wants the target. A snapshot does not hold up an emergency.
        type: bool
        default: false
  reconcilers:
    description:
      - Who of the site's own keeps what on this machine. The action fills it in from C(codeblue_reconcilers).
      - One that is at work on what is about to change is suspended first, or the change is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: As people know it.
        type: str
        required: true
      owns:
        description: Patterns of paths that it puts back.
        type: list
        elements: str
        default: []
      restarts:
        description: Units that it starts again.
        type: list
        elements: str
        default: []
      process:
        description: The unit that it runs as; stopping it suspends it.
        type: dict
        suboptions:
          manager:
            description: Which process manager.
            type: str
            choices: [supervisor, systemd]
            required: true
          socket:
            description: Path of supervisord's unix socket. Required with O(reconcilers[].process.manager=supervisor).
            type: path
          unit:
            description: Name of the unit, also of a timer.
            type: str
            required: true
      status_command:
        description: Program and arguments; ends with 0 while it is at work. Needed with the two below.
        type: list
        elements: str
        default: []
      suspend_command:
        description: Suspends it.
        type: list
        elements: str
        default: []
      resume_command:
        description: Gives it back.
        type: list
        elements: str
        default: []
      advice:
        description: What a person does instead, where it has no switch.
        type: str
"""
