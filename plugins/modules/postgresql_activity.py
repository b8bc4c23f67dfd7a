#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at who makes others wait in a PostgreSQL server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_activity
short_description: Find the sessions that make others wait, and how busy a PostgreSQL server is kept
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Follows who waits for whom to the sessions at the root, which wait for nobody themselves.
  - Returns no text of a query, which may hold names of patients.
  - Changes nothing.
options:
  service_roles:
    description: Roles of the service itself. Their sessions are marked.
    type: list
    elements: str
    default: []
  watch:
    description: Seconds to look again and again until somebody is seen waiting.
    type: float
    default: 1.0
  idle_seconds:
    description: From when on a transaction that is idle and holds a strong lock is named without anybody waiting.
    type: float
    default: 2.0
  timeout:
    description: Seconds for everything together.
    type: float
    default: 5.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
"""

EXAMPLES = r"""
- name: Find out who makes the services wait
  codeblue.recovery.postgresql_activity:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    service_roles: [records_app, auth_app]
"""

RETURN = r"""
blockers:
  description: Sessions at the root of a chain of waiting, those with the most sessions waiting first.
  returned: success
  type: list
  elements: dict
  sample:
    - pid: 4711
      backend_start: "2026-01-02 09:00:00.123456+00"
      user: billing
      application_name: billing_export
      client: 192.0.2.10
      state: idle in transaction
      backend_type: client backend
      transaction_seconds: 312.4
      state_seconds: 311.9
      superuser: false
      replication: false
      service_role: false
      locks: [records ShareRowExclusiveLock]
      waiting: 4
      waiting_roles: [records_app]
      longest_wait_seconds: 0.8
idle_holders:
  description: Sessions that are idle in a transaction with a lock that keeps others waiting, though nobody waits now.
  returned: success
  type: list
  elements: dict
sessions:
  description: Client sessions counted by user, application, client and state, the most first.
  returned: success
  type: list
  elements: dict
prepared_blocking:
  description: A prepared transaction, which has no session, makes others wait.
  returned: success
  type: bool
opened_per_second:
  description: New sessions each second while it was looked at; 0 before PostgreSQL 14, which does not count them.
  returned: success
  type: float
maximum:
  description: C(max_connections).
  returned: success
  type: int
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_activity import look_at_activity
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import session_when_there_is_room


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """One session, several looks."""
    deadline = Deadline(params["timeout"])
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        return look_at_activity(sql, params["service_roles"], params["watch"], params["idle_seconds"], deadline)


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            **login_arguments(),
            "service_roles": {"type": "list", "elements": "str", "default": []},
            "watch": {"type": "float", "default": 1.0},
            "idle_seconds": {"type": "float", "default": 2.0},
            "timeout": {"type": "float", "default": 5.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
