# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a cluster restored from a base backup and the log archive into the place of one that is lost.

The cluster is first restored beside, replayed to the end of the archive, promoted and stopped. Only then the lost
data directory is moved aside by a rename, and the restored one into its place by another. What was lost is kept:
something may still be read from it.
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import account_of
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import read_control_data
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import server_processes
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    Beside,
    RestoreRequest,
    discard_unfinished,
    restore_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_server import stop_server
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

State = t.Dict[str, t.Any]

# In the restored data directory: which step put it there. PostgreSQL leaves files alone that it does not know.
MARKER = "codeblue_restored.json"


class RestoreInPlace:
    """One restore of one member; every method may be called again after a crash.

    :param name: of the step, the same at each attempt; in the names of directories.
    """

    def __init__(self, member: Member, name: str) -> None:
        self._member = member
        parent, base = os.path.split(member.data_dir)
        self.beside = os.path.join(parent, ".%s.restoring-%s" % (base, name))
        self.lost = os.path.join(parent, "%s.lost-%s" % (base, name))
        self._name = name

    def look(self, deadline: Deadline) -> State:
        """What there is: what the control file says, and whether this very restore put it there."""
        try:
            cluster_state: t.Optional[str] = read_control_data(self._member, deadline).state
        except CodeblueError:
            # Damaged or gone: that is why it is restored.
            cluster_state = None
        return {
            "data_dir": os.path.isdir(self._member.data_dir),
            "cluster_state": cluster_state,
            "restored": self.is_in_place(),
            "lost_kept": os.path.isdir(self.lost),
        }

    def is_in_place(self) -> bool:
        """The data directory is the one that this restore made."""
        return _marked_by(self._member.data_dir) == self._name

    def refuse_if_in_use(self) -> None:
        """:raises Refused: a server still runs in the data directory."""
        running = server_processes(self._member.data_dir)
        if running:
            raise Refused(
                "%s is in use by process %d: nothing was touched" % (self._member.data_dir, running[0].pid),
                "stop it, and see that it stays down",
            )

    def restore(self, request: RestoreRequest, deadline: Deadline) -> State:
        """Restore beside to the end of the archive and stop the copy in order; what it has.

        :raises CodeblueError: the backup is damaged or the log does not lead on; nothing was touched.
        """
        discard_unfinished(request.directory)
        copy = restore_beside(request, deadline)
        try:
            if copy.in_recovery:
                raise CodeblueError("the restored cluster did not end its recovery", "look at its log and try again")
            if os.listdir(os.path.join(copy.data_dir, "pg_tblspc")):
                raise Refused(
                    "the cluster has tablespaces, which are not put into place by themselves: nothing was touched",
                    "restore by hand, see the manual: 25.3.5",
                )
        except BaseException:
            copy.stop()
            raise
        stop_server(copy.place)
        self._make_it_the_production(copy, deadline)
        return {
            "backups": list(copy.place.backups),
            "timeline": copy.timeline,
            "replayed_lsn": copy.replayed_lsn,
            "last_transaction_at": copy.last_transaction_at,
            "seconds": dict(copy.seconds),
        }

    def swap(self) -> None:
        """Move the lost data directory aside and the restored one into its place; goes on where it was cut off."""
        if self.is_in_place():
            return
        place = self._member.data_dir
        if os.path.lexists(place):
            os.rename(place, self.lost)
        os.rename(os.path.join(self.beside, "data"), place)
        sync_directory(os.path.dirname(place))

    def is_prepared(self) -> bool:
        """A restored and stopped copy waits beside for the swap."""
        return _marked_by(os.path.join(self.beside, "data")) == self._name

    def tidy(self) -> None:
        """Remove what is left of the place beside."""
        if os.path.isdir(self.beside):
            shutil.rmtree(self.beside)

    def told(self) -> State:
        """What the restore that is in place or prepared said of itself."""
        for directory in (self._member.data_dir, os.path.join(self.beside, "data")):
            if _marked_by(directory) == self._name:
                with open(os.path.join(directory, MARKER), encoding="utf-8") as stream:
                    return dict(json.load(stream)["restored"])
        return {}

    def _make_it_the_production(self, copy: Beside, deadline: Deadline) -> None:
        """Give the copy back what was taken from it, flush all of it, and mark it last."""
        kept = os.path.join(copy.place.directory, "postgresql.auto.conf.production")
        if os.path.exists(kept):
            os.replace(kept, os.path.join(copy.data_dir, "postgresql.auto.conf"))
        for name in ("recovery.signal", "standby.signal", "backup_label.old", "postmaster.opts"):
            if os.path.lexists(os.path.join(copy.data_dir, name)):
                os.unlink(os.path.join(copy.data_dir, name))
        answer = run_command(
            [self._member.login.tool("initdb"), "--sync-only", "--pgdata=" + copy.data_dir],
            deadline,
            user=self._member.os_user,
        )
        if not answer.ok:
            raise CodeblueError("the restored cluster cannot be flushed to disk: %s" % answer.complaint())
        told = {"backups": list(copy.place.backups), "timeline": copy.timeline, "replayed_lsn": copy.replayed_lsn}
        told["last_transaction_at"] = copy.last_transaction_at
        told["seconds"] = dict(copy.seconds)
        marker = json.dumps({"by": self._name, "restored": told}, sort_keys=True) + "\n"
        write_file(os.path.join(copy.data_dir, MARKER), marker.encode(), 0o600, account_of(self._member.os_user))


def _marked_by(data_dir: str) -> t.Optional[str]:
    try:
        with open(os.path.join(data_dir, MARKER), encoding="utf-8", errors="replace") as stream:
            found = json.loads(stream.read(65536))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return None
    return str(found.get("by")) if isinstance(found, dict) else None
