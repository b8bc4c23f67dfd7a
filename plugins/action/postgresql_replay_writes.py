# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes again what a restore of tables took out and kept as evidence."""

from __future__ import annotations

import base64
import typing as t
import zlib
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import (
        FILE_NAME,
        CustodyEntry,
        KeptPiece,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kept_writes import EVIDENCE_NAME, parse_lines
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity
except ImportError:
    # StepAction says which package is missing.
    pass

_SECONDS = 600.0
_START_SECONDS = 10.0
# What one call carries: a module's arguments are held in memory on both sides.
_CHUNK_BYTES = 2 * 1024 * 1024
_COUNTS = ("rows", "written", "already", "conflicts")


class ActionModule(StepAction):
    """See plugins/modules/postgresql_replay_writes.py."""

    STAGE = "replay"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "run": {"type": "str"},
        "identity": {"type": "path", "required": True},
        "evidence_directory": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        root = evidence_directory(arguments["evidence_directory"])
        identity = Identity(Path(arguments["identity"]))
        evidence, entry = self._entry(root, arguments["run"])
        primary = find_primary(self.target, database, self.look).primary
        pieces = [piece for piece in entry.pieces if piece.file is not None]
        if not pieces:
            raise BadInput(f"run {evidence.run_id} kept only hashes of its later writes", "enter them from paper")
        why = f"replay_writes {'plans' if self.check_mode else 'writes'} rows of {self.target}"
        evidence.accessed(entry, pieces, why, f"{len(pieces)} pieces read into memory")
        totals: dict[str, dict[str, int]] = {}
        changed = False
        for piece in pieces:
            for number, (tables, lines) in enumerate(_chunks(_content(evidence, piece, identity))):
                result = self._replay(database, primary, f"{evidence.run_id}_{piece.name}_{number}", tables, lines)
                changed = changed or bool(result.get("changed"))
                for table, counts in result["counts"].items():
                    total = totals.setdefault(table, dict.fromkeys(_COUNTS, 0))
                    for name in _COUNTS:
                        total[name] += int(counts[name])
        return {"changed": changed, "counts": totals, "codeblue": {"summary": self._summary(evidence.run_id, totals)}}

    def _entry(self, root: Path, run: str | None) -> tuple[EvidenceStore, CustodyEntry]:
        """The kept writes of a run; of the latest one that kept any when none is named."""
        runs = [run] if run else sorted((path.parent.name for path in root.glob(f"*/{FILE_NAME}")), reverse=True)
        for each in runs:
            if not (root / each / FILE_NAME).is_file():
                continue
            evidence = EvidenceStore(root, each, self.store)
            entry = evidence.taken(self.target, EVIDENCE_NAME)
            if entry is not None:
                return evidence, entry
        named = f"run {run}" if run else "no run"
        raise BadInput(
            f"{self.target}: {named} {'has no' if run else 'has'} kept writes in {root}",
            "codeblue evidence list shows what there is; name the run by codeblue_replay_run",
        )

    def _replay(
        self, database: HostDatabase, primary: Member, name: str, tables: list[str], lines: bytes
    ) -> dict[str, t.Any]:
        arguments = {
            **login_arguments(database, primary),
            "rows": base64.b64encode(zlib.compress(lines, 1)).decode(),
            "tables": tables,
            "timeout": _SECONDS,
        }
        if self.check_mode:
            module = "codeblue.recovery.postgresql_replay_rows"
            call = MachineCall(primary.machine, module, arguments, _SECONDS + _START_SECONDS, check_mode=True)
            return self.look([call])[0].result_or_raise()
        change = Change(
            action=f"rows_{name}",
            machine=primary.machine,
            module="postgresql_replay_rows",
            arguments=arguments,
            decision={"tables": tables},
            seconds=_SECONDS + _START_SECONDS,
        )
        return self.change(change).checked().result

    def _summary(self, run: str, totals: dict[str, dict[str, int]]) -> str:
        verb = "would be written" if self.check_mode else "written"
        parts = [
            f"{table}: {each['written']} {verb}, {each['already']} there already, {each['conflicts']} for a person"
            for table, each in totals.items()
        ]
        return f"kept writes of run {run}: " + "; ".join(parts)


def _content(evidence: EvidenceStore, piece: KeptPiece, identity: Identity) -> bytes:
    blocks: list[bytes] = []
    evidence.read(piece, identity, blocks.append)
    return b"".join(blocks)


def _chunks(content: bytes) -> Iterator[tuple[list[str], bytes]]:
    """Lines for one call each, with the tables that they go to."""
    tables: list[str] = []
    waiting: list[bytes] = []
    size = 0
    for line, row in zip(content.splitlines(keepends=True), parse_lines(content), strict=True):
        waiting.append(line)
        size += len(line)
        if row["table"] not in tables:
            tables.append(str(row["table"]))
        if size >= _CHUNK_BYTES:
            yield tables, b"".join(waiting)
            tables, waiting, size = [], [], 0
    if waiting:
        yield tables, b"".join(waiting)
