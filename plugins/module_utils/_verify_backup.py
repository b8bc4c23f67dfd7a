# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a base backup back, every byte of it, and names what is not as it was when it was taken."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    BackupRecord,
    backup_chain,
    data_directory,
    sha256_of,
    unlisted_files,
)

# A broken disk breaks many files; the first ones tell enough.
MOST_PROBLEMS = 50

_ERROR = re.compile(r"^(?:pg_verifybackup|pg_waldump): error: (.*)$")


@dataclass(frozen=True)
class BackupVerification:
    """How a verification ended.

    :param problems: one line each, naming backup and file; at most `MOST_PROBLEMS`.
    :param backups: the identifiers that were read: the backup and all it is built upon.
    """

    backups: t.Tuple[str, ...]
    problems: t.Tuple[str, ...]
    files: int
    bytes: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.problems

    def raise_if_damaged(self) -> None:
        """:raises CodeblueError: something was found; names the first problem."""
        if self.problems:
            more = " and %d more" % (len(self.problems) - 1) if len(self.problems) > 1 else ""
            raise CodeblueError(
                "the backup is damaged: %s%s" % (self.problems[0], more), "nothing was touched; use another backup"
            )


def verify_backup(
    login: Login, destination: str, backup_id: str, deadline: Deadline, expected_digest: t.Optional[str] = None
) -> BackupVerification:
    """Verify a backup and all it is built upon.

    PostgreSQL compares every file with the manifest and parses the log that the backup needs; the files that it
    leaves out are compared with the digests that were taken right after the backup.

    :param login: for the tools and their user; no session is opened.
    :param expected_digest: of the backup's record, kept somewhere else (the catalog); finds a record that was
        replaced together with its files.
    :raises BadInput: there is no such backup.
    :raises CodeblueError: a record is damaged, or the deadline is over.
    """
    started = deadline.elapsed()
    chain = backup_chain(destination, backup_id)
    problems: t.List[str] = []
    if expected_digest is not None and chain[-1].digest() != expected_digest:
        problems.append("%s: the record is another one than the catalog knows" % backup_id)
    for record in chain:
        problems += _unlisted_problems(destination, record)
        problems += _postgresql_problems(login, destination, record, deadline)
    return BackupVerification(
        backups=tuple(record.backup_id for record in chain),
        problems=tuple(problems[:MOST_PROBLEMS]),
        files=sum(record.files for record in chain),
        bytes=sum(record.bytes for record in chain),
        seconds=round(deadline.elapsed() - started, 3),
    )


def _unlisted_problems(destination: str, record: BackupRecord) -> t.List[str]:
    data_dir = data_directory(destination, record.backup_id)
    problems = []
    for path, digest in sorted(record.unlisted.items()):
        try:
            if sha256_of(os.path.join(data_dir, path)) != digest:
                problems.append("%s: %s was altered" % (record.backup_id, path))
        except FileNotFoundError:
            problems.append("%s: %s is missing" % (record.backup_id, path))
        except OSError as error:
            problems.append("%s: %s cannot be read: %s" % (record.backup_id, path, error.strerror))
    for path in unlisted_files(data_dir):
        if path not in record.unlisted:
            problems.append("%s: %s was added" % (record.backup_id, path))
    return problems


def _postgresql_problems(login: Login, destination: str, record: BackupRecord, deadline: Deadline) -> t.List[str]:
    answer = run_command(
        [login.tool("pg_verifybackup"), data_directory(destination, record.backup_id)], deadline, user=login.os_user
    )
    if answer.ok:
        return []
    if answer.returncode is None:
        raise CodeblueError("backup %s: %s" % (record.backup_id, answer.complaint()), "give it more time")
    found = [match.group(1) for match in map(_ERROR.match, answer.stderr.splitlines()) if match]
    return ["%s: %s" % (record.backup_id, text) for text in (found or [answer.complaint()])]
