# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts

DOCUMENTATION = r"""
name: recovery_order
author: The codeblue engineers
version_added: 0.1.0
short_description: Order services by what they depend on
description:
  - Puts services into waves. A wave is started when the one before it works; within a wave all can go at once.
  - A service comes after everything that it depends on, also by way of services that are not in the list.
    Services that do not depend on each other are ordered by their tier, lower first.
  - Dependencies of a service that are not in the list are not added to the waves.
positional: _input, hostvars
options:
  _input:
    description: Names of the services to recover. They are hosts of the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variables of all hosts, as in V(hostvars).
      - Read are C(codeblue_depends_on), empty by default, and C(codeblue_tier), 5 by default.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show in which order the services come back
  ansible.builtin.debug:
    msg: "{{ groups['codeblue_services'] | codeblue.recovery.recovery_order(hostvars) }}"
  # [['patient_db'], ['auth'], ['records'], ['gateway']]
"""

RETURN = r"""
_value:
  description: The waves, first to last, each a list of names in alphabetical order.
  type: list
  elements: list
"""


def recovery_order(names: Sequence[str], hostvars: Mapping[str, Mapping[str, t.Any]]) -> list[list[str]]:
    """The waves of the named services; see DOCUMENTATION."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise AnsibleFilterError("recovery_order: the input must be a list of service names")
    if not isinstance(hostvars, Mapping):
        raise AnsibleFilterError("recovery_order: give hostvars as the argument")
    try:
        return order_of_hosts([str(name) for name in names], hostvars)
    except CodeblueError as error:
        raise AnsibleFilterError(f"recovery_order: {error}") from None


class FilterModule:
    """Filters of codeblue.recovery."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"recovery_order": recovery_order}
