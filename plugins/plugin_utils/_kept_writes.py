# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes that a restore of tables took out: from the machine into the evidence store, and from there back again.

They are lines of JSON with patient data. On the controller they exist in memory and under encryption only.
"""

from __future__ import annotations

import io
import json
import tarfile
import typing as t
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_stream import tar_stream

EVIDENCE_NAME = "later_writes"

_PIECE_BYTES = 8 * 1024 * 1024
_LONGEST_LINE = 64 * 1024 * 1024
_READ_SECONDS = 60.0


def read_lines(machine: str, path: str, look: Callable[[list[MachineCall]], list[MachineAnswer]]) -> Iterator[bytes]:
    """The lines of the file on the machine, in pieces of whole lines.

    :raises CodeblueError: the machine did not answer, or sent something else.
    """
    place = PurePosixPath(path)

    def fetch(cursor: str | None) -> Mapping[str, t.Any]:
        arguments: dict[str, t.Any] = {"root": str(place.parent), "paths": [place.name]}
        if cursor is not None:
            arguments["cursor"] = cursor
        return look([MachineCall(machine, "codeblue.recovery.file_read_stream", arguments, _READ_SECONDS)])[
            0
        ].result_or_raise()

    with tarfile.open(fileobj=tar_stream(fetch), mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None:
                continue
            rest = b""
            while data := content.read(_PIECE_BYTES):
                whole, _newline, rest = (rest + data).rpartition(b"\n")
                if whole:
                    yield whole + b"\n"
                if len(rest) > _LONGEST_LINE:
                    raise CodeblueError(f"{machine}: a kept row is longer than {_LONGEST_LINE >> 20} MB")
            if rest:
                yield rest


def parse_lines(content: bytes) -> Iterator[dict[str, t.Any]]:
    """The rows of one piece.

    :raises CodeblueError: it is no piece of kept writes. Its content is never repeated.
    """
    for line in io.BytesIO(content):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            complete = {"table", "kind", "row"} <= set(row)
        except ValueError:
            complete = False
        if not complete:
            raise CodeblueError("the piece holds no kept writes")
        yield row
