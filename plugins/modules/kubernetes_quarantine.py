#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_quarantine
short_description: Cut the pods of a service on Kubernetes off, and give them back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Puts a NetworkPolicy in place that lets nothing to or from the pods of the service's workload, but operators from
    C(codeblue_kubernetes.management).
  - Policies only allow, so one that denies does not win by itself. Those that select the pods are narrowed until they
    select all others, which go on as before. What they were stands in an annotation of theirs and in the journal.
  - The pods are deleted afterwards, so that connections that were open end, and their controller makes new ones behind
    the policy. Evidence has to be taken before.
  - Says who in the cluster is known to enforce policies. That traffic really ends is not proven from outside of the
    cluster, and RV(proof) says so. Where checks of the service reach it over the network from the controller, they have
    to fail, or the task does.
  - Marks the workload, so that no other runbook brings it back.
  - V(absent) gives everything back as it was, first what allows, then what denies, and waits for pods and checks.
  - Suspends Flux and Argo CD where they keep a policy that is narrowed, and says how they are given back.
options:
  state:
    description: V(present) for cut off, V(absent) for given back.
    type: str
    choices: [present, absent]
    default: present
  reason:
    description: Why, for the record.
    type: str
    default: ""
  gone_within:
    description: Seconds that the pods of before get to end.
    type: float
    default: 60.0
  rollout_within:
    description: Seconds that the pods get to serve, once it is given back.
    type: float
    default: 300.0
  healthy_within:
    description: Seconds that the checks of the service get then. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: full
    details: Shows the policies.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.service_quarantine
  - module: codeblue.recovery.collect_evidence
"""

EXAMPLES = r"""
- name: Cut the service off
  codeblue.recovery.kubernetes_quarantine:
    reason: data leaves it for an unknown address

- name: Give it back
  codeblue.recovery.kubernetes_quarantine:
    state: absent
"""

RETURN = r"""
set_aside:
  description: The NetworkPolicies that were narrowed, or given back.
  returned: success
  type: list
  elements: str
  sample: [allow-ingress]
proof:
  description:
    - V(from_here) when ways to the service from the controller failed afterwards, else V(not_proven).
  returned: success
  type: str
  sample: not_proven
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 20
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: quarantine
    target: ai
    summary: cut the pods of Deployment ai in namespace clinic off by NetworkPolicy codeblue-quarantine-deployment-ai, …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "reason": {"type": "str", "default": ""},
            "gone_within": {"type": "float", "default": 60.0},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
