"""The services of an inventory, read by Ansible's own packages in this process."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service


def services_of(sources: tuple[str, ...]) -> dict[str, Service]:
    """The services of an inventory, as Ansible merges their variables.

    :raises BadInput: there is none, or something is wrong with one of them.
    """
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services

    if not sources:
        raise BadInput("no inventory is given", "give one: -i INVENTORY")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=list(sources))
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts("codeblue_services") if "codeblue_services" in inventory.groups else []
    if not hosts:
        raise BadInput(f"{', '.join(sources)}: no host is in codeblue_services", "see docs/architecture.md")
    return load_services(
        {str(host.name): variables.get_vars(host=host) for host in hosts}, {str(name) for name in inventory.hosts}
    )
