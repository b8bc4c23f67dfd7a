#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Promotes a PostgreSQL standby."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_promote
short_description: Promote a PostgreSQL standby and prove that it takes writes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Checks the cluster's identity and how much would be lost, promotes, waits until recovery is over, and commits a
    write to the log.
  - Makes the replication slots that other members need and removes the settings of the life as a standby.
  - A server that is a primary already is left so; missing slots are still made.
  - The old primary has to be fenced first. This module cannot see it.
options:
  system_identifier:
    description: Refuse when the standby belongs to another cluster.
    type: str
  minimum_lsn:
    description: Refuse when the standby has received less, such as V(0/5000148).
    type: str
  primary_lsn:
    description: End of the lost primary's log, by which RV(lost_bytes) is counted.
    type: str
  maximum_loss_bytes:
    description: Refuse when the standby lacks more bytes of log than this. Needs O(primary_lsn).
    type: int
  slots:
    description: Physical replication slots to have afterwards.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for everything together. Replaying what was received counts.
    type: float
    default: 30.0
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
- name: See whether the standby may be promoted
  codeblue.recovery.postgresql_promote:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    system_identifier: "7710436348559800248"
    primary_lsn: 0/5000148
    maximum_loss_bytes: 0
    slots: [db1]
  check_mode: true
"""

RETURN = r"""
before:
  description: Role, position and timeline before.
  returned: success
  type: dict
  sample: {in_recovery: true, system_identifier: "7710436348559800248", lsn: 0/5000148, timeline: 1,
           missing_slots: [db1]}
after:
  description: Role, position and timeline afterwards. In check mode the position is not foretold.
  returned: success
  type: dict
  sample: {in_recovery: false, system_identifier: "7710436348559800248", lsn: 0/50002A0, timeline: 2, missing_slots: []}
lost_bytes:
  description: Log that the standby had not received, V(null) without O(primary_lsn) or when it was promoted before.
  returned: success
  type: int
slots_made:
  description: Replication slots that were made.
  returned: success
  type: list
  elements: str
settings_removed:
  description: Settings of the life as a standby that were removed from C(postgresql.auto.conf).
  returned: success
  type: list
  elements: str
synchronous_standby_names:
  description: When not empty, commits of clients wait for these standbys and may hang until one is back.
  returned: success
  type: str
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
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_promote import (
    PromotionLimits,
    check_limits,
    ensure_slots,
    forget_old_primary,
    look_at_candidate,
    missing_slots,
    promote,
    prove_write,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Promote unless it is a primary already."""
    deadline = Deadline(params["timeout"])
    limits = PromotionLimits(
        system_identifier=params["system_identifier"],
        minimum_lsn=params["minimum_lsn"],
        primary_lsn=params["primary_lsn"],
        maximum_loss_bytes=params["maximum_loss_bytes"],
    )
    with PsqlSession(Login.from_params(params), deadline) as sql:
        before = _look(sql, params["slots"])
        standby = before["in_recovery"]
        lost = check_limits(before, limits) if standby else None
        if not standby and limits.system_identifier:
            check_limits(before, PromotionLimits(system_identifier=limits.system_identifier))
        extra = {
            "lost_bytes": lost,
            "slots_made": before["missing_slots"],
            "settings_removed": [],
            "synchronous_standby_names": sql.value("current_setting('synchronous_standby_names')"),
        }
        if not standby and not before["missing_slots"] and context.before_first_attempt is None:
            return StepOutcome(False, before, before, extra)
        if context.check_mode:
            wished = {"in_recovery": False, "missing_slots": [], "timeline": before["timeline"] + (1 if standby else 0)}
            return StepOutcome(True, before, {**before, **wished, "lsn": None}, extra)
        context.accept(before)
        if standby:
            promote(sql, deadline)
        prove_write(sql)
        extra["slots_made"] = ensure_slots(sql, params["slots"])
        extra["settings_removed"] = forget_old_primary(sql)
        return StepOutcome(True, before, _look(sql, params["slots"]), extra)


def _look(sql: PsqlSession, slots: t.Sequence[str]) -> t.Dict[str, t.Any]:
    return {**look_at_candidate(sql), "missing_slots": missing_slots(sql, slots)}


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "system_identifier": {"type": "str"},
            "minimum_lsn": {"type": "str"},
            "primary_lsn": {"type": "str"},
            "maximum_loss_bytes": {"type": "int"},
            "slots": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 30.0},
        },
        perform,
        touches=lambda _params: Touched(data_dir=""),
        required_by={"maximum_loss_bytes": ["primary_lsn"]},
    )


if __name__ == "__main__":
    main()
