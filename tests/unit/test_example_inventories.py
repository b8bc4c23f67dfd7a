"""The example inventories load, so that what people copy is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts

EXAMPLES = sorted(Path(__file__).parents[2].glob("inventories/example_*/hosts.yml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_services_of_the_example_load(path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    listed = subprocess.run([program, "-i", path, "--list"], capture_output=True, text=True, check=True)
    inventory = json.loads(listed.stdout)
    hostvars = inventory["_meta"]["hostvars"]
    groups = inventory["codeblue_services"]["children"]
    names = [name for group in groups for name in inventory[group]["hosts"]]
    services = load_services({name: hostvars[name] for name in names}, set(hostvars))
    assert set(services) == set(names)
    order = order_of_hosts(names, hostvars)
    assert sorted(name for wave in order for name in wave) == sorted(names)


def test_there_are_examples() -> None:
    assert EXAMPLES
