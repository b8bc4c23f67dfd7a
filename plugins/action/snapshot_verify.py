# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a snapshot back, every byte of it, and writes into the catalog whether it is whole."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import BackupPlace, choose_snapshot
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_verify import verify_snapshot
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
except ImportError:
    # StepAction says which package is missing.
    pass

_START_SECONDS = 10.0
_MOST_PROBLEMS = 10


class ActionModule(StepAction):
    """See plugins/modules/snapshot_verify.py."""

    STAGE = "snapshot"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "snapshot_id": {"type": "str"},
        "identity": {"type": "path"},
        "timeout": {"type": "float", "default": 3600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        snapshot = choose_snapshot(self.store.snapshots(self.target), self.target, arguments["snapshot_id"])
        if self.check_mode:
            return {"codeblue": {"summary": f"would read snapshot {snapshot.snapshot_id} back ({snapshot.level})"}}
        run = self.open_run()
        problems: list[str] = []
        read: list[str] = []
        if snapshot.meta.get("store"):
            self._verify_in_store(snapshot, arguments, problems, read)
        archive = self._verify_backup(snapshot, arguments, problems, read)
        if problems:
            self._mark_corrupt(run, snapshot, problems)
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise CodeblueError(
                f"snapshot {snapshot.snapshot_id} is damaged: {problems[0]}{more}",
                "it will not be restored; take a new one: codeblue snapshot create",
            )
        said = f"{snapshot.snapshot_id} is whole: {', '.join(read)}"
        # Proven is more than verified, and damage that was found once is not forgotten.
        changed = snapshot.state == "taken"
        if changed:
            run.store.set_snapshot_state(snapshot.snapshot_id, "verified", said, run.run_id)
        if snapshot.state == "corrupt":
            raise CodeblueError(
                f"snapshot {snapshot.snapshot_id} was found damaged before, and is whole now",
                "whatever holds it cannot be trusted; take a new one: codeblue snapshot create",
            )
        return {
            "changed": changed,
            "snapshot_id": snapshot.snapshot_id,
            "state": "verified" if changed else snapshot.state,
            "archive": archive,
            "codeblue": {"summary": said},
        }

    def _mark_corrupt(self, run: OpenRun, snapshot: Snapshot, problems: list[str]) -> None:
        """This snapshot, and the one below it in which the damage is, so that nothing is built upon that any more."""
        for known in self.store.snapshots(self.target):
            place = BackupPlace.of(known)
            named = [each for each in problems if place is not None and f": {place.backup_id}: " in each]
            if known.state != "corrupt" and (known.snapshot_id == snapshot.snapshot_id or named):
                summary = (named or problems)[0][:500]
                run.store.set_snapshot_state(known.snapshot_id, "corrupt", summary, run.run_id)

    @staticmethod
    def _verify_in_store(snapshot: Snapshot, arguments: dict[str, t.Any], problems: list[str], read: list[str]) -> None:
        identity = Path(arguments["identity"]) if arguments["identity"] else None
        try:
            store = ContentStore.open(Path(snapshot.meta["store"]), identity=identity)
            report = verify_snapshot(store, snapshot.snapshot_id, read_data=True, digest=snapshot.manifest_sha256)
        except BadInput as error:
            # The catalog has it and the store does not: a snapshot that is gone is damaged, a wrong key is not.
            if (Path(snapshot.meta["store"]) / "snapshots" / f"{snapshot.snapshot_id}.json").is_file():
                raise
            problems.append(error.message)
            return
        problems += [str(problem) for problem in report.problems[:_MOST_PROBLEMS]]
        depth = "decrypted and compared" if identity else "compared as stored, without an identity"
        read.append(f"{report.objects} objects in the store {depth}")

    def _verify_backup(
        self, snapshot: Snapshot, arguments: dict[str, t.Any], problems: list[str], read: list[str]
    ) -> dict[str, t.Any] | None:
        """The backup on its machine; returns how far the log archive reaches from there."""
        place = BackupPlace.of(snapshot)
        if place is None:
            return None
        database = self.service().require_host().postgresql
        if database is None:
            return None
        if place.machine not in database.members:
            raise BadInput(
                f"{place.machine} is no member of {self.target} any more", "name the machine in the inventory"
            )
        call = MachineCall(
            place.machine,
            "codeblue.recovery.postgresql_verify_backup",
            {
                **login_arguments(database, database.members[place.machine]),
                "destination": place.destination,
                "backup_id": place.backup_id,
                "expected_digest": place.digest,
                "timeout": arguments["timeout"],
                **({"archive_dir": database.archive_dir} if database.archive_dir else {}),
            },
            arguments["timeout"] + _START_SECONDS,
            check_mode=True,
        )
        answer = self.look([call])[0]
        if answer.failure is not None:
            # A record that cannot be read any more is damage; a machine that does not answer is not.
            problems.append(f"{place.machine}: {answer.failure}")
            return None
        report = answer.result_or_raise()
        problems += [f"{place.machine}: {each}" for each in report["problems"][:_MOST_PROBLEMS]]
        read.append(f"{report['files']} files on {place.machine}")
        return t.cast("dict[str, t.Any] | None", report.get("archive"))
