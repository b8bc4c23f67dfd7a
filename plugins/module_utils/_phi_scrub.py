# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes patient data out of logs in two steps: nobody can read it any more at once, and it is gone later.

Closing renames the files of a log into a directory of their own that only its owner may enter. Whoever writes the log
goes on writing into the file that it has open, so that nothing is lost and nothing new lies in the open. Scrubbing puts
a masked copy beside the live log, where rotation would have put the old one, and removes the originals.

A manifest in the directory says at every moment how far that is; it is written before what it speaks of.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import Counter, PhiDetector
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_files import files_of_log, read_lines, sha256_of

State = t.Dict[str, t.Any]

_MANIFEST = "manifest.json"
_SCRUBBED_SUFFIX = ".1"


@dataclass(frozen=True)
class Original:
    """One file of a log that lies in the protected directory.

    :param log: the live log that it belongs to.
    :param path: where it lay.
    :param kept: its name in the protected directory.
    """

    log: str
    path: str
    kept: str
    mode: int
    uid: int
    gid: int


class ProtectedLogs:
    """The logs of one service on one machine.

    :param directory: the protected directory, on the file system of the logs.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._manifest = os.path.join(directory, _MANIFEST)
        manifest = self._read()
        self.originals = [Original(**each) for each in manifest.get("originals", [])]
        self._ready: t.Dict[str, int] = dict(manifest.get("ready", {}))

    def describe(self) -> State:
        """For results: names and sizes."""
        return {
            "protected": sorted(each.path for each in self.originals if os.path.exists(self._kept(each))),
            "bytes": sum(
                os.path.getsize(self._kept(each)) for each in self.originals if os.path.exists(self._kept(each))
            ),
        }

    def to_close(self, logs: t.Sequence[str]) -> t.List[Original]:
        """The files that still lie in the open; those of a log that was closed before are new ones and stay."""
        closed = {each.log for each in self.originals if os.path.exists(self._kept(each))}
        found = []
        for log in logs:
            if log in closed:
                continue
            for position, file in enumerate(files_of_log(log)):
                status = os.stat(file.path)
                # Several logs may have the same name in different directories.
                kept = "%03d-%03d-%s" % (list(logs).index(log), position, os.path.basename(file.path))
                found.append(Original(log, file.path, kept, status.st_mode & 0o7777, status.st_uid, status.st_gid))
        return found

    def unfinished(self) -> t.List[Original]:
        """What an attempt that was cut off had announced and not moved."""
        return [each for each in self.originals if not os.path.exists(self._kept(each)) and each.log not in self._ready]

    def close(self, found: t.Sequence[Original]) -> None:
        """Move files away, and leave an empty log in place of a live one.

        :raises CodeblueError: they cannot be moved.
        """
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        os.chmod(self.directory, 0o700)
        kept = {each.kept for each in found}
        self.originals = [each for each in self.originals if each.kept not in kept] + list(found)
        self._write()
        for each in found:
            try:
                # Neither here nor there: rotation has removed it meanwhile.
                if not os.path.exists(self._kept(each)) and os.path.exists(each.path):
                    os.rename(each.path, self._kept(each))
                    os.chmod(self._kept(each), 0o600)
            except OSError as error:
                raise CodeblueError(
                    "%s cannot be moved to %s: %s" % (each.path, self.directory, error.strerror),
                    "the protected directory must lie on the file system of the log",
                ) from error
            if each.path == each.log and not os.path.exists(each.log):
                _create_like(each)
        sync_directory(self.directory)

    def stale(self, evidence: t.Mapping[str, str]) -> t.List[str]:
        """Originals that are not kept as evidence as they are now.

        :param evidence: path in the protected directory -> digest of what was kept.
        """
        return [
            self._kept(each)
            for each in self.originals
            if os.path.exists(self._kept(each)) and evidence.get(self._kept(each)) != sha256_of(self._kept(each))
        ]

    def scrub(self, detector: PhiDetector, deadline: Deadline) -> State:
        """Put a masked copy of each log in place and remove the originals.

        :returns: how many lines were copied and masked, by log.
        :raises CodeblueError: out of time or of room; nothing was removed then.
        """
        told: State = {}
        for log in dict.fromkeys(each.log for each in self.originals):
            mine = [each for each in self.originals if each.log == log]
            target = log + _SCRUBBED_SUFFIX
            built = os.path.join(self.directory, "scrubbed-" + mine[0].kept)
            if log not in self._ready:
                counter = Counter(detector, b"", most_people=0)
                _build(built, [self._kept(each) for each in mine], target, counter, mine[-1], deadline)
                told[log] = {"lines": counter.tally.lines_read, "masked": counter.tally.lines}
                self._ready[log] = counter.tally.lines_read
                self._write()
            if os.path.exists(built):
                os.rename(built, target)
                sync_directory(os.path.dirname(target))
            for each in mine:
                if os.path.exists(self._kept(each)):
                    os.unlink(self._kept(each))
        self._remove()
        return told

    def _remove(self) -> None:
        os.unlink(self._manifest)
        os.rmdir(self.directory)
        self.originals, self._ready = [], {}

    def _kept(self, original: Original) -> str:
        return os.path.join(self.directory, original.kept)

    def kept_paths(self) -> t.List[str]:
        """Where the originals lie now."""
        return [self._kept(each) for each in self.originals if os.path.exists(self._kept(each))]

    def _read(self) -> State:
        try:
            with open(self._manifest, encoding="utf-8") as stream:
                return t.cast(State, json.load(stream))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CodeblueError("%s cannot be read" % self._manifest, "look at the directory by hand") from error

    def _write(self) -> None:
        content = {"originals": [asdict(each) for each in self.originals], "ready": self._ready}
        write_file(self._manifest, json.dumps(content).encode(), 0o600)


def _build(
    built: str, sources: t.Sequence[str], target: str, counter: Counter, like: Original, deadline: Deadline
) -> None:
    """A masked copy of the sources, followed by what rotation has put aside meanwhile."""
    descriptor = os.open(built, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for source in [*sources, *([target] if os.path.isfile(target) and not os.path.islink(target) else [])]:
            for line in read_lines(source, deadline):
                stream.write(counter.line(line))
        stream.flush()
        if os.geteuid() == 0:
            os.fchown(stream.fileno(), like.uid, like.gid)
        os.fchmod(stream.fileno(), like.mode)
        os.fsync(stream.fileno())


def _create_like(original: Original) -> None:
    """An empty log with the owner and the mode of the one that was moved."""
    try:
        descriptor = os.open(original.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        # Its writer was quicker.
        return
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, original.uid, original.gid)
        os.fchmod(descriptor, original.mode)
    finally:
        os.close(descriptor)
