# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A connection to a machine of the inventory, opened from a task that belongs to a service."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar


def connect(action: ActionBase, variables: Mapping[str, t.Any], templar: Templar) -> t.Any:
    """A connection to the machine with its own options and become, as a task of its own would have got."""
    loaders = action._shared_loader_obj
    play_context = action._play_context.copy()
    name = templar.template(variables.get("ansible_connection", action._task.connection or "ssh"))
    address = templar.template(variables.get("ansible_host", variables.get("inventory_hostname")))
    play_context.remote_addr = address
    # At -vvv the ssh plugin shows what came back, and a look at a machine can bring a secret that is kept there.
    play_context.no_log = True
    connection = loaders.connection_loader.get(
        name, play_context, task_uuid=action._task._uuid, ansible_playbook_pid=str(os.getppid())
    )
    if connection is None:
        raise AnsibleError(f"the connection plugin {name!r} was not found")
    task_keys = action._task.dump_attrs()
    task_keys["timeout"] = play_context.timeout
    if play_context.password:
        task_keys["password"] = play_context.password
    task_keys.pop("retries", None)
    _use_become(action, connection, variables, templar, task_keys)
    connection.set_options(
        task_keys=task_keys, var_options={"_extras": {}, **_options("connection", connection, variables, templar)}
    )
    # Without pipelining a module's arguments, secrets among them, would lie in a file on the machine.
    if connection.has_pipelining and "pipelining" in connection._options:
        connection.set_option("pipelining", True)
    shell = connection._shell
    shell.set_options(task_keys=task_keys, var_options=_options("shell", shell, variables, templar))
    return connection


def _use_become(
    action: ActionBase, connection: t.Any, variables: Mapping[str, t.Any], templar: Templar, task_keys: dict[str, t.Any]
) -> None:
    wanted = variables.get("ansible_become")
    become = action._task.become if wanted is None else templar.template(wanted)
    if not become or str(become).lower() in ("false", "no", "0"):
        connection.set_become_plugin(None)
        return
    method = templar.template(variables.get("ansible_become_method", action._task.become_method or "sudo"))
    plugin = action._shared_loader_obj.become_loader.get(method)
    if plugin is None:
        raise AnsibleError(f"the become method {method!r} was not found")
    if action._play_context.become_pass:
        task_keys["become_pass"] = action._play_context.become_pass
    plugin.set_options(task_keys=task_keys, var_options=_options("become", plugin, variables, templar))
    connection.set_become_plugin(plugin)


def _options(kind: str, plugin: t.Any, variables: Mapping[str, t.Any], templar: Templar) -> dict[str, t.Any]:
    known = C.config.get_plugin_vars(kind, plugin._load_name)
    return {name: templar.template(variables[name]) for name in known if name in variables}
