# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Retention on the machines of a database: base backups that are given up, and log that no other one needs."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import backup_root
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_retention import (
        RetentionPolicy,
        choose_kept,
    )
except ImportError:
    # StepAction says which package is missing.
    pass

_LOOK_SECONDS = 60.0
_START_SECONDS = 10.0


@dataclass(frozen=True)
class BackupOnMachine:
    """A base backup as its machine tells of it; what retention decides about."""

    snapshot_id: str
    service: str
    created_at: str
    requires: tuple[str, ...]
    start_lsn: str
    segment_bytes: int


class ActionModule(StepAction):
    """See plugins/modules/snapshot_prune.py."""

    STAGE = "snapshot"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "newest": {"type": "int", "default": 10},
        "days": {"type": "float", "default": 30.0},
        "timeout": {"type": "float", "default": 600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        policy = RetentionPolicy(arguments["newest"], arguments["days"])
        found, silent = self._backups(database)
        catalog = {snapshot.snapshot_id: snapshot.state for snapshot in self.store.snapshots(self.target)}
        # Of all machines together: after a failover the new primary's backups take the place of the former one's.
        kept = choose_kept(
            [backup for backups in found.values() for backup in backups],
            policy,
            datetime.now(UTC),
            {each for each, state in catalog.items() if state == "proven"},
            {each for each, state in catalog.items() if state == "corrupt"},
        )
        pruned = [self._prune(machine, found, kept, arguments) for machine in found]
        archive, why = self._prune_archive(database, found, silent, kept, arguments)
        removed = {change.change.machine: _removed(change) for change in pruned if _removed(change)}
        if not self.check_mode:
            run = self.open_run()
            for backup_id in [each for ids in removed.values() for each in ids]:
                run.store.backup_removed(backup_id, run.run_id)
        done = [*pruned, *archive]
        return {
            "changed": any(change.result.get("changed") for change in done),
            "removed": removed,
            "kept": dict(kept),
            "freed_bytes": sum(int(change.result.get("freed_bytes") or 0) for change in done),
            "free_bytes": {each.change.machine: each.result["after"]["free_bytes"] for each in pruned},
            "archive_removed_segments": sum(int(each.result.get("removed_segments") or 0) for each in archive),
            "silent": silent,
            "codeblue": {"summary": _summary(removed, kept, done, archive, why, silent, self.check_mode)},
        }

    def _backups(self, database: HostDatabase) -> tuple[dict[str, list[BackupOnMachine]], dict[str, str]]:
        """What each machine has, and what the others said instead.

        :raises CodeblueError: no machine tells, or a record is damaged.
        """
        hostvars = self._variables["hostvars"]
        # A member without a directory takes no backups. When it is so for all, that is said.
        with_place = [each for each in database.members if hostvars[each].get("codeblue_snapshot_directory")]
        machines = with_place or list(database.members)
        places = {machine: f"{backup_root(machine, hostvars[machine])}/{self.target}" for machine in machines}
        self._places = places
        module = "codeblue.recovery.postgresql_prune_backups"
        calls = [
            MachineCall(machine, module, {"destination": place}, _LOOK_SECONDS, check_mode=True)
            for machine, place in places.items()
        ]
        found: dict[str, list[BackupOnMachine]] = {}
        silent: dict[str, str] = {}
        for answer in self.look(calls):
            if answer.unreachable is not None:
                silent[answer.machine] = answer.unreachable
                continue
            found[answer.machine] = [self._known(each) for each in answer.result_or_raise()["records"]]
        if not found:
            raise CodeblueError(f"{self.target}: no machine answers: {'; '.join(silent.values())[:300]}")
        return found, silent

    def _known(self, record: Mapping[str, t.Any]) -> BackupOnMachine:
        return BackupOnMachine(
            snapshot_id=record["backup_id"],
            service=self.target,
            created_at=record["finished_at"],
            requires=(record["parent"],) if record["parent"] else (),
            start_lsn=record["start_lsn"],
            segment_bytes=record["segment_bytes"],
        )

    def _prune(
        self,
        machine: str,
        found: Mapping[str, Sequence[BackupOnMachine]],
        kept: Mapping[str, str],
        arguments: dict[str, t.Any],
    ) -> Changed:
        remove = [backup.snapshot_id for backup in found[machine] if backup.snapshot_id not in kept]
        # A former primary that takes none any more: its last one would keep all log since then in the archive.
        elsewhere = any(each.snapshot_id in kept for name in found if name != machine for each in found[name])
        return self.change(
            Change(
                action=f"prune_backups_{machine}",
                machine=machine,
                module="postgresql_prune_backups",
                arguments={
                    "destination": self._places[machine],
                    "remove": remove,
                    "last_one": "remove" if elsewhere else "refuse",
                },
                decision={"remove": remove, "newest": arguments["newest"], "days": arguments["days"]},
                seconds=arguments["timeout"] + _START_SECONDS,
            )
        ).checked()

    def _prune_archive(
        self,
        database: HostDatabase,
        found: Mapping[str, Sequence[BackupOnMachine]],
        silent: Mapping[str, str],
        kept: Mapping[str, str],
        arguments: dict[str, t.Any],
    ) -> tuple[list[Changed], str | None]:
        """Remove needless log, one machine after the other: they may share the directory.

        :returns: what was done, or why nothing was.
        """
        stay = [backup for backups in found.values() for backup in backups if backup.snapshot_id in kept]
        if database.archive_dir is None:
            return [], None
        if database.archive_pruned_by != "codeblue":
            return [], "the log archive is left to others (archive_pruned_by)"
        if silent:
            return [], "the log archive is left: a machine that is silent may have a backup that needs it"
        if not stay:
            return [], "the log archive is left: there is no backup"
        needed_from = min((backup.start_lsn for backup in stay), key=parse_lsn)
        changes = []
        for machine in found:
            change = Change(
                action=f"prune_archive_{machine}",
                machine=machine,
                module="postgresql_prune_archive",
                arguments={
                    "archive_dir": database.archive_dir,
                    "needed_from": needed_from,
                    "segment_bytes": stay[0].segment_bytes,
                },
                decision={"needed_from": needed_from, "backups": len(stay)},
                seconds=arguments["timeout"] + _START_SECONDS,
            )
            changes.append(self.change(change).checked())
        return changes, None


def _removed(change: Changed) -> list[str]:
    return [each for each in change.result["before"]["backups"] if each not in change.result["after"]["backups"]]


def _summary(
    removed: Mapping[str, Sequence[str]],
    kept: Mapping[str, str],
    done: Sequence[Changed],
    archive: Sequence[Changed],
    why: str | None,
    silent: Mapping[str, str],
    check_mode: bool,
) -> str:
    count = sum(len(each) for each in removed.values())
    would = "would remove" if check_mode else "removed"
    said = f"{would} {count} base backups, {len(kept)} stay"
    if archive:
        said += f"; {would} {sum(int(each.result['removed_segments']) for each in archive)} segments of log"
    freed = sum(int(change.result.get("freed_bytes") or 0) for change in done)
    free = ", ".join(
        f"{each.result['after']['free_bytes'] / 1_000_000_000:.1f} GB free on {each.change.machine}"
        for each in done
        if each not in archive
    )
    said += f"; {freed / 1_000_000:.1f} MB freed, {free}"
    said += f"; {why}" if why else ""
    return said + (f"; silent: {', '.join(silent)}" if silent else "")
