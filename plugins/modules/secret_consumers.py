#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_consumers
short_description: Find out who uses which secret
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks on all machines which files hold the secrets that the inventory names, and at databases from which addresses
    their roles have sessions. Whatever no consumer of the inventory names is a consumer that a rotation would lock out.
  - Only digests that are keyed by a salt of this very look leave a machine.
  - One task looks at all services, so it says C(run_once=true) as well. Changes nothing.
options: {}
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
  - module: codeblue.recovery.secret_usage
  - module: codeblue.recovery.postgresql_login_roles
"""

EXAMPLES = r"""
- name: Find consumers that the inventory does not name
  codeblue.recovery.secret_consumers:
  run_once: true
"""

RETURN = r"""
secrets:
  description: How many secrets the inventory names.
  returned: success
  type: int
  sample: 6
files:
  description: In how many files.
  returned: success
  type: int
  sample: 16
missing:
  description: Consumers that the inventory does not name, one line each.
  returned: success
  type: list
  elements: str
  sample: ["ai: app1: /etc/reports/job.ini holds the API key records, and no consumer of it says so"]
unseen:
  description: What could not be looked at, one line each.
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
    stage: rotate_secrets
    target: patient_db
    summary: 6 secrets in 16 files, 0 consumers that the inventory does not name
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module({})


if __name__ == "__main__":
    main()
