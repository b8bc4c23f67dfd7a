# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Snapshots through restic, where it is installed: the same verbs as the store of our own."""

from __future__ import annotations

import json
import os
import shutil
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import check_kind, check_level

# restic has all that is used here since this version (2022).
OLDEST_VERSION = (0, 14)
_OUTPUT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class ResticSnapshot:
    """:param snapshot_id: restic's own, 64 hexadecimal digits. :param tags: `key=value`."""

    snapshot_id: str
    time: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ResticBackup:
    """:param size_bytes: of everything in it; `stored_bytes` is what it added to the repository."""

    snapshot_id: str
    files: int
    size_bytes: int
    stored_bytes: int
    seconds: float


def find_restic() -> Path | None:
    """restic, when it is installed."""
    found = shutil.which("restic")
    return Path(found) if found else None


@dataclass(frozen=True)
class Restic:
    """One repository.

    :param password_file: holds the repository's password; its path, not the password, is passed on.
    :param environment: what the backend needs, such as AWS_ACCESS_KEY_ID; never shown.
    """

    program: Path
    repository: str
    password_file: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 3600.0

    def check_version(self) -> None:
        """:raises BadInput: this restic is too old."""
        words = self._run("version", json_output=False).stdout.split()
        try:
            found = tuple(int(part) for part in words[1].split(".")[:2])
        except (IndexError, ValueError):
            raise CodeblueError(f"{self.program} does not say its version") from None
        if found < OLDEST_VERSION:
            raise BadInput(f"restic {words[1]} is too old", f"install {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or newer")

    def init(self) -> None:
        """Make the repository. :raises CodeblueError: it exists, or cannot be made."""
        self._run("init")

    def backup(
        self,
        paths: Sequence[Path],
        service: str,
        kind: str,
        level: str,
        snapshot_id: str,
        excludes: Sequence[str] = (),
    ) -> ResticBackup:
        """Snapshot files and directories of the controller as one level.

        :param snapshot_id: of ours; kept as a tag, by which it is found again.
        :raises CodeblueError: something could not be read or written. restic keeps a partial snapshot then, which is
            removed again.
        """
        tags = [
            f"codeblue={snapshot_id}",
            f"service={service}",
            f"kind={check_kind(kind)}",
            f"level={check_level(level)}",
        ]
        arguments = [argument for tag in tags for argument in ("--tag", tag)]
        arguments += [argument for pattern in excludes for argument in ("--exclude", pattern)]
        started = time.monotonic()
        # Exit status 3: a snapshot was made and files are missing from it.
        answer = self._run("backup", *arguments, "--", *map(str, paths), allowed=(0, 3))
        summary = next((line for line in _lines(answer) if line.get("message_type") == "summary"), None)
        if summary is None:
            raise CodeblueError("restic backup gave no summary", answer.complaint())
        if answer.returncode == 3:
            self._run("forget", summary["snapshot_id"])
            errors = [line for line in _lines(answer, stderr=True) if line.get("message_type") == "error"]
            item = errors[0].get("item", "a file") if errors else "a file"
            raise CodeblueError(f"{item} cannot be read", "run as a user who may, or exclude it")
        return ResticBackup(
            snapshot_id=self._full_id(summary["snapshot_id"]),
            files=int(summary["total_files_processed"]),
            size_bytes=int(summary["total_bytes_processed"]),
            stored_bytes=int(summary["data_added"]),
            seconds=round(time.monotonic() - started, 3),
        )

    def snapshots(self, tag: str | None = None) -> list[ResticSnapshot]:
        """Those made by this collection, oldest first."""
        found = [
            ResticSnapshot(value["id"], value["time"], tuple(value["paths"]), tuple(value.get("tags") or ()))
            for value in json.loads(self._run("snapshots").stdout or "[]")
        ]
        ours = [snapshot for snapshot in found if any(value.startswith("codeblue=") for value in snapshot.tags)]
        return sorted(
            (snapshot for snapshot in ours if tag is None or tag in snapshot.tags), key=lambda snapshot: snapshot.time
        )

    def verify(self, read_data: bool = True) -> None:
        """Check the whole repository. :raises CodeblueError: something is damaged; nothing was changed."""
        try:
            self._run("check", *(["--read-data"] if read_data else []), json_output=False)
        except CodeblueError as error:
            raise CodeblueError(
                f"the restic repository is damaged: {error.message}", "see restic's manual, repair"
            ) from None

    def restore(self, snapshot_id: str, destination: Path, paths: Sequence[str] = ()) -> None:
        """Restore into a directory that is missing or empty.

        :param paths: absolute paths as they were snapshotted; nothing means all.
        :raises BadInput: the destination is in use.
        """
        if destination.exists() and any(destination.iterdir()):
            raise BadInput(f"{destination} is in use", "name a directory that is missing or empty")
        includes = [argument for path in paths for argument in ("--include", path)]
        self._run("restore", snapshot_id, "--target", str(destination), "--verify", *includes, json_output=False)

    def forget(self, snapshot_ids: Sequence[str]) -> None:
        """Remove snapshots and what only they needed. Which ones, the retention policy decides, not restic."""
        if snapshot_ids:
            self._run("forget", "--prune", *snapshot_ids)

    def _full_id(self, short: str) -> str:
        return next(
            (snapshot.snapshot_id for snapshot in self.snapshots() if snapshot.snapshot_id.startswith(short)), short
        )

    def _run(
        self, command: str, *arguments: str, json_output: bool = True, allowed: tuple[int, ...] = (0,)
    ) -> CommandResult:
        # Not in argv, where every user of the machine could read a URL with a password in it.
        environment = {
            "HOME": os.environ.get("HOME", "/nonexistent"),
            **self.environment,
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_PROGRESS_FPS": "0.01",
        }
        answer = run_command(
            [str(self.program), command, *(["--json"] if json_output else []), *arguments],
            Deadline(self.timeout),
            environment=environment,
            output_limit=_OUTPUT_BYTES,
            keep="tail",
        )
        if answer.returncode not in allowed:
            raise CodeblueError(
                f"restic {command} failed: {answer.complaint()}", "see the repository and its password file"
            )
        return answer


def _lines(answer: CommandResult, stderr: bool = False) -> list[dict[str, t.Any]]:
    found = []
    for line in (answer.stderr if stderr else answer.stdout).splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the first line may have been cut where the output went past its limit
    return found
