# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs that may hold patient data: read with bounded memory, and counted by file and release."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import Counter, PhiDetector

State = t.Dict[str, t.Any]

# What rotation makes of a log: .1, .2.gz, -20260131, -20260131.gz, .2026-01-31, and the extra one of a scrub.
_ROTATED = re.compile(r"\A(?:[.-]\d{1,4}|[.-]\d{8}(?:-\d+)?|\.\d{4}-\d{2}-\d{2}(?:_\d+)?)(?:\.gz)?\Z")
_READ = 1 << 20
# One line, in bytes; the rest of a longer one is read as the next line.
_LONGEST_LINE = 4 << 20
_MOST_FILES = 200
# A decompressed log is no larger than this; one that is would be a bomb.
_LARGEST_CONTENT = 4 << 30


@dataclass(frozen=True)
class LogFile:
    """One file of a log, the live one or one that rotation has put aside."""

    path: str
    live: bool
    size: int
    modified_at: float


def files_of_log(path: str) -> t.List[LogFile]:
    """The files of a log, the oldest first and the live one last; links are not followed.

    :raises CodeblueError: there are too many.
    """
    directory, name = os.path.split(path)
    found = []
    if os.path.isdir(directory):
        for entry in os.listdir(directory):
            whole = os.path.join(directory, entry)
            live = entry == name
            if not live and not (entry.startswith(name) and _ROTATED.match(entry[len(name) :])):
                continue
            if os.path.islink(whole) or not os.path.isfile(whole):
                continue
            status = os.stat(whole)
            found.append(LogFile(whole, live, status.st_size, status.st_mtime))
    if len(found) > _MOST_FILES:
        raise CodeblueError("%s has more than %d files" % (path, _MOST_FILES), "look at them by hand")
    return sorted(found, key=lambda each: (each.live, each.modified_at, each.path))


def read_lines(path: str, deadline: t.Optional[Deadline] = None) -> t.Iterator[str]:
    """The lines of a file with their ends, decompressed when its name ends in .gz.

    :raises CodeblueError: the time is over, or it is larger than any log.
    """
    size = 0
    with _opened(path) as stream:
        for raw in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            size += len(raw)
            if size > _LARGEST_CONTENT:
                raise CodeblueError("%s holds more than %d bytes" % (path, _LARGEST_CONTENT))
            if deadline is not None and deadline.expired:
                raise CodeblueError("%s could not be read in time" % path, "give it more time, or look at it by hand")
            # Bytes that are no UTF-8 come out as they went in.
            yield raw.decode("utf-8", "surrogateescape")


def scan_files(
    paths: t.Sequence[str], detector: PhiDetector, key: bytes, deadline: Deadline, most_people: int
) -> State:
    """Count what is in files, all of it or as far as the time goes.

    :returns: per file and release what was found, the digests of people, and the files that were left out.
    """
    files: t.Dict[str, State] = {}
    people: t.Set[str] = set()
    truncated, left_out = False, []
    for path in paths:
        counter = Counter(detector, key, most_people)
        versions: t.Dict[str, int] = {}
        try:
            for line in read_lines(path, deadline):
                before = counter.tally.lines
                counter.line(line)
                if counter.tally.lines > before:
                    version = release_of(line)
                    versions[version] = versions.get(version, 0) + 1
        except FileNotFoundError:
            continue
        except (CodeblueError, OSError, EOFError) as error:
            left_out.append(
                "%s: %s" % (path, error.message if isinstance(error, CodeblueError) else type(error).__name__)
            )
        tally = counter.tally
        files[path] = {
            "sha256": sha256_of(path),
            "lines_read": tally.lines_read,
            "lines": tally.lines,
            "counts": dict(sorted(tally.counts.items())),
            "first_lines": tally.first_lines,
            "versions": versions,
        }
        truncated = truncated or tally.truncated
        people |= tally.people
    kept = sorted(people)[:most_people]
    return {
        "files": files,
        "people": kept,
        "people_truncated": truncated or len(kept) < len(people),
        "left_out": left_out,
    }


_VERSION = re.compile(r"\"version\":\s*\"([A-Za-z0-9][A-Za-z0-9._+-]{0,63})\"")


def sha256_of(path: str) -> str:
    """Digest of a file as it lies on disk."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_READ), b""):
            digest.update(block)
    return digest.hexdigest()


def release_of(line: str) -> str:
    """The release that wrote a line, where lines say so; else an empty text."""
    match = _VERSION.search(line)
    return match.group(1) if match else ""


def _opened(path: str) -> t.BinaryIO:
    # O_NOFOLLOW: a link in a log directory may lead anywhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    raw = os.fdopen(descriptor, "rb", _READ)
    if path.endswith(".gz"):
        return t.cast(t.BinaryIO, io.BufferedReader(t.cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)), _READ))
    return raw
