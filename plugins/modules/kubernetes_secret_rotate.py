#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_secret_rotate
short_description: Give Secrets on Kubernetes new values, and restart who uses them
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Replaces the keys that C(codeblue_kubernetes.secrets) names, in place. A value is made anew, or read from a file on
    the controller that only its owner may read.
  - Finds everybody in the namespace who uses these Secrets. Workloads that do so by variables, volumes or projected
    volumes are restarted one after the other, each only when all pods of the one before serve. Who reads them anew by
    itself is told, as CronJobs, Ingresses and pulls of images.
  - A Secret that a controller makes, or that is immutable, is refused with exit code 3 before anything is changed. Flux
    and Argo CD are suspended where they keep one.
  - A workload in quarantine is restarted and not waited for.
  - What lies behind a value is not changed, such as the password in a database. For those, change it there and give the
    value by a file.
  - Values are in no log, error, diff, record or argument.
options:
  names:
    description: Only these Secrets; all that C(codeblue_kubernetes.secrets) names when it is empty.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ""
  rollout_within:
    description: Seconds that the pods of one workload get. It ends earlier when they cannot come up.
    type: float
    default: 300.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Within a run. Each run makes new values.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_restore
"""

EXAMPLES = r"""
- name: Rotate all that the inventory names
  codeblue.recovery.kubernetes_secret_rotate:
    reason: an intruder could read them

- name: Rotate one Secret
  codeblue.recovery.kubernetes_secret_rotate:
    names: [sessions]
"""

RETURN = r"""
rotated:
  description: Secrets with the keys that have new values.
  returned: success
  type: list
  elements: dict
  sample: [{secret: sessions, keys: [JWT_SECRET]}]
consumers:
  description: Who uses them, and how.
  returned: success
  type: list
  elements: str
  sample: [Deployment ai (env)]
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 24
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: ai
    summary: gave JWT_SECRET of Secret sessions new values, and restarted Deployment ai
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "names": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
