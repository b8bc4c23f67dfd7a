#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_create
short_description: Take a snapshot of a service, all its levels bound by one manifest
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - A database gets a base backup on the machine of its present primary, in C(<codeblue_snapshot_directory>/<service>)
    there, and a copy of it in the store of the controller when O(recipients) names somebody.
  - A service with instances gets its configuration files, its current release and its flags read into the store. Logs
    are not kept; evidence takes those.
  - What stands around a service is kept in the store as the level C(infrastructure). That is the configuration,
    patterns, maps, certificates with their keys and server states of its gateway, the rules of nftables, and what names
    resolve to on its machines. What cannot be learned is said and fails nothing. A snapshot of a database of
    O(kind=emergency) goes without.
  - The snapshot's id comes from the run. A run that is resumed finds what it has taken, and takes nothing twice.
options:
  kind:
    description: What it is taken for, for the catalog.
    type: str
    choices: [scheduled, on_demand, pre_deployment, emergency]
    default: on_demand
  backup_kind:
    description:
      - V(auto) builds upon the newest good snapshot of the catalog that lies on the same machine, where the server
        allows it, and takes a full base backup otherwise.
    type: str
    choices: [auto, full, incremental]
    default: auto
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
      - Directories in other places, such as mounts of another site, that get a copy of the snapshot and of what it is
        built upon. Each piece is read back there and compared.
      - A place that cannot be written fails the task after the snapshot is in the catalog.
      - A snapshot of O(kind=emergency) is not copied, so that a recovery does not wait for it.
    type: list
    elements: path
    default: []
  max_rate:
    description: Kilobytes per second that the database may send. No limit when it is left out.
    type: int
  timeout:
    description: Seconds for everything together on the machine.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
    details: Says what would be taken, and for a database why the backup would be full or incremental.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. Each run takes a snapshot of its own.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.snapshot_verify
  - module: codeblue.recovery.snapshot_prove
  - module: codeblue.recovery.postgresql_base_backup
  - module: codeblue.recovery.file_read_stream
"""

EXAMPLES = r"""
- name: Take a snapshot before a deployment
  codeblue.recovery.snapshot_create:
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
  sample: code+configuration+data+infrastructure
location:
  description: Where it is.
  returned: success, not in check mode
  type: str
  sample: db1:/var/backups/codeblue/patient_db/01K9Z5V6A8T7Q2N4M3R1C0X9YB
size_bytes:
  description: What is in it.
  returned: success, not in check mode
  type: int
  sample: 31457280
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: snapshot
    target: patient_db
    summary: "full base backup 01K9Z5V6A8T7Q2N4M3R1C0X9YB on db1, 31.5 MB, copy in the store"
    changed: true
    accepted_at: 1795225858.2
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
            "backup_kind": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "store": {"type": "path"},
            "copies": {"type": "list", "elements": "path", "default": []},
            "max_rate": {"type": "int"},
            "timeout": {"type": "float", "default": 3600.0},
        }
    )


if __name__ == "__main__":
    main()
