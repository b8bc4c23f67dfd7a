# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a snapshot of a service: all its levels of one moment, bound by one manifest."""

from __future__ import annotations

import io
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, HostPlatform, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_action import SnapshotAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_action import kept_of, size_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_infrastructure import (
        INFRASTRUCTURE,
        InfrastructureInForce,
        in_force,
        scopes_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import (
        BackupPlace,
        backup_root,
        open_for_writing,
        snapshot_id_of,
        store_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_reading import (
        Reading,
        read_into,
        readings_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
except ImportError:
    # StepAction says which package is missing.
    pass

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_writer import SnapshotWriter

_LIST_SECONDS = 30.0
# On top of the module's own deadline: the connection and the start of Python.
_START_SECONDS = 10.0


class ActionModule(SnapshotAction):
    """See plugins/modules/snapshot_create.py."""

    STAGE = "snapshot"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "kind": {
            "type": "str",
            "choices": ["scheduled", "on_demand", "pre_deployment", "emergency"],
            "default": "on_demand",
        },
        "backup_kind": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "store": {"type": "path"},
        "copies": {"type": "list", "elements": "path", "default": []},
        "max_rate": {"type": "int"},
        "timeout": {"type": "float", "default": 3600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        host = self.service().require_host()
        if host.postgresql is not None:
            return self._database(host.postgresql, arguments)
        return self._instances(host, arguments)

    # -- databases ---------------------------------------------------------------------------------------------

    def _database(self, database: HostDatabase, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        primary = find_primary(self.target, database, self.look).primary
        variables = self._variables["hostvars"][primary.machine]
        destination = f"{backup_root(primary.machine, variables)}/{self.target}"
        run = None if self.check_mode else self.open_run()
        snapshot_id = snapshot_id_of(run.run_id, self.target, arguments["kind"]) if run else "would_be_named_by_the_run"
        module_arguments = {
            **login_arguments(database, primary),
            "destination": destination,
            "backup_id": snapshot_id,
            "timeout": arguments["timeout"],
            "replication_user": database.replication_user,
            "max_rate": arguments["max_rate"],
            # In an emergency the damage itself is what is to be kept.
            "verify_checksums": arguments["kind"] != "emergency",
            **self._kind_of_backup(database, primary, destination, arguments),
        }
        taken = self.change(
            Change(
                action="base_backup",
                machine=primary.machine,
                module="postgresql_base_backup",
                arguments={name: value for name, value in module_arguments.items() if value is not None},
                decision={"snapshot_id": snapshot_id, "kind": module_arguments["kind"], "destination": destination},
                seconds=arguments["timeout"] + _START_SECONDS,
            )
        ).checked()
        if run is None:
            where = f" and keep a copy in {store_directory(arguments['store'])}" if arguments["recipients"] else ""
            reason = taken.result.get("reason")
            return {
                "changed": True,
                "codeblue": {"summary": f"would take a base backup on {primary.machine}{where} ({reason})"},
            }
        backup = taken.result["backup"]
        place = BackupPlace(primary.machine, destination, backup["backup_id"], backup["digest"])
        # In an emergency the recovery waits for this, and the gateway's machine may be what is gone.
        around = self._infrastructure() if arguments["recipients"] and arguments["kind"] != "emergency" else None
        kept = self._keep(
            snapshot_id,
            arguments,
            [Reading(primary.machine, "database", destination, (backup["backup_id"],))],
            {"database": {name: backup[name] for name in _BACKUP_FACTS}},
            around,
            requires=[backup["parent"]] if backup["parent"] else [],
        )
        size = int(backup["bytes"])
        snapshot = Snapshot(
            snapshot_id=snapshot_id,
            target=self.target,
            level="+".join(kept.get("levels") or {"database"}),
            kind=arguments["kind"],
            created_at=kept.get("created_at") or backup["started_at"],
            location=f"{primary.machine}:{destination}/{backup['backup_id']}",
            manifest_sha256=kept.get("digest") or place.digest,
            size_bytes=size,
            run_id=run.run_id,
            parent_id=backup["parent"],
            meta={
                "backup": place.as_meta(),
                "store": kept.get("store"),
                "levels": kept.get("levels") or {"database": {name: backup[name] for name in _BACKUP_FACTS}},
            },
        )
        run.store.add_snapshot(snapshot)
        copied = self.copy(snapshot, arguments) if kept else ""
        said = f"{backup['kind']} base backup {snapshot_id} on {primary.machine}, {size_of(size)}"
        said += ", copy in the store" if kept else "; no copy elsewhere: codeblue_snapshot_recipients names nobody"
        said += copied + _unknown(around)
        return self.result_of(snapshot, bool(taken.result.get("changed")) or bool(kept.get("changed")), said)

    def _kind_of_backup(
        self, database: HostDatabase, primary: Member, destination: str, arguments: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Build upon the newest snapshot that the catalog calls good and that is still there, else take a full one."""
        if arguments["backup_kind"] == "full":
            return {"kind": "full"}
        call = MachineCall(
            primary.machine,
            "codeblue.recovery.postgresql_base_backup",
            {**login_arguments(database, primary), "destination": destination, "backup_id": "look", "kind": "full"},
            _LIST_SECONDS,
            check_mode=True,
        )
        there = set(self.look([call])[0].result_or_raise()["before"]["backups"])
        store = str(store_directory(arguments["store"])) if arguments["recipients"] else None
        for snapshot in self.store.snapshots(self.target):
            place = BackupPlace.of(snapshot)
            if place is None or snapshot.state == "corrupt" or place.backup_id not in there:
                continue
            # A copy in the store is of use only with all that it is built upon.
            if place.machine == primary.machine and (store is None or snapshot.meta.get("store") == store):
                return {"kind": arguments["backup_kind"], "parent": place.backup_id}
        if arguments["backup_kind"] == "incremental":
            raise BadInput(
                f"{self.target}: there is no good snapshot on {primary.machine} to build upon", "take a full one first"
            )
        return {"kind": "full"}

    # -- services with instances -------------------------------------------------------------------------------

    def _instances(self, host: HostPlatform, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_recipients(arguments)
        releases = self._releases(host)
        readings = readings_of(host, releases)
        if not readings:
            raise BadInput(
                f"{self.target}: the inventory names nothing to keep",
                "name config_files or a release_root of its instances",
            )
        if self.check_mode:
            levels = sorted({INFRASTRUCTURE, *(reading.level for reading in readings)})
            machines = ", ".join(dict.fromkeys(reading.machine for reading in readings))
            summary = f"would keep {', '.join(levels)} of {machines} in {store_directory(arguments['store'])}"
            return {"changed": True, "codeblue": {"summary": summary}}
        run = self.open_run()
        snapshot_id = snapshot_id_of(run.run_id, self.target, arguments["kind"])
        facts = {"code": {"versions": releases}} if any(each.level == "code" for each in readings) else {}
        around = self._infrastructure()
        kept = self._keep(snapshot_id, arguments, readings, facts, around)
        snapshot = self.into_catalog(run, snapshot_id, arguments["kind"], kept)
        said = (
            f"snapshot {snapshot_id}: {', '.join(kept['levels'])}, {kept['files']} files, {size_of(kept['size_bytes'])}"
        )
        said += self.copy(snapshot, arguments) + _unknown(around)
        return self.result_of(snapshot, bool(kept["changed"]), said)

    def _releases(self, host: HostPlatform) -> dict[str, str | None]:
        """The current version by machine."""
        roots = {
            instance.machine: instance.release_root for instance in host.instances.values() if instance.release_root
        }
        answers = self.look(
            [
                MachineCall(
                    machine,
                    "codeblue.recovery.release_switch",
                    {"release_root": root, "mode": "list", "history_entries": 1},
                    _LIST_SECONDS,
                    check_mode=True,
                )
                for machine, root in roots.items()
            ]
        )
        return {answer.machine: answer.result_or_raise()["before"]["current"] for answer in answers}

    # -- both --------------------------------------------------------------------------------------------------

    def _infrastructure(self) -> InfrastructureInForce:
        """What stands around the service on its machines right now."""
        service = self.service()
        wanted = [self.target, *service.depends_on]
        if service.kind == "gateway":
            # Only those behind a gateway know it.
            wanted = [str(name) for name in self._variables["groups"].get("codeblue_services", wanted)]
        scopes = scopes_of(service, self.services(list(dict.fromkeys(wanted))))
        return in_force(self.look([scope.call() for scope in scopes]))

    def _keep(
        self,
        snapshot_id: str,
        arguments: dict[str, t.Any],
        readings: list[Reading],
        facts: dict[str, dict[str, t.Any]],
        around: InfrastructureInForce | None,
        requires: list[str] | None = None,
    ) -> dict[str, t.Any]:
        """Read the files into the store as one journalled step; nothing without recipients.

        What an attempt that was cut off had read is in the store already and is not stored twice.
        """
        if not arguments["recipients"]:
            return {}
        path = store_directory(arguments["store"])

        def work(run: OpenRun) -> dict[str, t.Any]:
            store = open_for_writing(path, arguments["recipients"])
            if (path / "snapshots" / f"{snapshot_id}.json").is_file():
                return kept_of(store.manifest(snapshot_id), str(path), changed=False)
            with store.begin(
                self.target, arguments["kind"], requires=requires or (), snapshot_id=snapshot_id
            ) as writer:
                self._read(writer, [*readings, *(around.readings if around else ())], run)
                for level, known in facts.items():
                    writer.describe_level(level, known)
                if around is not None:
                    for document, content in around.documents.items():
                        writer.add_stream(io.BytesIO(content), INFRASTRUCTURE, document)
                    writer.describe_level(INFRASTRUCTURE, around.facts)
                return kept_of(writer.commit(), str(path), changed=True)

        machines = list(dict.fromkeys(reading.machine for reading in readings))
        return self.local_change("keep", {"snapshot_id": snapshot_id, "store": str(path), "machines": machines}, work)

    def _read(self, writer: SnapshotWriter, readings: list[Reading], run: OpenRun) -> None:
        def keep_alive() -> None:
            run.store.renew_lease(run.target, run.run_id, run.lease.generation)

        read_into(writer, readings, self.look, keep_alive)


_BACKUP_FACTS = ("kind", "system_identifier", "server_version", "timeline", "start_lsn", "end_lsn", "finished_at")


def _unknown(around: InfrastructureInForce | None) -> str:
    """What a person has to hear of a level that is not whole."""
    lines = around.unknown if around is not None else ()
    more = f" and {len(lines) - 2} more" if len(lines) > 2 else ""
    return f"; of the infrastructure is not known: {'; '.join(lines[:2])}{more}" if lines else ""
