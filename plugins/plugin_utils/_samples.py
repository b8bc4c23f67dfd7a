# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was seen before, for criteria over minutes: one bounded file per environment beside the state store.

A file and not a table: a run reads it before the store is opened, and also when the store is lost. Samples can be
spared, so nothing is flushed to disk for them. They hold no text of what a service said.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import typing as t
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import CounterReading, MetricSample
from ansible_collections.codeblue.recovery.plugins.plugin_utils._state_place import state_place

# Hours of a clinic, and half an hour of a thousand checks.
LARGEST_FILE = 8 * 1024 * 1024
_DIRECTORY = "samples"
# Others who keep samples need milliseconds; one that was stopped in the middle holds up nobody.
_LOCK_SECONDS = 2.0
#: What is kept of the answer to a check: all but its text.
CHECK_FIELDS = ("target", "id", "level", "type", "ok", "seconds", "error_class", "topic", "at")


@dataclass(frozen=True)
class Kept:
    """What was kept, oldest first.

    :param last_at: Unix seconds of the last look that was ever kept, None when there is none.
    :param problem: why it could not be read, for people.
    """

    checks: tuple[CheckResult, ...] = ()
    metrics: tuple[MetricSample, ...] = ()
    counters: tuple[CounterReading, ...] = ()
    last_at: float | None = None
    problem: str | None = None


def read_samples(environment: str, since: float) -> Kept:
    """What was kept of an environment since a moment.

    :param since: Unix seconds. A look is kept whole, so a little more may come back.
    """
    path = _place(environment)
    try:
        content = _end_of(path)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        return Kept(problem=f"{path}: {error.strerror}")
    checks: list[CheckResult] = []
    metrics: list[MetricSample] = []
    counters: list[CounterReading] = []
    last_at: float | None = None
    for look in _newest_first(content):
        try:
            at = float(look["at"])
            answers = [CheckResult(**dict(zip(CHECK_FIELDS, row, strict=True)), detail="") for row in look["checks"]]
            samples = [MetricSample(*row) for row in look["metrics"]]
            readings = [CounterReading(*row) for row in look["counters"]]
        except (KeyError, TypeError, ValueError):
            continue  # kept by another version
        last_at = at if last_at is None else max(at, last_at)
        if at < since:
            break
        checks += answers
        metrics += samples
        counters += readings
    return Kept(
        tuple(sorted(checks, key=lambda each: each.at)),
        tuple(sorted(metrics, key=lambda each: each.at)),
        tuple(sorted(counters, key=lambda each: each.at)),
        last_at,
    )


def keep_samples(
    environment: str,
    at: float,
    checks: Iterable[CheckResult] = (),
    metrics: Sequence[MetricSample] = (),
    counters: Sequence[CounterReading] = (),
) -> None:
    """Keep one look; the oldest ones go when the file has become too large.

    :param at: Unix seconds.
    :raises StoreUnavailable: the directory of the state cannot be used.
    :raises OSError: the file cannot be written.
    """
    # Who keeps samples has time for it, who reads them has not.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import private_dir, state_dir

    path = private_dir(state_dir() / _DIRECTORY) / _place(environment).name
    look = {
        "at": round(at, 3),
        "checks": [[getattr(each, name) for name in CHECK_FIELDS] for each in checks],
        "metrics": [astuple(each) for each in metrics],
        "counters": [astuple(each) for each in counters],
    }
    line = json.dumps(look, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _take(lock, path)
        if path.exists() and path.stat().st_size + len(line) > LARGEST_FILE:
            _halve(path)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb") as stream:
            stream.write(line)
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BlockingIOError(errno.EAGAIN, "another process holds its lock", str(path)) from None
            time.sleep(0.02)


def _place(environment: str) -> Path:
    return state_place() / _DIRECTORY / f"{environment}.jsonl"


def _end_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - LARGEST_FILE))
        return stream.read(LARGEST_FILE)


def _halve(path: Path) -> None:
    content = _end_of(path)[-LARGEST_FILE // 2 :]
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content[content.find(b"\n") + 1 :])
    beside.replace(path)


def _newest_first(content: bytes) -> Iterator[dict[str, t.Any]]:
    for line in reversed(content.splitlines()):
        try:
            look = json.loads(line)
        except ValueError:
            continue  # the end of an attempt that was cut off, or the beginning that was cut away
        if isinstance(look, dict):
            yield look
