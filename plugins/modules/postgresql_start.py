#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts a stopped PostgreSQL server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_start
short_description: Start a PostgreSQL server and wait until it answers
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Starts the unit through its process manager and waits until SQL answers. A server that died replays its log first.
  - Fails with the telling line of its log when the server does not stay up.
options:
  timeout:
    description: Seconds until SQL has to answer.
    type: float
    default: 60.0
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
  - codeblue.recovery.postgresql.member
  - codeblue.recovery.process.required
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether the server would be started
  codeblue.recovery.postgresql_start:
    bin_dir: /usr/lib/postgresql/18/bin
    data_dir: /var/lib/postgresql/18/main
    process: {manager: systemd, unit: postgresql@18-main}
  check_mode: true
"""

RETURN = r"""
before:
  description: The unit, SQL and the control file before.
  returned: success
  type: dict
  sample: {process: stopped, sql: false, cluster_state: in production, timeline: 1}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {process: running, sql: true, cluster_state: in production, timeline: 1}
crash_recovery:
  description: The server had not been shut down in order, so it replayed its log.
  returned: success
  type: bool
in_recovery:
  description: It runs as a standby. V(null) in check mode or when nothing was done.
  returned: success
  type: bool
seconds:
  description: From the start until SQL answered.
  returned: when it was started
  type: float
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

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import member_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import CLEAN_STATES
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_start import look_at_server, start_and_wait
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import RUNNING, process_unit
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Start it unless it answers."""
    deadline = Deadline(params["timeout"])
    member = Member.from_params(params)
    unit = process_unit(params["process"])
    before = look_at_server(member, unit, deadline)
    if before["sql"]:
        return StepOutcome(False, before, before, {"crash_recovery": False, "in_recovery": None})
    crashed = before["process"] != RUNNING and before["cluster_state"] not in CLEAN_STATES
    if context.check_mode:
        after = {**before, "process": RUNNING, "sql": True}
        return StepOutcome(True, before, after, {"crash_recovery": crashed, "in_recovery": None})
    context.accept(before)
    started = start_and_wait(member, unit, deadline)
    after = look_at_server(member, unit, Deadline(5.0))
    return StepOutcome(True, before, after, {"crash_recovery": crashed, **started})


def main() -> None:
    """Entry point."""
    run_step_module(
        {**member_arguments(), "timeout": {"type": "float", "default": 60.0}},
        perform,
        touches=lambda params: Touched(data_dir=params["data_dir"]),
    )


if __name__ == "__main__":
    main()
