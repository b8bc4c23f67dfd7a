#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_database_restore
short_description: Bring damaged tables of a database on Kubernetes back from a dump
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Asks for CSI snapshots of the volumes where C(codeblue_kubernetes.database.volume_snapshot_class) names a class and
    the cluster has VolumeSnapshots, and says so where it has none.
  - Has Jobs take an emergency dump and read it back, restore the newest dump on which every rule holds into a copy
    beside, compare the damaged tables with it, and bring these back. With PostgreSQL in one transaction, in which the
    rules have to hold; with MongoDB each collection is renamed over the damaged one.
  - A Job is not made from the CronJob of the backup, which would take a backup. A resumed run finds the Jobs of its
    first attempt by their names and takes what they have done.
  - Refuses, with exit code 3, a dump that is older than the RPO of the service unless C(data_loss) was accepted.
options:
  accept:
    description: What is accepted, in check mode; a run has a record of its own.
    type: list
    elements: str
    default: []
  timeout:
    description: Deadline of each Job in seconds.
    type: float
    default: 900.0
attributes:
  check_mode:
    support: full
    details: Only reads from the API server.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_writes_stop
  - module: codeblue.recovery.postgresql_restore_tables
"""

EXAMPLES = r"""
- name: Bring damaged tables back
  codeblue.recovery.kubernetes_database_restore:
    timeout: 1800
"""

RETURN = r"""
tables:
  description: What was brought back.
  returned: success
  type: list
  elements: str
  sample: [record_digests, records]
dump:
  description: The dump that they came from.
  returned: when it was restored
  type: str
  sample: clinic-2026-01-02.dump
dump_age_seconds:
  description: How old it is.
  returned: when it was restored
  type: int
differences:
  description: For each table how many rows were taken out and put back.
  returned: when it was restored
  type: list
  elements: dict
  sample: [{table: records, live: 500, beside: 500, out: 40, back: 40}]
emergency_dump:
  description: Where everything as it was is kept, with its digest.
  returned: when it was restored
  type: dict
  sample: {file: codeblue-emergency-01j9.dump, bytes: 20480, sha256: 9f86d081...}
calls:
  description: How often the API server was asked.
  returned: when it was restored
  type: int
  sample: 40
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "accept": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 900.0},
        }
    )


if __name__ == "__main__":
    main()
