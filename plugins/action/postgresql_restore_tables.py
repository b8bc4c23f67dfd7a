# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings damaged tables back to their last clean state; everything else in the database stays as it is."""

from __future__ import annotations

import io
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import (
    BadInput,
    CodeblueError,
    NotLeftSafe,
    Refused,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kept_writes import EVIDENCE_NAME, read_lines
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import (
        backup_root,
        snapshot_id_of,
    )
except ImportError:
    # StepAction says which package is missing.
    pass

_DATA_LOSS = "data_loss"
_LOOK_SECONDS = 30.0
_REMOVE_SECONDS = 120.0
# On top of a module's own deadline: the connection and the start of Python.
_START_SECONDS = 10.0


class ActionModule(StepAction):
    """See plugins/modules/postgresql_restore_tables.py."""

    STAGE = "restore"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "evidence_directory": {"type": "path"},
        "settings": {"type": "dict", "default": {}},
        "timeout": {"type": "float", "default": 900.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        diagnosis = arguments["diagnosis"]
        tables = [str(table) for table in diagnosis["tables"]]
        primary = find_primary(self.target, database, self.look).primary
        run = None if self.check_mode else self.open_run()
        # What this very run has taken of the damaged state is evidence, not a way back.
        exclude = [snapshot_id_of(run.run_id, self.target, "emergency")] if run else []
        machine, place = self._backups(database, primary, exclude)
        login = _login(database, primary, machine)
        copy = {**login, "directory": f"{place}/.clean-{self.target}", "timeout": arguments["timeout"]}
        found = self._step(
            "clean_point",
            machine,
            "postgresql_clean_point",
            {
                **copy,
                "destination": f"{place}/{self.target}",
                "archive_dir": database.archive_dir,
                "rules": _rules(database, rules=diagnosis["failed_rules"]),
                "exclude": exclude,
                "in_log": bool(diagnosis["in_log"]),
                "settings": arguments["settings"],
            },
            {"tables": tables, "rules": diagnosis["failed_rules"], "in_log": diagnosis["in_log"]},
        )
        if run is None:
            return self._plan(tables, machine, found, primary, copy, database)
        point = found["clean_point"]
        compared = self._step(
            "compare",
            machine,
            "postgresql_compare_tables",
            {**copy, "tables": tables, "culprit_xids": point["culprit_xids"]},
            {"tables": tables, "clean_point": point["lsn"]},
        )
        later = sum(each["later"] for each in compared["differences"])
        if later:
            self._keep(run, machine, compared, arguments, later)
        swapped = self._step(
            "swap",
            machine,
            "postgresql_swap_tables",
            {**copy, "tables": tables, "rules": _rules(database)},
            {"tables": tables, "clean_point": point["lsn"], "differences": compared["differences"]},
        )
        self._prove(swapped["findings"])
        self._step("remove_copy", machine, "postgresql_restore_beside", _absent(copy), {}, _REMOVE_SECONDS)
        summary = _summary(point, compared["differences"], later)
        self._measured(run, point, compared["differences"], later, summary)
        self._mark_emergency_snapshot(run, exclude)
        return {
            "changed": bool(swapped.get("changed")),
            "clean_point": point,
            "differences": compared["differences"],
            "later_writes": later,
            "codeblue": {"summary": summary},
        }

    # -- where -------------------------------------------------------------------------------------------------

    def _backups(self, database: HostDatabase, primary: Member, exclude: list[str]) -> tuple[str, str]:
        """The machine that has base backups, the primary's own first, and the directory for backups there.

        :raises NotLeftSafe: no machine has one, or nothing is archived.
        """
        if database.archive_dir is None:
            raise NotLeftSafe(
                f"{self.target}: the log is not archived: no state between two backups can be restored",
                "writes stay stopped. Restore a snapshot as a whole, or mend the rows by hand from the evidence",
            )
        hostvars = self._variables["hostvars"]
        members = sorted(database.members.values(), key=lambda member: member.machine != primary.machine)
        reasons, places = [], {}
        for member in members:
            try:
                places[member.machine] = backup_root(member.machine, hostvars[member.machine])
            except BadInput as error:
                reasons.append(error.message)
        calls = [
            MachineCall(
                machine,
                "codeblue.recovery.postgresql_clean_point",
                {
                    **_login(database, primary, machine),
                    "directory": f"{place}/.clean-{self.target}",
                    "destination": f"{place}/{self.target}",
                    "archive_dir": database.archive_dir,
                    "rules": [rule.as_arguments() for rule in database.integrity],
                    "exclude": exclude,
                },
                _LOOK_SECONDS,
                check_mode=True,
            )
            for machine, place in places.items()
        ]
        for answer in self.look(calls) if calls else []:
            if answer.result is not None and answer.result["backups"]:
                return answer.machine, places[answer.machine]
            reasons.append(f"{answer.machine}: {answer.unreachable or answer.failure or 'no backup'}")
        raise NotLeftSafe(
            f"{self.target}: there is no base backup to restore from: {'; '.join(reasons)[:400]}",
            "writes stay stopped and the damage is kept as evidence. Look for a copy elsewhere: the snapshot store, "
            "another site, the standby's disk; what cannot be found is entered again from paper",
        )

    # -- steps -------------------------------------------------------------------------------------------------

    def _step(
        self,
        action: str,
        machine: str,
        module: str,
        arguments: dict[str, t.Any],
        decision: dict[str, t.Any],
        seconds: float | None = None,
    ) -> dict[str, t.Any]:
        limit = (seconds or float(arguments.get("timeout", _REMOVE_SECONDS))) + _START_SECONDS
        change = Change(
            action=action, machine=machine, module=module, arguments=arguments, decision=decision, seconds=limit
        )
        return self.change(change).checked().result

    def _plan(
        self,
        tables: list[str],
        machine: str,
        found: dict[str, t.Any],
        primary: Member,
        copy: dict[str, t.Any],
        database: HostDatabase,
    ) -> dict[str, t.Any]:
        """What would follow; the clean point is known only when it has been looked for."""
        self._planned += [f"compare on {machine}", "keep later writes on the controller", f"swap on {primary.machine}"]
        self._planned.append(f"remove_copy on {machine}")
        return {
            "changed": True,
            "codeblue": {
                "summary": f"would look for the last clean state of {', '.join(tables)} from backup "
                f"{found['backups'][0]} on {machine}, and bring these tables back"
            },
        }

    def _keep(
        self, run: OpenRun, machine: str, compared: dict[str, t.Any], arguments: dict[str, t.Any], later: int
    ) -> None:
        """Encrypt what was written later, before it is taken out."""
        recipients = Recipients.parse(arguments["recipients"]) if arguments["recipients"] else None
        if recipients is None and _DATA_LOSS not in {each.kind for each in run.store.acceptances(run.run_id)}:
            raise Refused(
                f"{self.target}: {later} later writes to the damaged tables cannot be kept: "
                "codeblue_evidence_recipients names nobody",
                "name an age recipient and resume, or accept their loss: --accept data_loss",
            )
        counts = {each["table"]: each["later"] for each in compared["differences"] if each["later"]}
        said = ", ".join(f"{count} rows of {table}" for table, count in counts.items())

        def work(gate: OpenRun) -> dict[str, t.Any]:
            store = EvidenceStore(
                evidence_directory(arguments["evidence_directory"]), gate.run_id, gate.store, recipients
            )
            pieces = (
                Piece(f"rows-{number:04d}.jsonl", io.BytesIO(lines))
                for number, lines in enumerate(read_lines(machine, compared["kept_file"], self.look))
            )
            entry = store.keep(self.target, EVIDENCE_NAME, pieces, machine, f"written after the damage: {said}")
            return {"rows": later, "pieces": len(entry.pieces), "changed": True}

        self.local_change("keep_later_writes", {"rows": counts}, work)

    def _prove(self, findings: Sequence[dict[str, t.Any]]) -> None:
        """Every rule, also those that held all the time, as the swap found them after its commit."""
        broken = [each["rule"] for each in findings if not each["ok"]]
        if broken:
            raise NotLeftSafe(
                f"{self.target}: integrity is not proven after the swap: {', '.join(broken)}",
                "writes stay stopped; the clean copy is still there. Compare by hand, or restore the whole database",
            )

    # -- the record --------------------------------------------------------------------------------------------

    def _measured(
        self,
        run: OpenRun,
        point: dict[str, t.Any],
        differences: Sequence[dict[str, t.Any]],
        later: int,
        summary: str,
    ) -> None:
        values = {"later_writes": later, "restores": point["restores"], "server_starts": point["starts"]}
        for name, value in values.items():
            run.store.record(run.run_id, "measurement", {"target": self.target, "name": name, "value": value})
        keys = [f"{each['table']}: {', '.join(each['later_keys'])}" for each in differences if each["later"]]
        text = summary + (f". Keys of the later writes, the first ones: {'; '.join(keys)}" if keys else "")
        run.store.record(run.run_id, "note", {"target": self.target, "text": text[:1000]})

    def _mark_emergency_snapshot(self, run: OpenRun, taken: list[str]) -> None:
        """Nobody may restore it by mistake: it is whole, and what it holds is damaged."""
        for snapshot in self.store.snapshots(self.target):
            if snapshot.snapshot_id in taken and snapshot.state != "corrupt":
                why = "taken of the damaged state, as evidence"
                run.store.set_snapshot_state(snapshot.snapshot_id, "corrupt", why, run.run_id)


def _login(database: HostDatabase, primary: Member, machine: str) -> dict[str, t.Any]:
    """The primary as it is reached from a machine: by its socket from its own, by its address from others."""
    login = login_arguments(database, primary)
    if machine != primary.machine:
        login.pop("socket_dir", None)
    return login


def _rules(database: HostDatabase, rules: Sequence[str] | None = None) -> list[dict[str, t.Any]]:
    found = [rule.as_arguments() for rule in database.integrity if rules is None or rule.id in rules]
    if not found:
        raise CodeblueError("the inventory has these integrity rules no more", "diagnose again")
    return found


def _absent(copy: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**{name: value for name, value in copy.items() if name != "timeout"}, "state": "absent"}


def _summary(point: dict[str, t.Any], differences: Sequence[dict[str, t.Any]], later: int) -> str:
    parts = []
    for each in differences:
        if not each["exists"]:
            parts.append(f"{each['table']} made anew with {each['clean_rows']} rows")
        elif not each["readable"]:
            parts.append(f"{each['table']} replaced with {each['clean_rows']} rows")
        else:
            changed = each["changed"] if each["changed"] is not None else 0
            parts.append(f"{each['table']}: {each['missing']} missing, {changed} changed, {each['added']} added")
    when = f", right before the transaction of {point['culprit_committed_at']}" if point["exact"] else ""
    kept = f"; {later} later writes kept as evidence" if later else "; nothing was written there later"
    return (
        f"back to {point['lsn']}{when if point['culprit_committed_at'] else ''}: {'; '.join(parts)}{kept} "
        f"({point['restores']} restores, {point['starts']} server starts, {point['seconds']:.1f} s)"
    )
