#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: collect_evidence
short_description: Take evidence from all machines of the targets before anything changes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Collects connections, processes, memory maps and open files of the services' processes, the ends of the logs and the
    hashes of configuration and release files from all machines at once, within a fixed time. A machine that does not
    answer is named and not waited for.
  - Of a service on Kubernetes its API server is asked, within the same time for each service. That gives the state of
    its pods, the ends of the logs of their containers with those of containers that ended before, events, and the
    manifests of the namespace. Values of Secrets and variables become digests that tell only within this one collection
    which are the same. What cannot be had is named in the custody record.
  - Each piece is encrypted to O(recipients) before it is written on the controller. Without recipients only hashes
    and sizes are kept.
  - A custody record says who took what, when and from which machine, with the SHA-256 of every piece before and after
    its encryption; its digests go into the record of the run. C(codeblue evidence) lists, verifies and exports.
  - A run takes the evidence of a machine once. When it is resumed, what was taken before the first change stands.
  - Runs once for all hosts of the play. Its task says C(run_once=true) as well.
options:
  within:
    description: The time box of each machine, such as V(3s).
    type: str
    default: 3s
  recipients:
    description: C(age) recipients, or files with them, to whom evidence is encrypted.
    type: list
    elements: str
    default: []
  directory:
    description: >-
      Where evidence is kept on the controller. C(codeblue/evidence) in C($XDG_STATE_HOME) when it is left out.
    type: path
  bytes_per_log:
    description: How many bytes of the end of each log are taken.
    type: int
    default: 65536
attributes:
  check_mode:
    support: full
    details: Collects nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.machine_evidence
"""

EXAMPLES = r"""
- name: Take evidence of all machines
  codeblue.recovery.collect_evidence:
    within: 5s
    recipients: [/etc/codeblue/evidence.recipients]
  run_once: true
"""

RETURN = r"""
evidence:
  description: For each machine that answered hashes and sizes, and where its evidence lies when it was kept.
  returned: when not in check mode
  type: list
  elements: dict
  sample: [{target: app1, name: machine, size_bytes: 20511,
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08,
    pieces: [{name: connections, size_bytes: 911, sha256: 60303ae2...}]}]
missing:
  description: The machines that did not answer.
  returned: when not in check mode
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
    stage: evidence
    target: patient_db
    summary: evidence of 3 machines, 27 pieces
    changed: false
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "within": {"type": "str", "default": "3s"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
            "bytes_per_log": {"type": "int", "default": 65536},
        }
    )


if __name__ == "__main__":
    main()
