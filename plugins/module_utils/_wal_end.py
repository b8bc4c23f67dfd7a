# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gets all that a primary has written into its archive, so that a copy can be replayed to this very moment."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession

_ARCHIVE_SECONDS = 120.0
_MARK = "codeblue: writes stopped"


class WalEnd(t.NamedTuple):
    """The end of the log.

    :param until_lsn: everything before it is in the archive, and a record begins there.
    """

    timeline: int
    until_lsn: int


def archive_everything(sql: PsqlSession, archive_dir: str, deadline: Deadline) -> WalEnd:
    """Close the present segment and wait until it is archived.

    :raises CodeblueError: it does not arrive; archiving is broken.
    """
    row = sql.row(
        "SELECT pg_current_wal_insert_lsn()::text AS until, pg_walfile_name(pg_create_restore_point(%s)) AS segment"
        % ("'%s'" % _MARK)
    )
    sql.query("SELECT pg_switch_wal()")
    path = os.path.join(archive_dir, row["segment"])
    if not deadline.within(_ARCHIVE_SECONDS).wait_until(lambda: os.path.exists(path), 0.05):
        said = sql.row("SELECT last_failed_wal, failed_count FROM pg_stat_archiver")
        raise CodeblueError(
            "segment %s does not arrive in %s (%s archivings failed)"
            % (row["segment"], archive_dir, said["failed_count"]),
            "see archive_command and its disk; without it the last minutes cannot be looked at",
        )
    return WalEnd(int(row["segment"][:8], 16), parse_lsn(row["until"]))
