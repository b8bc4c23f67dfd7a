# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The history of a service's feature flags: which state they had since when.

It is kept in one of three ways: a file with one JSON object a line, to which `feature_flag` adds what it sets and
deployments what they set; a git repository that holds the file of flags; or a command that prints it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import append_line, read_tail
from ansible_collections.codeblue.recovery.plugins.module_utils._configuration_history import ConfigurationHistory
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._feature_flag import Flags
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

_HISTORY_BYTES = 1024 * 1024
_VERSION_LENGTH = 16
#: By whom a state was brought that nobody wrote down.
UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class FlagState:
    """All flags as they were at one time.

    :param version: digest of the flags; equal flags are the same version.
    :param changed_at: UTC, RFC 3339; None when nobody knows.
    """

    version: str
    changed_at: t.Optional[str]
    by: str
    flags: Flags

    @classmethod
    def of(cls, flags: Flags, changed_at: t.Optional[str], by: str) -> FlagState:
        """With the version that belongs to the flags."""
        content = json.dumps(flags, sort_keys=True, separators=(",", ":"))
        return cls(hashlib.sha256(content.encode()).hexdigest()[:_VERSION_LENGTH], changed_at, by, flags)

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {"version": self.version, "changed_at": self.changed_at, "by": self.by, "flags": self.flags}


class FlagHistory:
    """Where the earlier states of one place's flags are kept.

    :param params: `path`, and at most one of `history_file`, `history_command`, `work_tree` (with `git_dir`).
    :param deadline: for git and the command.
    :raises BadInput: two ways at once, or a way that does not fit.
    """

    def __init__(self, params: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        ways = [name for name in ("history_file", "history_command", "work_tree") if params.get(name)]
        if len(ways) > 1:
            raise BadInput("%s and %s: one history is enough" % (ways[0], ways[1]), "leave one out")
        if params.get("work_tree") and not params.get("path"):
            raise BadInput("work_tree: git keeps the history of a file", "give path, or history_command")
        self._path: t.Optional[str] = params.get("path")
        self._file: t.Optional[str] = params.get("history_file")
        self._command: t.Sequence[str] = params.get("history_command") or ()
        self._work_tree: t.Optional[str] = params.get("work_tree")
        self._git_dir: t.Optional[str] = params.get("git_dir")
        self._deadline = deadline
        self.kept = bool(ways)

    def states(self, present: Flags, most: int) -> t.List[FlagState]:
        """The states, the present one first; the same flags twice in a row count once, since they came.

        :param present: the flags as they are now. What nobody wrote down counts as of the file's last change.
        """
        recorded = self._recorded(most)
        now = FlagState.of(present, None, UNRECORDED)
        if not recorded or recorded[0].version != now.version:
            recorded.insert(0, FlagState.of(present, self.modified_at(), UNRECORDED))
        found: t.List[FlagState] = []
        for state in recorded:
            if found and found[-1].version == state.version:
                found[-1] = state
            else:
                found.append(state)
        return found[:most]

    def record(self, before: Flags, after: Flags, changed_before: t.Optional[str], by: str) -> None:
        """Add what was set to a history that is a file; the other ways are kept by their owners.

        :param before: what was found; added as well when nobody wrote it down.
        :param changed_before: since when it was so.
        """
        if self._file is None:
            return
        recorded = self._recorded(1)
        if not recorded or recorded[0].version != FlagState.of(before, None, "").version:
            self._append(FlagState.of(before, changed_before, UNRECORDED))
        self._append(FlagState.of(after, _utc_now(), by))

    def modified_at(self) -> t.Optional[str]:
        """When the file of flags was written last; None for flags that are no file."""
        if self._path is None:
            return None
        try:
            seconds = os.stat(self._path).st_mtime
        except OSError:
            return None
        return _utc(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))

    def _append(self, state: FlagState) -> None:
        line = {"changed_at": state.changed_at, "flags": state.flags, "by": state.by}
        append_line(str(self._file), json.dumps(line, sort_keys=True), 0o644)

    def _recorded(self, most: int) -> t.List[FlagState]:
        if self._file is not None:
            return self._from_file(most)
        if self._work_tree is not None:
            return self._from_git(most)
        return self._from_command(most) if self._command else []

    def _from_file(self, most: int) -> t.List[FlagState]:
        """Newest first; lines that are damaged, as a crash leaves them, are left out."""
        path = str(self._file)
        if not os.path.exists(path):
            return []
        states = []
        for line in reversed(read_tail(path, _HISTORY_BYTES).decode(errors="replace").splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            state = _state_of(entry)
            if state is not None:
                states.append(state)
            if len(states) >= most:
                break
        return states

    def _from_git(self, most: int) -> t.List[FlagState]:
        path = str(self._path)
        history = ConfigurationHistory(str(self._work_tree), self._git_dir, [path], self._deadline.remaining())
        states = []
        for revision in history.history(most):
            content = history.content_at(revision.commit, path) if revision.commit else None
            try:
                flags = json.loads(content or b"null")
            except ValueError:
                continue
            if isinstance(flags, dict):
                states.append(FlagState.of(flags, revision.deployed_at, revision.by))
        return states

    def _from_command(self, most: int) -> t.List[FlagState]:
        if not os.path.isabs(self._command[0]):
            raise BadInput("history_command: must begin with the absolute path of a program")
        done = run_command(self._command, self._deadline, output_limit=_HISTORY_BYTES)
        hint = "it must print a JSON list of objects with changed_at and flags"
        if not done.ok:
            raise CodeblueError("the history of the flags cannot be read: %s" % done.complaint(), hint)
        try:
            entries = json.loads(done.stdout)
        except ValueError as error:
            raise CodeblueError("%s printed no JSON" % done.tool, hint) from error
        states = [_state_of(entry) for entry in entries] if isinstance(entries, list) else [None]
        if None in states:
            raise CodeblueError("%s printed something that is no history" % done.tool, hint)
        whole = [state for state in states if state is not None]
        return sorted(whole, key=lambda state: state.changed_at or "", reverse=True)[:most]


def _state_of(entry: t.Any) -> t.Optional[FlagState]:
    if not isinstance(entry, dict) or not isinstance(entry.get("flags"), dict):
        return None
    at = entry.get("changed_at")
    try:
        moment = datetime.datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return FlagState.of(entry["flags"], _utc(moment), str(entry.get("by") or "")[:100])


def _utc(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _utc_now() -> str:
    return _utc(datetime.datetime.now(datetime.timezone.utc))
