#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets the password of a PostgreSQL role by its verifier, or takes it away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_set_password
short_description: Set a role's password by its SCRAM verifier, or take it away, leaving no trace in logs
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Stores a SCRAM-SHA-256 verifier for a role, so that the password itself never reaches this machine.
  - The statement goes through the standard input of C(psql), and the server's logging, C(pg_stat_activity),
    C(pg_stat_statements) and C(pgaudit) are silenced for its transaction.
  - Looks afterwards whether the server stores that very verifier.
options:
  role:
    description: The role whose password is set.
    type: str
    required: true
  state:
    description: V(present) stores O(verifier). V(absent) takes the password away, so that none is taken any more.
    type: str
    choices: [present, absent]
    default: present
  verifier:
    description: Its SCRAM verifier, as PostgreSQL stores it in C(pg_authid). Required with O(state=present).
    type: str
  end_sessions:
    description: End the role's sessions afterwards. A password is asked for at login only.
    type: bool
    default: false
  timeout:
    description: Seconds for everything together.
    type: float
    default: 10.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether the role has this verifier
  codeblue.recovery.postgresql_set_password:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    role: records_app
    verifier: "{{ records_app_verifier }}"
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether the verifier was stored already; with O(state=absent) whether there was a password. Nothing of
    either verifier is returned.
  returned: success
  type: dict
  sample: {verifier_matches: false}
after:
  description: Whether it is stored now.
  returned: success
  type: dict
  sample: {verifier_matches: true}
sessions_ended:
  description: How many sessions of the role were ended.
  returned: success
  type: int
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_password import (
    check_verifier,
    end_sessions_of_role,
    look_at_password,
    look_for_password,
    set_password,
    take_password_away,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sessions import wait_until_gone
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import session_when_there_is_room


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Set it unless it is set already."""
    deadline = Deadline(params["timeout"])
    role, verifier = params["role"], params["verifier"]
    if params["state"] == "absent":
        return _without(params, context, deadline)
    check_verifier(verifier)
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        before = look_at_password(sql, role, verifier)
        # A step that was cut off between the change and the sessions goes on with the sessions.
        resumed = context.before_first_attempt is not None
        if before["verifier_matches"] and not resumed:
            return StepOutcome(False, before, before, {"sessions_ended": 0})
        if context.check_mode:
            return StepOutcome(True, before, {"verifier_matches": True}, {"sessions_ended": 0})
        context.accept(before)
        if not before["verifier_matches"]:
            set_password(sql, role, verifier)
        after = look_at_password(sql, role, verifier)
        if not after["verifier_matches"]:
            raise CodeblueError(
                "the server stores another verifier for %s than was given" % role, "did somebody else set it meanwhile?"
            )
        ended = end_sessions_of_role(sql, role) if params["end_sessions"] else []
        wait_until_gone(sql, ended, deadline)
        return StepOutcome(True, before, after, {"sessions_ended": len(ended)})


def _without(params: t.Dict[str, t.Any], context: StepContext, deadline: Deadline) -> StepOutcome:
    """Take it away unless there is none."""
    role = params["role"]
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        before = look_for_password(sql, role)
        resumed = context.before_first_attempt is not None
        if not before["has_password"] and not resumed:
            return StepOutcome(False, before, before, {"sessions_ended": 0})
        if context.check_mode:
            return StepOutcome(True, before, {"has_password": False}, {"sessions_ended": 0})
        context.accept(before)
        take_password_away(sql, role)
        after = look_for_password(sql, role)
        ended = end_sessions_of_role(sql, role) if params["end_sessions"] else []
        wait_until_gone(sql, ended, deadline)
        return StepOutcome(True, before, after, {"sessions_ended": len(ended)})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "role": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "verifier": {"type": "str", "no_log": True},
            "end_sessions": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        required_if=[("state", "present", ("verifier",))],
    )


if __name__ == "__main__":
    main()
