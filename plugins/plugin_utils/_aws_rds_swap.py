# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a restored database in the place of the original, by their names.

The address of a database is made from its name, so consumers find the restored one without being told. Two renames, the
original first: in between nobody has the name, for as long as RDS takes. Which database is which is told by what stays
when they are renamed, so that a swap that was killed anywhere goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace


@dataclass(frozen=True)
class Rename:
    """One of the two.

    :param identity: of the database, as `DatabaseLook.identity` has it.
    """

    before: DatabasePlace
    after: DatabasePlace
    identity: str

    def is_done(self, databases: RdsDatabases) -> bool:
        """Whether it has its new name.

        :raises Refused: another database has one of the names.
        :raises NotFound: it is under neither of them.
        """
        there = databases.look(self.after)
        if there is not None:
            if there.identity != self.identity:
                raise Refused(f"{self.after} is another database: nothing was renamed", "look who made it")
            return True
        here = databases.look(self.before)
        if here is None:
            # RDS knows it by neither while it renames it.
            return False
        if here.identity != self.identity:
            raise Refused(f"{self.before} is another database by now: nothing was renamed", "look who made it")
        return False

    def carry_out(self, databases: RdsDatabases) -> bool:
        """Begin it; False when it has been begun, or is done."""
        if self.is_done(databases):
            return False
        word = "NewDBClusterIdentifier" if self.before.cluster else "NewDBInstanceIdentifier"
        try:
            databases.modify(self.before, {word: self.after.identifier})
        except (Conflict, NotFound):
            # It is being renamed, by an attempt that was killed; what becomes of it is waited for.
            seen = databases.look(self.before)
            if seen is not None and seen.status == "available":
                raise
            return False
        return True

    def until_done(self, databases: RdsDatabases, seconds: float) -> DatabaseLook:
        """Wait until it is available under its new name, and has an address there.

        :raises NotReady: it is not in time.
        """

        def still_to_come(seen: DatabaseLook | None) -> str:
            if seen is None:
                return "it does not have its new name"
            if seen.identity != self.identity:
                return "another database has that name"
            return seen.unsettled or ("" if seen.address else "it has no address")

        return databases.until(self.after, still_to_come, seconds, f"renamed to {self.after.identifier}")
