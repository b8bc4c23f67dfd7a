# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module of the collection promises."""

from __future__ import annotations


class ModuleDocFragment:
    """Descriptions of the attributes; a module says how far it supports each. CONTROLLER is for actions."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Says what would change without changing anything, taking a lock or leaving a file.
  diff_mode:
    description: Returns RV(ignore:diff) with the state before and after.
  idempotent:
    description: Changes nothing and says so when the wanted state is there already.
"""

    CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Runs on the controller as an action, and reaches machines by the modules of this collection.
    support: full
notes:
  - Changes something, or writes the record, only while M(codeblue.recovery.run_open) has opened a run for the target
    in the same C(ansible-playbook) process. Otherwise it fails with C(exit_code=3) and nothing was touched.
"""
