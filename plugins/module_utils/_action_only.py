# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Modules that document an action of the same name, which does the work on the controller."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule


def run_action_only_module(argument_spec: t.Dict[str, t.Any]) -> None:
    """Refuse to be run on a machine.

    Ansible takes the action of a name before the module, so this is reached only when an installation lacks it.

    :param argument_spec: the arguments of the action, so that `ansible-test` holds the documentation against them.
    """
    AnsibleModule(argument_spec=argument_spec, supports_check_mode=True).fail_json(
        msg="this runs on the controller, as an action: plugins/action of codeblue.recovery is missing there "
        "(install the whole collection)"
    )
