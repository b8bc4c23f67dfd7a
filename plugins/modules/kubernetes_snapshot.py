#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_snapshot
short_description: Take a snapshot of the objects of a service's namespace
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Keeps the objects of the namespace of a service on Kubernetes in the store of the controller, as the level
    C(objects). Kept are workloads, Jobs, CronJobs, Services, Ingresses, ConfigMaps, Secrets, ServiceAccounts, Roles,
    RoleBindings, NetworkPolicies, HorizontalPodAutoscalers, PodDisruptionBudgets and PersistentVolumeClaims. Of claims
    only the claim is kept, not what their volumes hold.
  - What the server manages is left out, so that an object can be made again. All of it is encrypted to O(recipients);
    the catalog holds kinds and numbers only.
  - Each kind is listed once, page by page. A kind that the account may not list is named and fails nothing.
  - Everything that was written is read back and compared with the digests of its encrypted form.
  - The snapshot's id comes from the run. A run that is resumed finds what it has taken, and takes nothing twice.
options:
  kind:
    description: What it is taken for, for the catalog.
    type: str
    choices: [scheduled, on_demand, pre_deployment, emergency]
    default: on_demand
  recipients:
    description: age recipients or SSH public keys, or files of them, who can read the store.
    type: list
    elements: str
    default: []
  store:
    description: The store on the controller. By default C($XDG_STATE_HOME/codeblue/snapshots).
    type: path
  copies:
    description:
      - Directories in other places, such as mounts of another site, that get a copy of the snapshot. Each piece is read
        back there and compared.
      - A place that cannot be written fails the task after the snapshot is in the catalog.
      - A snapshot of O(kind=emergency) is not copied, so that a recovery does not wait for it.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds for all calls to the API server together.
    type: float
    default: 300.0
attributes:
  check_mode:
    support: full
    details: Says what would be kept, and asks the API server nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. Each run takes a snapshot of its own.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.snapshot_create
  - module: codeblue.recovery.snapshot_verify
"""

EXAMPLES = r"""
- name: Keep the objects of the namespace before a deployment
  codeblue.recovery.kubernetes_snapshot:
    kind: pre_deployment
    recipients: [age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq]
"""

RETURN = r"""
snapshot_id:
  description: The snapshot's id, a ULID.
  returned: success, not in check mode
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
level:
  description: The levels in it, joined by C(+).
  returned: success, not in check mode
  type: str
  sample: objects
location:
  description: The store.
  returned: success, not in check mode
  type: str
  sample: /var/lib/codeblue/snapshots
size_bytes:
  description: What is in it.
  returned: success, not in check mode
  type: int
  sample: 314572
kinds:
  description: How many objects of each kind are in it.
  returned: success, not in check mode
  type: dict
  sample: {Deployment: 3, Secret: 5}
unknown:
  description: Kinds that could not be read, and why.
  returned: success, not in check mode
  type: list
  elements: str
  sample: ["Secret: the account may not list secrets in namespace clinic"]
calls:
  description: How often the API server was asked.
  returned: success, not in check mode
  type: int
  sample: 16
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: snapshot
    target: ai
    summary: "snapshot 01K9Z5V6A8T7Q2N4M3R1C0X9YB: 42 objects of namespace clinic, 0.1 MB, read back"
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "kind": {
                "type": "str",
                "choices": ["scheduled", "on_demand", "pre_deployment", "emergency"],
                "default": "on_demand",
            },
            "recipients": {"type": "list", "elements": "str", "default": []},
            "store": {"type": "path"},
            "copies": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "float", "default": 300.0},
        }
    )


if __name__ == "__main__":
    main()
