#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_switchover
short_description: Make a standby the primary while both work, without losing a write
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks first whether it can be done, and touches nothing otherwise. The standby streams, is in step and on the same
    timeline, its slot keeps the log, the gateway answers and would keep the switch over a restart, no cluster manager
    decides by itself, and neither a long transaction nor a base backup would be cut off.
  - Writes a checkpoint, so that the stop is short. Then takes every member out of the gateway and shuts the old primary
    down in order, which sends all of its log to the standby. It would start as a standby only from then on.
  - Promotes the standby only when it has received everything up to the end of the old primary's log, leads the gateway
    there, and has the old primary and the other standbys follow it.
  - Goes back when that cannot be proven before the promotion, and fails with exit code 1. The old primary is started
    again and the gateway is as before.
  - Measures meanwhile how long no write succeeded, by the checks of the database that write.
  - The way back to the first primary is the same again.
options:
  to:
    description: The member that is to be the primary. The standby with the smallest lag when it is left out.
    type: str
  lag_bytes:
    description: How much of the log a standby may not have replayed yet. Whoever streams must be within it, because the
      shutdown of the primary waits for all of them.
    type: int
    default: 16777216
  transaction_seconds:
    description: Refuse while a client's transaction is older than this; it would be rolled back.
    type: float
    default: 30.0
  slot_prefix:
    description: A member's replication slot is this and the name of its machine.
    type: str
    default: standby_
  checkpoint_timeout:
    description: Seconds for the checkpoint that comes before writes are held.
    type: float
    default: 300.0
  stop_timeout:
    description: Seconds that the old primary gets to shut down in order.
    type: float
    default: 30.0
  promote_timeout:
    description: Seconds that the standby gets to replay what it has received.
    type: float
    default: 30.0
  rejoin_timeout:
    description: Seconds until each other member streams from the new primary.
    type: float
    default: 120.0
  start_timeout:
    description: Seconds that the old primary gets to start on the way back.
    type: float
    default: 60.0
  usable_within:
    description: Seconds until the checks of the database have to pass afterwards.
    type: float
    default: 15.0
attributes:
  check_mode:
    support: full
    details: Everything is looked at, and every machine but those that follow at the end says what it would do.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: With O(to). Within a run always. Without O(to) another run switches back.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.gateway_switch
  - module: codeblue.recovery.postgresql_failover
  - module: codeblue.recovery.postgresql_fence
  - module: codeblue.recovery.postgresql_promote
  - module: codeblue.recovery.postgresql_rejoin
"""

EXAMPLES = r"""
- name: Make db2 the primary
  codeblue.recovery.postgresql_switchover:
    to: db2
"""

RETURN = r"""
primary:
  description: The member that is the primary now.
  returned: success
  type: str
  sample: db2
former_primary:
  description: The member that was.
  returned: when there was something to do
  type: str
  sample: db1
followers:
  description: How each member that streamed before came to follow the new primary.
  returned: when it was done
  type: dict
  sample: {db1: follow}
left_behind:
  description: Members that did not stream before and were left alone.
  returned: in check mode
  type: list
  elements: str
lag_bytes:
  description: How much of the log the new primary had not replayed when it was looked at.
  returned: in check mode
  type: int
  sample: 0
lost_bytes:
  description: Bytes of log that were given up, by the ends of both logs. Anything but V(0) is refused.
  returned: when it was done
  type: int
  sample: 0
write_outage_seconds:
  description:
    - From the last write that succeeded before the first one that failed, to the first one that succeeded afterwards.
    - In a run that was resumed, from the begin of the stop to the end of the gateway's switch by the journal.
  returned: when it was done
  type: float
  sample: 2.31
write_outage_measured:
  description: V(from outside) or V(by the journal).
  returned: when it was done
  type: str
  sample: from outside
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: switchover
    target: patient_db
    summary: "db2 is the primary instead of db1, nothing is lost; no write succeeded for 2.3 s (from outside);
      followers: db1 by follow"
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "to": {"type": "str"},
            "lag_bytes": {"type": "int", "default": 16777216},
            "transaction_seconds": {"type": "float", "default": 30.0},
            "slot_prefix": {"type": "str", "default": "standby_"},
            "checkpoint_timeout": {"type": "float", "default": 300.0},
            "stop_timeout": {"type": "float", "default": 30.0},
            "promote_timeout": {"type": "float", "default": 30.0},
            "rejoin_timeout": {"type": "float", "default": 120.0},
            "start_timeout": {"type": "float", "default": 60.0},
            "usable_within": {"type": "float", "default": 15.0},
        }
    )


if __name__ == "__main__":
    main()
