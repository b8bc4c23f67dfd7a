# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings a database back of which no member is left, by its newest snapshot that is whole and the archived log."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import (
    BadInput,
    CodeblueError,
    NotLeftSafe,
    Refused,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS, accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import member_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import BackupPlace
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import Snapshot, parse_time
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._usable import wait_until_usable
except ImportError:
    # StepAction says which package is missing.
    pass

_AROUND_SECONDS = 30.0
_LOOK_SECONDS = 20.0
# A snapshot that is damaged is followed by the one before it. Further back the loss is a decision for people.
_MOST_SNAPSHOTS = 3
_CALL_A_PERSON = (
    "nothing on the machines was touched; keep every data directory and the log archive as they are, bring a copy of a "
    "base backup from elsewhere, then run again"
)


class ActionModule(StepAction):
    """See plugins/modules/postgresql_restore.py."""

    STAGE = "restore"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "accept": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 3600.0},
        "usable_within": {"type": "float", "default": 30.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        database = service.require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        usable = self._usable_snapshots(database.members, arguments["diagnosis"])
        self._accepted(database, usable[0], service.objectives.rpo, arguments)
        damaged: list[str] = []
        for snapshot, place in usable:
            ended = self.change(
                Change(
                    action=f"restore_{snapshot.snapshot_id}",
                    machine=place.machine,
                    module="postgresql_restore_in_place",
                    arguments=_restore_arguments(database, place, arguments["timeout"]),
                    decision={"snapshot_id": snapshot.snapshot_id, "reason": "no member can be brought back"},
                    seconds=arguments["timeout"] + _AROUND_SECONDS,
                )
            )
            if ended.answer.ok:
                break
            if ended.answer.unreachable is not None:
                ended.checked()
            damaged.append(f"{snapshot.snapshot_id}: {ended.answer.failure}")
        else:
            raise self._nothing_left(f"no snapshot can be restored: {'; '.join(damaged)}")
        changes = [ended]
        gateway = service.require_host().gateway
        if gateway is not None:
            states = {place.machine: "ready"} | {n: "maint" for n in database.members if n != place.machine}
            changes.append(
                self.change(gateway_change(gateway, states, "lead_to_restored", reason="restored")).checked()
            )
        if not self.check_mode:
            wait_until_usable(
                service, arguments["usable_within"], "look at the gateway and at the restored server's log"
            )
        restored = ended.result.get("restored") or {}
        return {
            "changed": any(each.result.get("changed") for each in changes),
            "path": "restore",
            "primary": place.machine,
            "snapshot_id": snapshot.snapshot_id,
            "damaged": damaged,
            "restored_to": restored.get("last_transaction_at"),
            "lost_kept_in": ended.result.get("lost_kept_in"),
            "codeblue": {"summary": self._summary(snapshot, place.machine, restored, damaged)},
        }

    def _usable_snapshots(
        self, members: t.Mapping[str, t.Any], diagnosis: t.Mapping[str, t.Any]
    ) -> list[tuple[Snapshot, BackupPlace]]:
        """Base backups on members' machines that answer, the newest first.

        :raises NotLeftSafe: there is none.
        """
        found = self.store.snapshots(self.target)
        silent = diagnosis.get("unreachable") or {}
        usable, reasons = [], []
        for snapshot in found:
            place = BackupPlace.of(snapshot)
            if place is None or place.machine not in members:
                continue
            if snapshot.state == "corrupt":
                reasons.append(f"{snapshot.snapshot_id} is damaged")
            elif place.machine in silent:
                reasons.append(f"{snapshot.snapshot_id} is on {place.machine}, which is silent")
            else:
                usable.append((snapshot, place))
        if not usable:
            why = "; ".join(reasons) or "the catalog has no base backup"
            raise self._nothing_left(f"there is no snapshot to restore ({why})")
        return usable[:_MOST_SNAPSHOTS]

    def _nothing_left(self, reason: str) -> CodeblueError:
        return NotLeftSafe(f"{self.target}: all members are lost and {reason}"[:900], _CALL_A_PERSON)

    def _accepted(
        self, database: HostDatabase, newest: tuple[Snapshot, BackupPlace], rpo: float, arguments: dict[str, t.Any]
    ) -> None:
        """A restore loses what was not archived. Without a bound within the RPO a person has to accept it.

        :raises Refused: nobody did.
        """
        age = self._log_age(database, newest, arguments["timeout"])
        if age is not None and age <= rpo:
            return
        if DATA_LOSS not in accepted(None if self.check_mode else self.open_run(), arguments["accept"]):
            extent = f"of the last {age:.0f} s" if age is not None else "of an unknown span"
            raise Refused(
                f"{self.target}: only a restore helps, commits {extent} may be lost with it, the RPO is {rpo:g} s",
                f"staff would have to enter it again; to do it all the same: --accept {DATA_LOSS}",
            )

    def _log_age(self, database: HostDatabase, newest: tuple[Snapshot, BackupPlace], timeout: float) -> float | None:
        """Seconds since something was kept last: all that was committed before is in the archive or the backup."""
        snapshot, place = newest
        call = MachineCall(
            place.machine,
            "codeblue.recovery.postgresql_restore_in_place",
            _restore_arguments(database, place, timeout),
            _LOOK_SECONDS,
            check_mode=True,
        )
        answer = self.look([call])[0]
        archived = None if answer.result is None else answer.result.get("archive_age_seconds")
        taken = time.time() - parse_time(snapshot.created_at).timestamp()
        return taken if archived is None else min(taken, float(archived))

    def _summary(
        self, snapshot: Snapshot, machine: str, restored: t.Mapping[str, t.Any], damaged: t.Sequence[str]
    ) -> str:
        if self.check_mode:
            return f"would restore snapshot {snapshot.snapshot_id} in place on {machine}"
        said = f"restored snapshot {snapshot.snapshot_id} on {machine}"
        if restored.get("last_transaction_at"):
            said += f", with all commits up to {restored['last_transaction_at']}"
        return said + (f"; passed over as damaged: {len(damaged)}" if damaged else "")


def _restore_arguments(database: HostDatabase, place: BackupPlace, timeout: float) -> dict[str, t.Any]:
    return {
        **member_arguments(database, database.members[place.machine]),
        "destination": place.destination,
        "backup_id": place.backup_id,
        "expected_digest": place.digest,
        "timeout": timeout,
        **({"archive_dir": database.archive_dir} if database.archive_dir else {}),
    }
