#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a checkpoint of a PostgreSQL server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_checkpoint
short_description: Write a checkpoint, so that a stop that follows is short
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - A server that is shut down writes what its memory holds to disk first, and takes no sessions meanwhile. Written
    before, the shutdown has only the rest to write.
  - Nothing but the time of that work is changed.
options:
  timeout:
    description: Seconds for everything together. Writing gigabytes of memory to a slow disk takes minutes.
    type: float
    default: 300.0
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
- name: See where the last checkpoint begins
  codeblue.recovery.postgresql_checkpoint:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
  check_mode: true
"""

RETURN = r"""
before:
  description: From where the log would be replayed after a crash.
  returned: success
  type: dict
  sample: {redo_lsn: 0/5000148}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {redo_lsn: 0/50002A0}
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.21
accepted_at:
  description: Always V(null), because nothing is changed.
  returned: success
  type: float
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Write it; on a standby that is a restartpoint."""
    deadline = Deadline(params["timeout"])
    with PsqlSession(Login.from_params(params), deadline) as sql:
        before = _look(sql)
        if not context.check_mode:
            sql.execute("CHECKPOINT")
        return StepOutcome(False, before, _look(sql), {"seconds": round(deadline.elapsed(), 3)})


def _look(sql: PsqlSession) -> t.Dict[str, t.Any]:
    return sql.row("SELECT redo_lsn::text AS redo_lsn FROM pg_control_checkpoint()")


def main() -> None:
    """Entry point."""
    run_step_module({**login_arguments(), "timeout": {"type": "float", "default": 300.0}}, perform)


if __name__ == "__main__":
    main()
