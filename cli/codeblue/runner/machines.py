"""An inventory and its machines without a play: for commands that only look, again and again."""

from __future__ import annotations

import importlib
import os
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugin_loader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import Machines
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services

from codeblue.runner.collection import collections_path

_SERVICES = "codeblue_services"


class _Desk(ActionBase):
    """What `Machines` borrows from a running action; it never runs itself."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        raise AssertionError("it is never scheduled as a task")


class _OpenInventory:
    """:raises BadInput: the inventory cannot be read."""

    def __init__(self, sources: Sequence[str]) -> None:
        _find_collections()
        self.sources = sources
        self.loader = DataLoader()
        try:
            self.inventory = InventoryManager(loader=self.loader, sources=list(sources))
            self.variables = VariableManager(loader=self.loader, inventory=self.inventory)
        except AnsibleError as error:
            raise BadInput(f"{', '.join(sources)}: {_first_line(error)}", "see docs/architecture.md") from error


def open_machines(sources: Sequence[str]) -> Machines:
    """The machines of an inventory; modules that only read can be run there.

    :raises BadInput: the inventory cannot be read.
    """
    return _machines(_OpenInventory(sources))


def open_services(sources: Sequence[str]) -> tuple[dict[str, Service], Machines]:
    """The services of an inventory, as Ansible merges their variables, and its machines.

    :raises BadInput: there is none, or something is wrong with one of them.
    """
    opened = _OpenInventory(sources)
    hosts = opened.inventory.get_hosts(_SERVICES) if _SERVICES in opened.inventory.groups else []
    if not hosts:
        raise BadInput(f"{', '.join(sources)}: no host is in {_SERVICES}", "see docs/architecture.md")
    try:
        hostvars = _hostvars(opened)
        variables = {str(host.name): dict(hostvars[str(host.name)]) for host in hosts}
    except AnsibleError as error:
        raise BadInput(f"{', '.join(sources)}: {_first_line(error)}", "see docs/architecture.md") from error
    services = load_services(variables, {str(name) for name in opened.inventory.hosts})
    return services, _machines(opened)


def _find_collections() -> None:
    """Have Ansible find modules of collections, which every command of its own does before anything else.

    Here its finder comes late: the packages of this collection that were imported without it lack what it looks for.
    They are imported again; their modules stay as they are.
    """
    if AnsibleCollectionConfig.collection_finder is not None:
        return
    packages = [
        name
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "ansible_collections" and hasattr(module, "__path__")
    ]
    for name in packages:
        del sys.modules[name]
    plugin_loader.init_plugin_loader(collections_path(os.environ, Path.cwd()).split(os.pathsep))
    for name in sorted(packages):
        importlib.import_module(name)


def _hostvars(opened: _OpenInventory) -> HostVars:
    return HostVars(inventory=opened.inventory, variable_manager=opened.variables, loader=opened.loader)


def _machines(opened: _OpenInventory) -> Machines:
    desk = _Desk(
        task=Task(),
        connection=None,
        play_context=PlayContext(),
        loader=opened.loader,
        templar=Templar(loader=opened.loader),
        shared_loader_obj=plugin_loader,
    )
    return Machines(desk, {"hostvars": _hostvars(opened)})


def _first_line(error: AnsibleError) -> str:
    return str(error).strip().partition("\n")[0][:500]
