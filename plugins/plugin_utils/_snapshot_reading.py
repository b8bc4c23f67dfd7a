# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads files of machines into a snapshot: which of a service belong to which level, and how they come over."""

from __future__ import annotations

import posixpath
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_writer import SnapshotWriter
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_stream import tar_stream

# One piece is 4 MiB; on a slow line of 1 Mbit/s it takes half a minute.
_PIECE_SECONDS = 120.0
# First pieces that are in memory at the same time, about 6 MB each as they come over.
_AT_ONCE = 6


@dataclass(frozen=True)
class Reading:
    """Files of one level on one machine.

    :param paths: relative to `root`.
    """

    machine: str
    level: str
    root: str
    paths: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """Where they lie inside the level: `<machine>/<absolute path on it>`."""
        return posixpath.join(self.machine, self.root.strip("/")).rstrip("/")


def readings_of(host: HostPlatform, releases: Mapping[str, str | None]) -> list[Reading]:
    """What of a service with instances belongs into its snapshot. Logs do not: evidence takes those.

    :param releases: the current version by machine, for those that have one.
    """
    found: list[Reading] = []
    with_flags = [
        instance.machine for instance in host.instances.values() if host.flags_file in instance.config_files
    ] or list(host.instances)[:1]
    for instance in host.instances.values():
        configuration = [each for each in instance.config_files if each != host.flags_file]
        if configuration:
            found.append(_by_absolute_paths(instance.machine, "configuration", configuration))
        version = releases.get(instance.machine)
        if instance.release_root is not None and version is not None:
            paths = (f"releases/{version}", "current")
            found.append(Reading(instance.machine, "code", instance.release_root, paths))
        if host.flags_file is not None and instance.machine in with_flags:
            found.append(_by_absolute_paths(instance.machine, "data", [host.flags_file]))
    return found


def read_into(
    writer: SnapshotWriter,
    readings: Sequence[Reading],
    look: Callable[[Sequence[MachineCall]], list[MachineAnswer]],
    keep_alive: Callable[[], None],
) -> None:
    """Read the files over the machines' connections, a piece at a time, into a snapshot that is being written.

    Most readings are one piece, and what costs time is the connection: the first pieces of a few come at once.

    :param look: runs modules that only read, all at once.
    :param keep_alive: called after every piece.
    :raises CodeblueError: a file is missing, cannot be read or changed meanwhile.
    """
    for start in range(0, len(readings), _AT_ONCE):
        some = readings[start : start + _AT_ONCE]
        firsts = look([_call(reading, None) for reading in some])
        for reading, first in zip(some, firsts, strict=True):
            _add(writer, reading, first, look, keep_alive)


def _add(
    writer: SnapshotWriter,
    reading: Reading,
    first: MachineAnswer,
    look: Callable[[Sequence[MachineCall]], list[MachineAnswer]],
    keep_alive: Callable[[], None],
) -> None:
    def fetch(cursor: str | None) -> Mapping[str, t.Any]:
        answer = first if cursor is None else look([_call(reading, cursor)])[0]
        keep_alive()
        return answer.result_or_raise()

    with tar_stream(fetch) as stream:
        writer.add_tar(stream, reading.level, reading.prefix)


def _call(reading: Reading, cursor: str | None) -> MachineCall:
    arguments: dict[str, t.Any] = {"root": reading.root, "paths": list(reading.paths)}
    if cursor is not None:
        arguments["cursor"] = cursor
    return MachineCall(
        reading.machine, "codeblue.recovery.file_read_stream", arguments, _PIECE_SECONDS, check_mode=True
    )


def _by_absolute_paths(machine: str, level: str, paths: list[str]) -> Reading:
    return Reading(machine, level, "/", tuple(dict.fromkeys(path.lstrip("/") for path in paths)))
