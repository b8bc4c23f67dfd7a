#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_services
short_description: Prove that the targets and what depends on them work
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Runs all checks concurrently until every service is healthy O(stable) times in a row, or O(within) is over.
  - A service is C(HEALTHY), C(DEGRADED) when it works and misses a threshold, C(DOWN) when a check fails, or
    C(MAINTENANCE).
  - Does not fail when a service is down. M(codeblue.recovery.run_close) judges the result.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  level:
    description: The deepest level of checks. V(deep) includes the shallow ones, and so on.
    type: str
    choices: [shallow, deep, comprehensive]
    default: deep
  stable:
    description: How many times in a row everything has to be well.
    type: int
    default: 3
  within:
    description:
      - How long it may take until then, such as V(500ms), V(30s) or V(2m).
      - At most 30 s for V(shallow), 5 minutes for V(deep) and 30 minutes for V(comprehensive) checks.
    type: str
    default: 30s
  dependents:
    description: Include the services that depend on a target directly.
    type: bool
    default: true
  phase:
    description:
      - One of the looks after a recovery, in place of O(level), O(within), O(performance) and O(resources).
      - V(immediate) is deep, within a minute. V(comprehensive) is everything, within five minutes. V(extended) is the
        same and goes on for 30 minutes, in a lab for 30 seconds; what fails in them counts.
    type: str
    choices: [immediate, comprehensive, extended]
  performance:
    description:
      - Hold the 95th percentile of the answer times against what was normal before the run. A service that is slower
        than C(thresholds.p95_factor) times that, and than C(thresholds.p95_floor), is C(DEGRADED).
      - Without a baseline only C(thresholds.response) counts. Answer times that are normal become part of the baseline.
    type: bool
    default: false
  resources:
    description: Hold processors, memory and disks of the machines against C(thresholds.cpu), C(memory) and C(disk).
    type: bool
    default: false
  rounds:
    description: How often every check is asked for O(performance).
    type: int
    default: 20
attributes:
  check_mode:
    support: full
    details: Checks once, waits for nothing and records nothing. Checks that write are still made.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.diagnose
  - module: codeblue.recovery.run_close
"""

EXAMPLES = r"""
- name: Prove that the targets and what depends on them work
  codeblue.recovery.validate_services:
    level: comprehensive
    within: 2m
  run_once: true
  register: __validated
"""

RETURN = r"""
outcome:
  description: Of all services together.
  returned: success
  type: str
  sample: recovered
reasons:
  description: Why it is not V(recovered), empty when it is.
  returned: success
  type: list
  elements: str
stable:
  description: How many times in a row everything was well at the end.
  returned: success
  type: int
  sample: 3
services:
  description: Status of each service, and why it is not healthy.
  returned: success
  type: dict
  sample: {patient_db: {status: HEALTHY, reasons: []}}
performance:
  description: Answer times now and before, those that miss their limit first. Empty without O(performance).
  returned: success
  type: list
  elements: str
  sample: ["records/answer_time: p95 is 12 ms, before 10 ms, wanted up to 100 ms"]
unhealthy:
  description: The services that are down.
  returned: success
  type: list
  elements: str
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: validate
    target: patient_db
    summary: all 3 services are healthy, 3 of 3 times in a row
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "level": {"type": "str", "choices": ["shallow", "deep", "comprehensive"], "default": "deep"},
            "stable": {"type": "int", "default": 3},
            "within": {"type": "str", "default": "30s"},
            "dependents": {"type": "bool", "default": True},
            "phase": {"type": "str", "choices": ["immediate", "comprehensive", "extended"]},
            "performance": {"type": "bool", "default": False},
            "resources": {"type": "bool", "default": False},
            "rounds": {"type": "int", "default": 20},
        }
    )


if __name__ == "__main__":
    main()
