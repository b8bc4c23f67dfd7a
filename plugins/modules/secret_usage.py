#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks for files that hold the same secret."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_usage
short_description: Find the files of a machine that hold a secret, by keyed digests
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Tells digests of the secrets in files that are named, and looks for known digests in all files below directories.
  - No value leaves the machine. Digests are keyed by a salt that is made for each look and kept nowhere.
  - Looks into regular files of up to 64 KiB, follows no links, and says which directories it could not see whole.
  - Changes nothing.
options:
  salt:
    description: A random text by which the digests are keyed.
    type: str
    required: true
  files:
    description: Files whose secrets are asked for.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the file.
        type: path
        required: true
      pattern:
        description:
          - A regular expression whose group C(password) is the secret.
          - Without it a file holds PEM, or secrets one a line.
        type: str
  directories:
    description: Where to look for O(known).
    type: list
    elements: path
    default: []
  known:
    description: Digests of secrets, with the same O(salt), from any machine.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for everything together.
    type: float
    default: 20.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
"""

EXAMPLES = r"""
- name: See whether another file holds the same key
  codeblue.recovery.secret_usage:
    salt: "{{ look_salt }}"
    directories: [/etc/records, /etc/reports]
    known: [5f0c9a2b7d41]
  no_log: true
"""

RETURN = r"""
held:
  description: The digests of the secrets in each of O(files) that could be read.
  returned: success
  type: dict
  sample: {/etc/records/database.password: [5f0c9a2b7d41]}
found:
  description: Files below O(directories) that hold one of O(known), and which.
  returned: success
  type: dict
  sample: {/etc/reports/job.ini: [5f0c9a2b7d41]}
not_seen_whole:
  description: Directories with more files than are looked into, or in which the time was over.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_usage import find_holders, held_digests


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Named files first, then everything below the directories."""
    deadline = Deadline(params["timeout"])
    found, cut = find_holders(params["directories"], params["known"], params["salt"], deadline)
    return {"held": held_digests(params["files"], params["salt"]), "found": found, "not_seen_whole": cut}


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "salt": {"type": "str", "required": True, "no_log": True},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": {"type": "path", "required": True}, "pattern": {"type": "str", "no_log": False}},
            },
            "directories": {"type": "list", "elements": "path", "default": []},
            "known": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 20.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
