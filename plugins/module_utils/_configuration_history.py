# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The history of configuration files in a git repository of the machine, as etckeeper keeps one for /etc."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command

LARGEST_FILE = 1024 * 1024
_VERSION_LENGTH = 16
# What git is not to take from anybody's configuration, and what it must not start.
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_AUTHOR_NAME": "codeblue",
    "GIT_AUTHOR_EMAIL": "codeblue@localhost",
    "GIT_COMMITTER_NAME": "codeblue",
    "GIT_COMMITTER_EMAIL": "codeblue@localhost",
}
# The file as it lies there, while nobody has committed it.
UNCOMMITTED = None


@dataclass(frozen=True)
class Revision:
    """One state of the files.

    :param version: digest of all the files' contents; equal contents are the same version.
    :param commit: None for what lies there uncommitted.
    :param deployed_at: UTC, RFC 3339; of the commit, or the last modification of the uncommitted files.
    """

    version: str
    commit: t.Optional[str]
    deployed_at: str
    by: str

    def as_dict(self) -> t.Dict[str, t.Any]:
        """As the result shows it."""
        return {"version": self.version, "commit": self.commit, "deployed_at": self.deployed_at, "by": self.by}


class ConfigurationHistory:
    """Some files of one repository.

    :param git_dir: the repository; `work_tree`/.git when it is None.
    :param files: absolute paths in the work tree.
    :raises BadInput: a path is not in the work tree, or there is no repository.
    """

    def __init__(self, work_tree: str, git_dir: t.Optional[str], files: t.Sequence[str], seconds: float = 20.0) -> None:
        self._work_tree = os.path.normpath(work_tree)
        self._git_dir = git_dir or os.path.join(self._work_tree, ".git")
        if not os.path.isdir(self._git_dir):
            raise BadInput("git_dir: %s is no repository" % self._git_dir, "name the one that keeps the configuration")
        self._files = [self._relative(path) for path in files]
        if not self._files:
            raise BadInput("files: is empty", "name the configuration files")
        self._deadline = Deadline(seconds)

    def history(self, most: int) -> t.List[Revision]:
        """The states of the files, the present one first; the same content twice in a row counts once."""
        found: t.List[Revision] = []
        present = self._blobs_on_disk()
        listed = self._log(most)
        if not listed or self._blobs_at(listed[0][0]) != present:
            found.append(Revision(_version_of(present), UNCOMMITTED, self._modified_at(), "uncommitted"))
        for commit, at, by in listed:
            version = _version_of(self._blobs_at(commit))
            if found and found[-1].version == version:
                # The earlier commit is the one that brought it.
                found[-1] = Revision(version, commit, at, by)
            else:
                found.append(Revision(version, commit, at, by))
        return found

    def present(self) -> str:
        """The version of what lies there now."""
        return _version_of(self._blobs_on_disk())

    def content_at(self, commit: str, path: str) -> t.Optional[bytes]:
        """A file as it was in a commit; None when it was not there.

        :param path: absolute, one of the files.
        """
        relative = self._relative(path)
        blob = self._blobs_at(commit).get(relative)
        return None if blob is None else self._content(commit, relative, blob)

    def restore(self, version: str, history: t.Sequence[Revision], note: str) -> t.List[str]:
        """Put the files back as they were in a version; returns the paths that changed.

        Every file is replaced by a rename, keeps its mode and owner, and the new state is committed.

        :param note: the commit's message; no secrets.
        :raises BadInput: no revision in the history has this version.
        """
        commit = next((each.commit for each in history if each.version == version and each.commit), None)
        if commit is None:
            raise BadInput("version: %r is not in the history" % version, "list the history to see which there are")
        wanted, present = self._blobs_at(commit), self._blobs_on_disk()
        contents = {path: self._content(commit, path, blob) for path, blob in wanted.items() if present[path] != blob}
        gone = [path for path in self._files if path not in wanted and present[path]]
        for path, content in contents.items():
            self._replace(path, content)
        for path in gone:
            os.unlink(os.path.join(self._work_tree, path))
        self.commit(note)
        return sorted(os.path.join(self._work_tree, path) for path in [*contents, *gone])

    def commit(self, note: str) -> bool:
        """Commit the files as they lie there; False when nothing had changed."""
        there = [path for path in self._files if os.path.exists(os.path.join(self._work_tree, path))]
        if there:
            self._git("add", "--force", "--", *there)
        gone = sorted(set(self._files) - set(there))
        if gone:
            self._git("rm", "--quiet", "--cached", "--ignore-unmatch", "--", *gone)
        if self._try("diff", "--cached", "--quiet", "--", *self._files).ok:
            return False
        self._git("commit", "--quiet", "--no-verify", "--message", note, "--", *self._files)
        return True

    def _replace(self, path: str, content: bytes) -> None:
        place = os.path.join(self._work_tree, path)
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            write_file(place, content, 0o640)
            return
        if not stat.S_ISREG(found.st_mode):
            raise CodeblueError("%s is no regular file" % place, "put it back by hand")
        write_file(place, content, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))

    def _content(self, commit: str, path: str, blob: str) -> bytes:
        answer = self._git("cat-file", "blob", "%s:%s" % (commit, path), limit=LARGEST_FILE + 1)
        content = answer.stdout.encode()
        if answer.truncated or _blob_id(content) != blob:
            raise CodeblueError(
                "%s cannot be restored: it is larger than %d bytes, or no text in UTF-8" % (path, LARGEST_FILE),
                "put it back by hand: git show %s:%s" % (commit[:12], path),
            )
        return content

    def _log(self, most: int) -> t.List[t.Tuple[str, str, str]]:
        if not self._try("rev-parse", "--verify", "--quiet", "HEAD").ok:
            return []
        said = self._git("log", "-n", str(most), "--format=%H%x09%ct%x09%cn", "--", *self._files).stdout
        rows = [line.split("\t", 2) for line in said.splitlines() if line.count("\t") == 2]
        return [(commit, _utc(float(seconds)), by[:100]) for commit, seconds, by in rows]

    def _blobs_at(self, commit: str) -> t.Dict[str, str]:
        said = self._git("ls-tree", "-z", "-r", "--full-tree", commit, "--", *self._files).stdout
        found = {}
        for entry in said.split("\0"):
            about, tab, path = entry.partition("\t")
            if tab:
                found[path] = about.split()[2]
        return found

    def _blobs_on_disk(self) -> t.Dict[str, str]:
        found = {}
        for path in self._files:
            place = os.path.join(self._work_tree, path)
            try:
                with open(place, "rb") as stream:
                    content = stream.read(LARGEST_FILE + 1)
            except FileNotFoundError:
                found[path] = ""
                continue
            if len(content) > LARGEST_FILE:
                raise BadInput("files: %s is larger than %d bytes" % (place, LARGEST_FILE), "leave it out")
            found[path] = _blob_id(content)
        return found

    def _modified_at(self) -> str:
        places = [os.path.join(self._work_tree, path) for path in self._files]
        return _utc(max((os.stat(place).st_mtime for place in places if os.path.exists(place)), default=0.0))

    def _relative(self, path: str) -> str:
        found = os.path.relpath(os.path.normpath(path), self._work_tree)
        if not os.path.isabs(path) or found.startswith(".."):
            raise BadInput("files: %r is not in %s" % (path, self._work_tree), "give its absolute path")
        return found

    def _git(self, *arguments: str, limit: int = 256 * 1024) -> CommandResult:
        """:raises CodeblueError: git failed."""
        answer = self._try(*arguments, limit=limit)
        if not answer.ok:
            raise CodeblueError(
                "%s: %s" % (self._git_dir, answer.complaint()), "look at it: git --git-dir %s status" % self._git_dir
            )
        return answer

    def _try(self, *arguments: str, limit: int = 256 * 1024) -> CommandResult:
        command = [
            "git",
            "--git-dir=%s" % self._git_dir,
            "--work-tree=%s" % self._work_tree,
            "-c",
            "safe.directory=*",
            "-c",
            "core.hooksPath=%s" % os.devnull,
            "-c",
            "core.quotePath=false",
            "-c",
            "commit.gpgSign=false",
            "--literal-pathspecs",
            *arguments,
        ]
        # The paths are relative to the work tree, and git starts in the root directory.
        return run_command(
            ["env", "-C", self._work_tree, *command], self._deadline, environment=_ENVIRONMENT, output_limit=limit
        )


def _blob_id(content: bytes) -> str:
    """As git names a content. A name, not a proof of anything."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _version_of(blobs: t.Mapping[str, str]) -> str:
    lines = "".join("%s %s\n" % (path, blobs[path]) for path in sorted(blobs) if blobs[path])
    return hashlib.sha256(lines.encode()).hexdigest()[:_VERSION_LENGTH]


def _utc(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
