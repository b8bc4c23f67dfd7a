#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_restore
short_description: Make objects of a namespace again from a snapshot
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Gives back, in the order of kinds, what a service on Kubernetes needs and is missing. That is its workload, Secrets
    and ConfigMaps or keys of them, its ServiceAccount and its Service, from the newest snapshot that holds all of it.
  - What is there is not touched, unless O(replace) names it. What a controller keeps is never made by hand; it is
    refused with exit code 3 and the name of the controller.
  - Claims and Jobs are given back by name only. A claim comes back with an empty volume, a Job runs again.
  - Suspends Flux and Argo CD where they keep an object that is replaced, and says how they are given back.
  - Pods of the workload that are not ready are deleted afterwards, so that new ones find what was given back. Then all
    pods have to serve, and the deep checks of the service have to pass.
  - Writes only over what it has read. An object that somebody makes or changes meanwhile is not overwritten.
options:
  objects:
    description:
      - Objects to make again where they are missing, as V(Kind/name). What the workload needs, when neither this nor
        O(replace) names anything.
    type: list
    elements: str
    default: []
  replace:
    description: Objects to give back as they were, also where they are there and were changed, as V(Kind/name).
    type: list
    elements: str
    default: []
  snapshot_id:
    description: The snapshot. The newest that holds all that is wanted when it is left out, of the last ten.
    type: str
  identity:
    description: Path of the age identity file on the controller that reads the snapshot.
    type: path
  rollout_within:
    description: Seconds that the pods get afterwards. It ends earlier when they cannot come up.
    type: float
    default: 300.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only reads, from the API server and from the snapshot.
  diff_mode:
    support: full
    details: Shows each object. Values of Secrets, ConfigMaps and variables only as digests of this one diff.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_snapshot
"""

EXAMPLES = r"""
- name: Make again what the workload needs and is missing
  codeblue.recovery.kubernetes_restore:
    identity: /media/safe/recovery.agekey

- name: Put one ConfigMap back as it was
  codeblue.recovery.kubernetes_restore:
    replace: [ConfigMap/settings]
    identity: /media/safe/recovery.agekey
"""

RETURN = r"""
restored:
  description: What was given back, in this order; C(treatment) is C(make), C(replace) or C(add_keys).
  returned: success
  type: list
  elements: dict
  sample: [{kind: Secret, name: database, treatment: make, keys: []}]
snapshot_id:
  description: The snapshot that it is from; empty when nothing was missing.
  returned: success
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
due:
  description: What was suspended, as the commands that give it back.
  returned: success
  type: list
  elements: str
reconcilers:
  description: Others that may change these objects and were not suspended.
  returned: success
  type: list
  elements: str
calls:
  description: How often the API server was asked.
  returned: success
  type: int
  sample: 12
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that the API server accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: restore
    target: ai
    summary: made again Secret database, from snapshot 01K9Z5V6A8T7Q2N4M3R1C0X9YB of 2026-01-01T00:00:00Z; …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "objects": {"type": "list", "elements": "str", "default": []},
            "replace": {"type": "list", "elements": "str", "default": []},
            "snapshot_id": {"type": "str"},
            "identity": {"type": "path"},
            "rollout_within": {"type": "float", "default": 300.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
