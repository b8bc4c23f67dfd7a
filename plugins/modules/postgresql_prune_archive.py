#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removes archived log of PostgreSQL that no base backup needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_prune_archive
short_description: Remove archived log of PostgreSQL that no base backup needs
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Removes the segments before O(needed_from), on every timeline, as C(pg_archivecleanup) does, also compressed ones
    (C(.gz), C(.lz4), C(.zst), C(.bz2), C(.xz)). The oldest goes first, so that what is left never has a gap.
  - Histories of timelines, labels of backups and all files with other names stay.
  - Use it only where nobody else restores from the archive or prunes it. O(needed_from) has to be the lowest
    C(start_lsn) of all backups that are kept, on every machine.
options:
  archive_dir:
    description: The log archive on the machine.
    type: path
    required: true
  needed_from:
    description: The position of the log from which on everything stays.
    type: str
    required: true
  segment_bytes:
    description: C(wal_segment_size) of the cluster.
    type: int
    default: 16777216
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
seealso:
  - module: codeblue.recovery.snapshot_prune
"""

EXAMPLES = r"""
- name: See how much log would go
  codeblue.recovery.postgresql_prune_archive:
    archive_dir: /var/lib/wal-archive
    needed_from: 0/2000028
  check_mode: true
"""

RETURN = r"""
before:
  description: How many segments there were, the first of them, and the bytes that are free on their file system.
  returned: success
  type: dict
  sample: {segments: 412, first: "000000010000000000000001", free_bytes: 81604378624}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {segments: 96, first: "00000001000000000000013C", free_bytes: 86906044416}
removed_segments:
  description: How many went, or would.
  returned: success
  type: int
  sample: 316
freed_bytes:
  description: Their bytes.
  returned: success
  type: int
  sample: 5301600256
accepted_at:
  description: Unix time of the first change, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._backup_retention import (
    free_bytes,
    needless_segments,
    remove_segments,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_archive import (
    DEFAULT_SEGMENT_BYTES,
    Segment,
    WalArchive,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Remove the segments before the position."""
    directory = params["archive_dir"]
    archive = WalArchive(directory, params["segment_bytes"])
    segments = archive.segments()
    needless = needless_segments(archive, params["needed_from"])
    before = _state(segments, directory)
    told = {"removed_segments": len(needless), "freed_bytes": sum(segment.bytes for segment in needless)}
    if not needless:
        return StepOutcome(False, before, before, told)
    if context.check_mode:
        names = {segment.name for segment in needless}
        return StepOutcome(True, before, _state([each for each in segments if each.name not in names], directory), told)
    context.accept(before)
    told["freed_bytes"] = remove_segments(archive, needless)
    return StepOutcome(True, before, _state(archive.segments(), directory), told)


def _state(segments: t.Sequence[Segment], directory: str) -> t.Dict[str, t.Any]:
    first = min(segments, key=lambda each: each.number).name if segments else None
    return {"segments": len(segments), "first": first, "free_bytes": free_bytes(directory)}


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "archive_dir": {"type": "path", "required": True},
            "needed_from": {"type": "str", "required": True},
            "segment_bytes": {"type": "int", "default": DEFAULT_SEGMENT_BYTES},
        },
        perform,
    )


if __name__ == "__main__":
    main()
