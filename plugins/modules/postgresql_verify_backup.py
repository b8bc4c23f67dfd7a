#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Verifies a base backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_verify_backup
short_description: Read a base backup back and name what is damaged
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Runs C(pg_verifybackup) on the backup and on all it is built upon, the parsing of the log included, and compares
    the files that it leaves out with the digests from the time of the backup.
  - Says how far the log archive reaches from there without a gap.
  - Changes nothing. A damaged backup is a result, not a failure.
options:
  destination:
    description: Directory on the machine that holds the backups.
    type: path
    required: true
  backup_id:
    description: Name of the backup.
    type: str
    required: true
  expected_digest:
    description: C(digest) of the backup as the catalog has it. Finds a backup that was replaced as a whole.
    type: str
  archive_dir:
    description: The log archive. It is not looked at when it is left out.
    type: path
  timeout:
    description: Seconds for everything together.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
"""

EXAMPLES = r"""
- name: Verify the last backup and the log behind it
  codeblue.recovery.postgresql_verify_backup:
    bin_dir: /usr/lib/postgresql/18/bin
    destination: /var/backups/patient_db
    backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
    archive_dir: /var/lib/wal-archive
"""

RETURN = r"""
ok:
  description: Every byte of the backup is as it was when it was taken.
  returned: success
  type: bool
problems:
  description: One line each, naming backup and file; at most 50.
  returned: success
  type: list
  elements: str
  sample: ['01K9Z5V6A8T7Q2N4M3R1C0X9YB: checksum mismatch for file "base/5/16384"']
backups:
  description: The backups that were read, the full one first.
  returned: success
  type: list
  elements: str
backup:
  description: What is known about the backup, as RV(codeblue.recovery.postgresql_base_backup#module:backup).
  returned: success
  type: dict
files:
  description: How many files were read.
  returned: success
  type: int
bytes:
  description: How many bytes were read.
  returned: success
  type: int
archive:
  description:
    - How far the archived log reaches on the timeline of the backup. C(until_lsn) is the end of the last segment
      before the first gap, C(age_seconds) how long ago the last segment arrived.
  returned: when O(archive_dir) is given
  type: dict
  sample: {complete: true, until_lsn: 0/7000000, gaps: [], truncated: [], age_seconds: 41.5,
           first: "000000010000000000000002", last: "000000010000000000000006"}
seconds:
  description: How long the reading took.
  returned: success
  type: float
"""

import typing as t
from dataclasses import asdict

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import read_record
from ansible_collections.codeblue.recovery.plugins.module_utils._verify_backup import verify_backup
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_archive import WalArchive


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Read everything once."""
    record = read_record(params["destination"], params["backup_id"])
    report = verify_backup(
        Login.from_params(params),
        params["destination"],
        params["backup_id"],
        Deadline(params["timeout"]),
        params["expected_digest"],
    )
    result = {
        "ok": report.ok,
        "problems": list(report.problems),
        "backups": list(report.backups),
        "backup": record.as_dict(),
        "files": report.files,
        "bytes": report.bytes,
        "seconds": report.seconds,
    }
    if params["archive_dir"] is not None:
        archive = WalArchive(params["archive_dir"], record.segment_bytes)
        coverage = archive.coverage(record.timeline, record.start_lsn)
        result["archive"] = {
            **asdict(coverage),
            "gaps": list(coverage.gaps),
            "complete": coverage.complete,
            "truncated": archive.truncated(record.timeline)[:50],
        }
    return result


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            **login_arguments(),
            "destination": {"type": "path", "required": True},
            "backup_id": {"type": "str", "required": True},
            "expected_digest": {"type": "str"},
            "archive_dir": {"type": "path"},
            "timeout": {"type": "float", "default": 3600.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
