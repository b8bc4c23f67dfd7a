#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks for patient data in logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi_scan
short_description: Count protected health information in logs, without repeating any of it
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads logs and the files that rotation has put aside line by line, in bounded memory, and counts identifiers of
    patients by kind, file and release.
  - Returns counts, line numbers and keyed digests; never a line, never a value. Changes nothing.
  - Finds what has a form, and fields that are known by name. A name in the middle of a sentence is not found.
options:
  log_files:
    description: Paths of live logs. Rotated ones beside them are read too.
    type: list
    elements: path
    required: true
  rotated:
    description: Read what rotation has put aside as well.
    type: bool
    default: true
  identifiers:
    description: The site's own identifiers of patients, name to regular expression.
    type: dict
    default: {}
  fields:
    description: Names of fields in logs to the kind of data in them.
    type: dict
    default: {}
  ignore:
    description: Regular expressions of values that are no patient's.
    type: list
    elements: str
    default: []
  digest_key:
    description: Key of the digests. The same person has the same digest under the same key, and none without it.
    type: str
    required: true
  most_people:
    description: How many digests are returned.
    type: int
    default: 50000
  timeout:
    description: Seconds. What was not read in time is named in RV(left_out).
    type: float
    default: 30.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
seealso:
  - module: codeblue.recovery.log_scrub
"""

EXAMPLES = r"""
- name: Look for patient data in the log of the records service
  codeblue.recovery.phi_scan:
    log_files: [/var/log/records/service.log]
    identifiers: {patient_ref: 'PT-[0-9]{6}'}
    digest_key: "{{ lookup('ansible.builtin.file', '/etc/codeblue/phi-digest.key') }}"
  no_log: true
"""

RETURN = r"""
files:
  description:
    - For each file its digest, how many lines were read, how many hold something, of which kinds, and which release
      wrote them.
  returned: success
  type: dict
  sample: {/var/log/records/service.log: {sha256: 9f86d081..., lines_read: 812, lines: 3, counts: {patient_ref: 3},
           first_lines: [7], versions: {1.3.0: 3}}}
people:
  description: Keyed digests of the people, as far as identifiers tell them apart.
  returned: success
  type: list
  elements: str
  sample: [3f1c0a9b77d2e410]
people_truncated:
  description: There are more than O(most_people).
  returned: success
  type: bool
left_out:
  description: What could not be read, and why.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import PhiDetector
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_files import files_of_log, scan_files


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Scan once."""
    detector = PhiDetector(params["identifiers"], params["fields"], params["ignore"])
    paths = [file.path for log in params["log_files"] for file in files_of_log(log) if file.live or params["rotated"]]
    key = params["digest_key"].encode()
    return scan_files(paths, detector, key, Deadline(params["timeout"]), params["most_people"])


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "log_files": {"type": "list", "elements": "path", "required": True},
            "rotated": {"type": "bool", "default": True},
            "identifiers": {"type": "dict", "default": {}},
            "fields": {"type": "dict", "default": {}},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "digest_key": {"type": "str", "required": True, "no_log": True},
            "most_people": {"type": "int", "default": 50000},
            "timeout": {"type": "float", "default": 30.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
