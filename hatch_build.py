"""Puts the collection into the wheel, beside the command.

An editable installation gets a link to the checkout instead (see the Makefile): copied files would be stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PARTS = ("galaxy.yml", "README.md", "LICENSE", "meta", "plugins", "playbooks", "roles", "runbooks", "operations")


class CollectionBuildHook(BuildHookInterface):
    """Adds `ansible_collections/codeblue/recovery` to a standard wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return
        root = Path(self.root)
        for part in _PARTS:
            build_data["force_include"][str(root / part)] = f"ansible_collections/codeblue/recovery/{part}"
