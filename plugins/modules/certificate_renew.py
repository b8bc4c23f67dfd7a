#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_renew
short_description: Issue new certificates for a service and load them without dropping a connection
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes a new key for each certificate of the service, has it signed by the site's own authority, whose key is
    referred to by the inventory and read on the controller, and gives it to the running gateway.
  - Ends when the checks of the service pass. Clients trust the new certificate because they trust the authority.
  - What was shown before is not kept, an expired certificate is of no use. A running connection goes on.
options:
  names:
    description: Names in C(codeblue_host.certificates). All of them when the list is empty.
    type: list
    elements: str
    default: []
  reason:
    description: Why, for the record.
    type: str
    default: ""
  usable_within:
    description: Seconds until the checks of the service have to pass.
    type: float
    default: 15.0
attributes:
  check_mode:
    support: full
    details: A certificate is issued and thrown away, so that an authority that cannot issue is found.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.haproxy_certificate
"""

EXAMPLES = r"""
- name: Renew what has expired
  codeblue.recovery.certificate_renew:
    names: [login]
    reason: it has expired
"""

RETURN = r"""
renewed:
  description: The new certificates.
  returned: success
  type: list
  elements: dict
  sample: [{name: login, file: /etc/haproxy/certs/login.pem, serial: 5F0C9A2B7D41, expires_at: "2026-05-01T14:05:00Z"}]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: rotate_secrets
    target: auth
    summary: renewed the certificate of login, valid until 2026-05-01T14:05:00Z
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "names": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str", "default": ""},
            "usable_within": {"type": "float", "default": 15.0},
        }
    )


if __name__ == "__main__":
    main()
