#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads files of a machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_read_stream
short_description: Read files and directories of a machine as a tar stream, a piece at a time
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Gives the next piece of a tar stream (POSIX pax) of some files, so that a snapshot of any size passes through a
    module with bounded memory and without a temporary file on the machine.
  - Hard links are read as files of their own. Sockets, pipes and devices are left out.
  - The answer holds what is in the files. Use it with C(no_log), and let nothing record it.
options:
  root:
    description: The directory that the paths are relative to.
    type: path
    required: true
  paths:
    description: Files and directories, relative to O(root). All of it when the list is empty.
    type: list
    elements: str
    default: []
  cursor:
    description: RV(cursor) of the piece before. The first piece when it is left out.
    type: str
  piece_bytes:
    description: About how many bytes of the stream to give, before compression.
    type: int
    default: 4194304
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
- name: Read the first piece of the configuration
  codeblue.recovery.file_read_stream:
    root: /etc/clinic
    paths: [records.yml, conf.d]
  register: __first_piece
  no_log: true
"""

RETURN = r"""
content:
  description: The piece, compressed by zlib, in base 64.
  returned: success
  type: str
sha256:
  description: Digest of the piece before compression.
  returned: success
  type: str
cursor:
  description: For the next call; V(null) when this was the last piece.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_pieces import DEFAULT_PIECE_BYTES, read_piece


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Read one piece."""
    return read_piece(params["root"], params["paths"], params["cursor"], params["piece_bytes"]).as_dict()


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "root": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "str", "default": []},
            "cursor": {"type": "str"},
            "piece_bytes": {"type": "int", "default": DEFAULT_PIECE_BYTES},
        },
        look,
    )


if __name__ == "__main__":
    main()
