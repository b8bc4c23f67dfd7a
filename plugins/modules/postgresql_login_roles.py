#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at roles that log in, and at their sessions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_login_roles
short_description: See whether roles can log in, with whose rights, and from where they do now
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Tells of each role whether it has a password, but nothing of it, whose member it is, and its own settings.
  - Counts the sessions of the roles by application and client.
  - Changes nothing.
options:
  roles:
    description: Names of the roles. One that does not exist is left out of the answer.
    type: list
    elements: str
    required: true
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
- name: See who uses the two logins of records
  codeblue.recovery.postgresql_login_roles:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    roles: [records_app, records_app_2]
"""

RETURN = r"""
roles:
  description: The roles that exist.
  returned: success
  type: dict
  sample:
    records_app_2:
      may_log_in: true
      superuser: false
      replication: false
      connection_limit: -1
      has_password: false
      member_of: [records_app]
      settings: [role=records_app]
sessions:
  description: Their client sessions on this member, at most a hundred groups.
  returned: success
  type: list
  elements: dict
  sample:
    - {role: records_app, application_name: records, client: 10.20.0.7, count: 5}
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_roles import look_at_login_roles
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import session_when_there_is_room


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """One session, two questions."""
    with session_when_there_is_room(Login.from_params(params), Deadline(params["timeout"])) as sql:
        return look_at_login_roles(sql, params["roles"])


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            **login_arguments(),
            "roles": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "float", "default": 5.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
