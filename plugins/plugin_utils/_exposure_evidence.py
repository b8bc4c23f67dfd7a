# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closed logs as evidence: read from their machine piece by piece, encrypted as they come."""

from __future__ import annotations

import posixpath
import typing as t
from collections.abc import Iterator, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore, Piece
from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import ClosedLogs
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_stream import tar_stream
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction

_CALL_SECONDS = 30.0


def kept_logs(action: StepAction, logs: ClosedLogs) -> list[str]:
    """Where the originals lie on their machine; nothing once they were removed."""
    arguments = logs.arguments("closed")
    call = MachineCall(logs.machine, "codeblue.recovery.log_scrub", arguments, _CALL_SECONDS, check_mode=True)
    return [str(path) for path in action.look([call])[0].result_or_raise()["kept"]]


def keep_logs(action: StepAction, evidence: EvidenceStore, logs: ClosedLogs, paths: Sequence[str], name: str) -> None:
    """Keep originals encrypted; what was kept under this name before stands.

    :param paths: as `kept_logs` gives them.
    """

    def fetch(cursor: str | None) -> dict[str, t.Any]:
        arguments: dict[str, t.Any] = {
            "root": logs.directory,
            "paths": [posixpath.basename(path) for path in paths],
            **({"cursor": cursor} if cursor else {}),
        }
        call = MachineCall(logs.machine, "codeblue.recovery.file_read_stream", arguments, _CALL_SECONDS)
        return action.look([call])[0].result_or_raise()

    def pieces() -> Iterator[Piece]:
        # Asked for when it is needed only: what was kept before is not read again.
        yield Piece("logs.tar", t.cast(t.BinaryIO, tar_stream(fetch)))

    summary = f"{len(paths)} files of {', '.join(posixpath.basename(log) for log in logs.logs)}"
    evidence.keep(action.target, f"logs_{logs.name}_{name}", pieces(), logs.machine, summary)
