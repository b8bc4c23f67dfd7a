#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a migration of a database's schema back, or applies one, with the tool that made it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: schema_migration
short_description: Take the newest schema migration back, or apply one, with a migration tool
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Runs the commands of a migration tool on this machine, such as Alembic, Flyway, or a tool of plain SQL files.
  - Success is what the status says afterwards, not what the tool says of itself. A tool that took more back than it was
    asked to fails.
  - Takes back the newest migration only, one in a step, and never one that loses data unless O(accept) says so.
  - Tools of libpq get C(PGOPTIONS) with both time limits, so that the server ends what takes too long. For other tools
    they are in C(CODEBLUE_LOCK_TIMEOUT_MS) and C(CODEBLUE_STATEMENT_TIMEOUT_MS).
  - What the tool printed may hold rows and passwords. It is never returned, but kept in RV(output) on the machine.
options:
  mode:
    description: V(status) only looks.
    type: str
    choices: [down, up, status]
    required: true
  status_command:
    description:
      - Program and arguments that print what is applied, as a JSON list of objects with C(version), C(applied_at)
        (RFC 3339 with its zone) and, where it is known, C(way_back), C(tables) and C(description).
      - Or one line for each migration with version, time and way back, divided by blanks.
    type: list
    elements: str
    required: true
  down_command:
    description:
      - Program and arguments that take one migration back.
      - C({version}) stands for that migration, C({previous}) for the one before it, V(base) when there is none.
    type: list
    elements: str
  up_command:
    description: Program and arguments that apply one migration, with the same placeholders.
    type: list
    elements: str
  os_user:
    description: The commands run as this user when the module runs as root.
    type: str
  version:
    description: The migration.
    type: str
  way_back:
    description:
      - What taking a migration back costs when the status does not say it. V(clean) loses nothing, V(data_loss) loses
        data, for V(none) there is no way back.
    type: str
    choices: [clean, data_loss, none]
    default: data_loss
  accept:
    description: What is accepted.
    type: list
    elements: str
    choices: [data_loss]
    default: []
  lock_timeout:
    description: Seconds that a statement of the tool may wait for a lock. A tool that got none is started again, twice.
    type: float
    default: 2.0
  statement_timeout:
    description: Seconds that one statement of the tool may take.
    type: float
    default: 10.0
  history_entries:
    description: How many migrations to return.
    type: int
    default: 20
  timeout:
    description: Seconds for everything together.
    type: float
    default: 30.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See which migrations are applied
  codeblue.recovery.schema_migration:
    mode: status
    status_command: [/srv/clinic/migrations/migrate, status]
    os_user: deploy

- name: See what taking the newest one back would do
  codeblue.recovery.schema_migration:
    mode: down
    version: "0042"
    status_command: [/srv/clinic/migrations/migrate, status]
    down_command: [/srv/clinic/migrations/migrate, down, "{version}"]
  check_mode: true
  diff: true
"""

RETURN = r"""
before:
  description: The newest applied migration, and how many are applied.
  returned: success
  type: dict
  sample: {current: "0042", count: 42}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {current: "0041", count: 41}
applied:
  description:
    - The migrations that were applied before, the newest first. RV(ignore:applied_at) and RV(ignore:tables) are V(null)
      where the tool does not say it.
  returned: success
  type: list
  elements: dict
  sample:
    - version: "0042"
      applied_at: "2026-01-02T09:00:00.000000Z"
      way_back: clean
      tables: [records]
      description: rights by a role
output:
  description: The file on the machine with what the tool printed, for its owner alone.
  returned: when the tool was run
  type: str
  sample: /var/lib/codeblue/migrations/patient_db.01JB.down.0042.log
tries:
  description: How often the tool was started.
  returned: when the tool was run
  type: int
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_step_module
from ansible_collections.codeblue.recovery.plugins.module_utils._schema_migration import migrate


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "mode": {"type": "str", "required": True, "choices": ["down", "up", "status"]},
            "status_command": {"type": "list", "elements": "str", "required": True},
            "down_command": {"type": "list", "elements": "str"},
            "up_command": {"type": "list", "elements": "str"},
            "os_user": {"type": "str"},
            "version": {"type": "str"},
            "way_back": {"type": "str", "default": "data_loss", "choices": ["clean", "data_loss", "none"]},
            "accept": {"type": "list", "elements": "str", "default": [], "choices": ["data_loss"]},
            "lock_timeout": {"type": "float", "default": 2.0},
            "statement_timeout": {"type": "float", "default": 10.0},
            "history_entries": {"type": "int", "default": 20},
            "timeout": {"type": "float", "default": 30.0},
        },
        migrate,
        only_looks=lambda params: params["mode"] == "status",
        required_if=[
            ("mode", "down", ["version", "down_command"]),
            ("mode", "up", ["version", "up_command"]),
        ],
    )


if __name__ == "__main__":
    main()
