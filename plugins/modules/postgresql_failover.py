#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_failover
short_description: Bring a PostgreSQL without a primary back, by its old primary or by a standby
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Carries out what M(codeblue.recovery.diagnose) decided. Nothing is decided anew, not even when the run is resumed.
  - Starts the old primary again when that loses less. Otherwise it fences the old primary, proves that it takes no
    writes, promotes the standby with the most of the log, and leads the gateway there.
  - Refuses when the old primary cannot be fenced, when a cluster manager decides who is primary, and when a loss beyond
    the RPO was not accepted.
  - Ends when the checks of the database pass on the way that clients take.
  - A promotion is not undone. The old primary comes back as a standby by M(codeblue.recovery.postgresql_rejoin).
options:
  diagnosis:
    description: What RV(codeblue.recovery.diagnose#module:targets) says about this target.
    type: dict
    required: true
  accept:
    description: What is accepted explicitly. Counts in check mode only, a run has its own record of it.
    type: list
    elements: str
    default: []
  start_timeout:
    description: Seconds that a former primary gets to replay its log.
    type: float
    default: 60.0
  promote_timeout:
    description: Seconds that a standby gets to replay what it has received.
    type: float
    default: 30.0
  usable_within:
    description: Seconds until the checks of the database have to pass afterwards.
    type: float
    default: 15.0
attributes:
  check_mode:
    support: full
    details: Every machine says what it would do. Whether a fence would hold is not known before it is tried.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. A new run diagnoses first, and finds a primary.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.diagnose
  - module: codeblue.recovery.postgresql_fence
  - module: codeblue.recovery.postgresql_promote
  - module: codeblue.recovery.postgresql_rejoin
  - module: codeblue.recovery.postgresql_start
"""

EXAMPLES = r"""
- name: Start the old primary, or fence it and promote a standby
  codeblue.recovery.postgresql_failover:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
    promote_timeout: 60
"""

RETURN = r"""
path:
  description:
    - What was done, V(start_primary) or V(promote). V(restore) when nothing was done, because no member can be brought
      back and M(codeblue.recovery.postgresql_restore) is needed.
  returned: success
  type: str
  sample: promote
primary:
  description: The member that is the primary now.
  returned: success
  type: str
  sample: db2
fenced:
  description: By what it is known that the old primary takes no writes.
  returned: when a standby was promoted
  type: list
  elements: str
  sample: [the gateway has db1 in maintenance, db1 is stopped and would start as a standby only]
lost_bytes:
  description: Bytes of log that were given up, V(null) when nobody can tell.
  returned: success
  type: int
  sample: 0
lost_commits:
  description: Commits that were given up, V(null) when nobody can tell.
  returned: when a standby was promoted
  type: int
  sample: 0
lost_seconds:
  description: At most the commits of so many seconds were given up, V(null) when there is no bound.
  returned: when a standby was promoted
  type: float
  sample: 0.0
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: failover
    target: patient_db
    summary: "promoted db2: nothing is lost"
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "accept": {"type": "list", "elements": "str", "default": []},
            "start_timeout": {"type": "float", "default": 60.0},
            "promote_timeout": {"type": "float", "default": 30.0},
            "usable_within": {"type": "float", "default": 15.0},
        }
    )


if __name__ == "__main__":
    main()
