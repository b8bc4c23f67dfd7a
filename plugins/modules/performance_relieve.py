#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: performance_relieve
short_description: Take away the session, the job, the source or the instance that makes a service answer late
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Carries out one treatment of the diagnosis of C(performance_degradation).
  - V(end_blocker) ends the session that makes others wait, and bounds how long its role may idle in a transaction.
  - V(limit_process) lets a job that no unit of the inventory needs run only when nobody else wants the processor.
  - V(refuse_source) has the gateway refuse the address that holds most of its connections, over restarts as well.
  - V(drain) takes instances that are late out of the gateway, as long as others are left.
  - The session, the process and the source are named for good, by their start or address, and are looked at again at
    the moment of the change.
  - RV(undo) is what the module of the change takes to go back.
options:
  diagnosis:
    description: What C(codeblue.recovery.diagnose) found for this target.
    type: dict
    required: true
  guard:
    description: How long sessions of the blocking role may idle in a transaction from now on. Empty for no bound.
    type: str
    default: 60s
  process_state:
    description:
      - V(limited) slows the job down, V(stopped) pauses it, both can be undone. V(ended) ends it.
    type: str
    choices: [limited, stopped, ended]
    default: limited
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.postgresql_end_blocker
  - module: codeblue.recovery.process_limit
  - module: codeblue.recovery.haproxy_acl
  - module: codeblue.recovery.gateway_switch
"""

EXAMPLES = r"""
- name: Take the bottleneck away
  codeblue.recovery.performance_relieve:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
treatment:
  description: What was done.
  returned: success
  type: str
  sample: end_blocker
before:
  description: The state from before, as the module of the change describes it.
  returned: success
  type: dict
after:
  description: The state afterwards.
  returned: success
  type: dict
undo:
  description: What the module of the change takes to go back; V(null) where the state from before says it.
  returned: success
  type: raw
  sample: {billing: null}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: relieve
    target: patient_db
    summary: has ended session 4711 of billing and bounded its idle transactions
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "guard": {"type": "str", "default": "60s"},
            "process_state": {"type": "str", "choices": ["limited", "stopped", "ended"], "default": "limited"},
        }
    )


if __name__ == "__main__":
    main()
