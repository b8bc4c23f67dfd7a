# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Feature flags of one service on one machine, kept by whoever provides them: a JSON file, or a command.

A provider reads all flags and writes some of them. What else it holds is never touched.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

Flags = t.Dict[str, t.Any]

# Flags are read by a service with each request; a file beyond this is none of that kind.
_LARGEST_FILE = 1024 * 1024
# Another writer that gets in between is waited for this often.
_TRIES = 5


class FlagProvider:
    """Where the flags of a service are kept."""

    def read(self) -> Flags:
        """All flags.

        :raises CodeblueError: they cannot be had, or are no JSON object.
        """
        raise NotImplementedError

    def write(self, wanted: t.Mapping[str, t.Any]) -> None:
        """Set these flags, `None` takes one away; all others stay as they are.

        :raises CodeblueError: they cannot be written.
        """
        raise NotImplementedError


class FileFlags(FlagProvider):
    """A JSON object in a file, replaced by a rename, so that a reader sees the old or the new one whole.

    :param path: absolute. A symbolic link is followed: what it points to is replaced, the link stays.
    :raises BadInput: the path is not absolute, or there is no such directory.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path):
            raise BadInput("path: %r is not absolute" % path)
        self._path = os.path.realpath(path)
        if not os.path.isdir(os.path.dirname(self._path)):
            raise BadInput("path: there is no directory %s" % os.path.dirname(self._path), "check flags and machine")

    def read(self) -> Flags:
        return _parsed(self._content(), self._path)

    def write(self, wanted: t.Mapping[str, t.Any]) -> None:
        for _again in range(_TRIES):
            content = self._content()
            flags = _parsed(content, self._path)
            for name, value in wanted.items():
                if value is None:
                    flags.pop(name, None)
                else:
                    flags[name] = value
            # Between this look and the rename lie microseconds; without it, a parse and a serialisation.
            if self._content() == content:
                self._replace(flags)
                return
        raise Refused(
            "%s is being written by somebody else all the time" % self._path, "find out who writes it, and stop that"
        )

    def _content(self) -> t.Optional[bytes]:
        try:
            with open(self._path, "rb") as stream:
                content = stream.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CodeblueError("%s cannot be read: %s" % (self._path, error.strerror)) from error
        if len(content) > _LARGEST_FILE:
            raise BadInput("path: %s is larger than 1 MB and no file of flags" % self._path)
        return content

    def _replace(self, flags: Flags) -> None:
        content = (json.dumps(flags, indent=2, sort_keys=True) + "\n").encode()
        try:
            status = os.stat(self._path)
            mode = status.st_mode & 0o777
        except FileNotFoundError:
            status, mode = os.stat(os.path.dirname(self._path)), 0o644
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        write_file(self._path, content, mode, owner)


class CommandFlags(FlagProvider):
    """A tool of the machine: one command prints all flags as a JSON object, one takes a JSON object of changes on its
    standard input, where null takes a flag away.

    :param deadline: for all calls together.
    """

    def __init__(self, read_command: t.Sequence[str], write_command: t.Sequence[str], deadline: Deadline) -> None:
        for name, argv in (("read_command", read_command), ("write_command", write_command)):
            if not argv or not os.path.isabs(argv[0]):
                raise BadInput("%s: must begin with the absolute path of a program" % name)
        self._read_command = read_command
        self._write_command = write_command
        self._deadline = deadline

    def read(self) -> Flags:
        done = run_command(self._read_command, self._deadline)
        if not done.ok:
            raise CodeblueError("the flags cannot be read: %s" % done.complaint(), "try the read command by hand")
        return _parsed(done.stdout.encode(), done.tool)

    def write(self, wanted: t.Mapping[str, t.Any]) -> None:
        done = run_command(self._write_command, self._deadline, stdin=json.dumps(dict(wanted), sort_keys=True))
        if not done.ok:
            raise CodeblueError("the flags cannot be written: %s" % done.complaint(), "try the write command by hand")


def flag_provider(params: t.Mapping[str, t.Any], deadline: Deadline) -> FlagProvider:
    """The provider that the options of a module name.

    :raises BadInput: none or half of one is named.
    """
    if params.get("path"):
        return FileFlags(params["path"])
    return CommandFlags(params.get("read_command") or (), params.get("write_command") or (), deadline)


def check_names(flags: t.Mapping[str, t.Any]) -> None:
    """:raises BadInput: a value is neither a text, a number, true, false nor null."""
    for name, value in flags.items():
        if not isinstance(name, str) or not name:
            raise BadInput("flags: %r is no name of a flag" % (name,))
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise BadInput("flags.%s: must be true, false, a number, a text or null" % name)


def same(first: t.Any, second: t.Any) -> bool:
    """Equal in JSON, where 1 and true are two things although Python takes them for one."""
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)


def _parsed(content: t.Optional[bytes], where: str) -> Flags:
    if content is None:
        return {}
    try:
        flags = json.loads(content.decode())
    except ValueError as error:
        raise CodeblueError("%s holds no JSON" % where, "mend it by hand: it is never overwritten unread") from error
    if not isinstance(flags, dict):
        raise CodeblueError("%s holds no JSON object" % where, "mend it by hand: it is never overwritten unread")
    return flags
