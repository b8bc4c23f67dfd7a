#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_traffic_shift
short_description: Lead the traffic of a service on AWS to another side in steps, with a gate at each
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Moves the share of the traffic by weighted records of Route 53 (C(codeblue_aws.dns)) between the primary and the
    standby region, or by the weights of target groups in a load balancer (C(codeblue_aws.load_balancer)).
  - A simple record becomes weighted ones in one change batch, which is carried out whole or not at all; Route 53
    refuses both kinds beside each other. A and AAAA aliases move together.
  - Each step is waited for until all name servers have it, and is watched for O(hold) through a gate. The gate asks
    the side that gets the traffic by its own address, and with a slow pace also the service and all that use it as
    clients do. When the gate closes, everything is made as it was, exactly.
  - When the other side gives no answers every step less than all keeps users waiting, so all traffic moves at once.
  - A target group that no rule names has no health. It is given the weight 0 first, and its targets have to be
    healthy before it gets the first percent. Stickiness and the other actions of a rule stay as they are.
  - Refuses, with exit code 3, other routing policies (latency, failover, multivalue answer, geolocation and so on), a
    record that leads to a third place, a side that is not fit for traffic and was not accepted, and a change that
    somebody else has made meanwhile.
  - The way back is the same step to the other side; what was there before is in the record.
options:
  to:
    description:
      - The side that is to have all traffic. C(primary) or C(standby) for a DNS record, the name of a target
        group for a load balancer.
    type: str
    required: true
  by:
    description:
      - What is changed. With V(auto) a load balancer when O(to) is one of its target groups, else the DNS
        record.
    type: str
    choices: [auto, dns, load_balancer]
    default: auto
  pace:
    description:
      - Whether traffic moves in O(steps) or all at once. With V(auto) at once when the other side gives no
        answers.
    type: str
    choices: [auto, gradual, at_once]
    default: auto
  steps:
    description: Percent of the way, rising, the last one 100.
    type: list
    elements: int
    default: [5, 25, 50, 100]
  hold:
    description: How long each step is watched, in production. A lab's minute is a second.
    type: str
    default: 1m
  records:
    description:
      - Whether DNS records stay weighted in the end, so that the next shift needs no other kind, or become
        simple.
    type: str
    choices: [weighted, simple]
    default: weighted
  settled_within:
    description: Seconds until all name servers of Route 53 have to have a change.
    type: float
    default: 120.0
  healthy_within:
    description:
      - Seconds that the checks of the service get in the end. When it is left out, 30 of their intervals, and
        for DNS a minute more for answers from before.
    type: float
  when_unhealthy:
    description: Whether the task fails when the service does not work in the end, or says so in C(problem).
    type: str
    choices: [fail, report]
    default: fail
  accept:
    description:
      - What is accepted explicitly, as V(unfit_standby). Counts in check mode only, a run has its own record of
        it.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: full
    details: Shows the share of the side before and after.
  idempotent:
    support: full
    details: Leaves traffic alone that is there already.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_standby_check
  - module: codeblue.recovery.aws_standby_raise
  - module: codeblue.recovery.gateway_ramp
"""

EXAMPLES = r"""
- name: Lead the traffic to the standby region
  codeblue.recovery.aws_traffic_shift:
    to: standby
    reason: the primary region does not answer

- name: Lead it back slowly
  codeblue.recovery.aws_traffic_shift:
    to: primary
    pace: gradual
    hold: 5m
"""

RETURN = r"""
way:
  description: What was changed.
  returned: success
  type: str
  sample: DNS record api.clinic.example
before:
  description: The side to its percent of the traffic.
  returned: success
  type: dict
  sample: {standby: 0}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {standby: 100}
pace:
  description: V(gradual) or V(at_once).
  returned: success
  type: str
  sample: gradual
why:
  description: Why at that pace.
  returned: success
  type: str
  sample: the other side answers
gates:
  description: The steps that passed, each with C(percent), C(looks) and C(seconds).
  returned: success
  type: list
  elements: dict
problem:
  description: What does not work all the same; empty when everything does.
  returned: success
  type: str
afterwards:
  description: How long answers or cookies from before live on.
  returned: success
  type: str
  sample: answers from before live for up to 60 s more, and longer where a TTL is not kept to
calls:
  description: How often services of AWS were asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: shift
    target: gateway
    summary: DNS record api.clinic.example leads to standby, 4 gates passed; answers from before live …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "to": {"type": "str", "required": True},
            "by": {"type": "str", "choices": ["auto", "dns", "load_balancer"], "default": "auto"},
            "pace": {"type": "str", "choices": ["auto", "gradual", "at_once"], "default": "auto"},
            "steps": {"type": "list", "elements": "int", "default": [5, 25, 50, 100]},
            "hold": {"type": "str", "default": "1m"},
            "records": {"type": "str", "choices": ["weighted", "simple"], "default": "weighted"},
            "settled_within": {"type": "float", "default": 120.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
            "accept": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
