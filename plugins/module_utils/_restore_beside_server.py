# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts, watches and stops the server of a restored copy: PostgreSQL itself, without a process manager."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing as t
from dataclasses import asdict, dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import read_tail, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import account_of
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, NotLeftSafe
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import (
    ProcessInfo,
    read_process,
    working_directory,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import demotion, tool_environment

MARKER_NAME = "codeblue-beside.json"
LOG_NAME = "server.log"

DEFAULT_STOP_SECONDS = 30.0
# A unix socket's path may be 107 bytes long (sun_path of Linux); the name PostgreSQL adds has up to 14.
_LONGEST_SOCKET_DIRECTORY = 92
_LOG_TAIL = 16 * 1024
_REMOVALS = 10
_REMOVAL_PAUSE = 0.5
_SERIOUS = re.compile(r"(?:FATAL|PANIC|ERROR):\s+(.*)$")


@dataclass(frozen=True)
class BesidePlace:
    """Where a copy lives. All of it is inside `directory`, except a socket whose path would be too long.

    :param target: what it was recovered to, as the request said it.
    :param ready: it has reached its target; a copy that has not is left over from a restore that was cut off.
    """

    directory: str
    socket_dir: str
    port: int
    backups: t.List[str]
    os_user: t.Optional[str]
    target: t.Dict[str, t.Any]
    ready: bool = False

    @property
    def data_dir(self) -> str:
        """The data directory of the copy."""
        return os.path.join(self.directory, "data")

    @property
    def config_file(self) -> str:
        """The copy's own postgresql.conf, outside its data directory."""
        return os.path.join(self.directory, "postgresql.conf")

    @property
    def log_file(self) -> str:
        """What the server says."""
        return os.path.join(self.directory, LOG_NAME)

    def login(self, login: Login) -> Login:
        """The same tools, user and database, at the copy; it asks for no password."""
        return Login(
            bin_dir=login.bin_dir,
            os_user=login.os_user,
            host=self.socket_dir,
            port=self.port,
            user=login.user,
            database=login.database,
        )


def make_place(
    directory: str,
    backups: t.Sequence[str],
    port: t.Optional[int],
    os_user: t.Optional[str],
    target: t.Mapping[str, t.Any],
) -> BesidePlace:
    """Make the directory of a copy, with the marker by which it is known for one.

    :param port: of the unix socket's name; None takes a free one.
    :raises BadInput: there is something already.
    """
    if not os.path.isabs(directory) or os.path.normpath(directory) != directory:
        raise BadInput("directory: %r is not a plain absolute path" % directory)
    owner = account_of(os_user)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise BadInput("%s exists already" % directory, "remove the earlier copy: state=absent") from None
    except OSError as error:
        raise CodeblueError("%s cannot be made: %s" % (directory, error.strerror), "make the one above it") from error
    try:
        if owner != (os.geteuid(), os.getegid()):
            os.chown(directory, owner[0], owner[1])
        socket_dir = os.path.join(directory, "socket")
        if len(os.fsencode(socket_dir)) <= _LONGEST_SOCKET_DIRECTORY:
            os.mkdir(socket_dir, 0o700)
        else:
            socket_dir = tempfile.mkdtemp(prefix="codeblue-")
        os.chown(socket_dir, owner[0], owner[1])
        place = BesidePlace(directory, socket_dir, port or _free_port(), list(backups), os_user, dict(target))
        _write_marker(place)
    except BaseException:
        shutil.rmtree(directory)
        raise
    return place


def mark_ready(place: BesidePlace) -> BesidePlace:
    """Say on disk that the copy has reached its target."""
    ready = replace(place, ready=True)
    _write_marker(ready)
    return ready


def _write_marker(place: BesidePlace) -> None:
    content = json.dumps(asdict(place)).encode()
    write_file(os.path.join(place.directory, MARKER_NAME), content, 0o600, account_of(place.os_user))


def read_place(directory: str) -> t.Optional[BesidePlace]:
    """The copy that lives there; None when there is nothing at all.

    :raises BadInput: there is something, and it is no copy of ours.
    """
    try:
        with open(os.path.join(directory, MARKER_NAME), "rb") as stream:
            place = BesidePlace(**json.loads(stream.read(65536).decode()))
    except FileNotFoundError:
        if not os.path.lexists(directory):
            return None
        raise BadInput(
            "%s is no restored copy" % directory, "name another directory; this one was not touched"
        ) from None
    except (ValueError, TypeError) as error:
        raise CodeblueError(
            "%s in %s is damaged" % (MARKER_NAME, directory), "stop and remove the copy by hand"
        ) from error
    if os.path.realpath(place.directory) != os.path.realpath(directory):
        raise BadInput("%s was moved: it belongs to %s" % (directory, place.directory), "move it back")
    return place


def start_server(place: BesidePlace, login: Login) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that it outlives this process.

    :raises CodeblueError: the program cannot be executed.
    """
    arguments = [login.tool("postgres"), "-D", place.data_dir, "-c", "config_file=" + place.config_file]
    log = os.open(place.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.directory,
            env=tool_environment(),
            preexec_fn=demotion(place.os_user),
            start_new_session=True,
        )
    except OSError as error:
        raise CodeblueError("%s: %s" % (arguments[0], error.strerror), "see bin_dir") from error
    finally:
        os.close(log)


def running_server(place: BesidePlace) -> t.Optional[ProcessInfo]:
    """The postmaster of the copy, or None. A number from a stale pid file is not taken for it."""
    try:
        with open(os.path.join(place.data_dir, "postmaster.pid"), encoding="utf-8", errors="replace") as stream:
            first = stream.readline().strip()
    except FileNotFoundError:
        return None
    process = read_process(int(first)) if first.isdigit() else None
    if process is None or process.gone:
        return None
    # The postmaster works in its data directory.
    if working_directory(process.pid) != os.path.realpath(place.data_dir):
        return None
    return process


def stop_server(place: BesidePlace, seconds: float = DEFAULT_STOP_SECONDS, at_once: bool = False) -> bool:
    """Stop the server: fast, then at once, then by force; ends within `seconds` and a bit.

    :param at_once: begin with the second: for a copy that is thrown away, or goes on from its last restart point. A
        paused one takes a second to stop otherwise.
    :return: False when it was not running.
    :raises NotLeftSafe: it does not go.
    """
    process = running_server(place)
    if process is None:
        return False
    ways = ((signal.SIGINT, 0.6), (signal.SIGQUIT, 0.3), (signal.SIGKILL, 0.1))
    for number, share in ways[1:] if at_once else ways:
        process.kill(number)
        if Deadline(max(0.5, seconds * share)).wait_until(lambda: _gone(t.cast(ProcessInfo, process)), 0.02):
            return True
    raise NotLeftSafe(
        "the restored copy in %s does not stop (pid %d)" % (place.directory, process.pid), "look at that process"
    )


def remove_place(place: BesidePlace) -> None:
    """Remove the copy from disk.

    :raises CodeblueError: its server still runs.
    """
    process = running_server(place)
    if process is not None:
        raise CodeblueError("the restored copy in %s still runs (pid %d)" % (place.directory, process.pid), "stop it")
    if os.path.dirname(place.socket_dir) != place.directory and os.path.isdir(place.socket_dir):
        shutil.rmtree(place.socket_dir)
    # The marker goes last: what a crash leaves is still known for a copy and can be removed again.
    for name in os.listdir(place.directory):
        path = os.path.join(place.directory, name)
        if name == MARKER_NAME:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        # An attempt before this one came as far as here.
        os.unlink(os.path.join(place.directory, MARKER_NAME))
    os.rmdir(place.directory)


def stop_and_remove(place: BesidePlace) -> None:
    """Stop the server and remove the copy.

    A restore that was killed may have left a tool that still writes, or a server that has no pid file yet: what comes
    up while files are removed is stopped, and the rest removed again.

    :raises NotLeftSafe: the server does not go.
    :raises OSError: files cannot be removed.
    """
    for left in reversed(range(_REMOVALS)):
        stop_server(place, at_once=True)
        try:
            remove_place(place)
            return
        except (OSError, CodeblueError):
            if not left:
                raise
            time.sleep(_REMOVAL_PAUSE)


def last_complaint(place: BesidePlace) -> str:
    """The last serious thing that the server said, in one line."""
    try:
        lines = read_tail(place.log_file, _LOG_TAIL).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "the server wrote no log"
    serious = [match.group(1) for match in map(_SERIOUS.search, lines) if match]
    # One FATAL of the startup process tells the reason; the ones of clients that tried meanwhile do not.
    telling = [text for text in serious if "starting up" not in text and "not yet accepting" not in text]
    return (telling or lines or ["the server wrote an empty log"])[-1].strip()[:500]


def _gone(process: ProcessInfo) -> bool:
    # A child of this very process stays a zombie until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return process.gone


def _free_port() -> int:
    """A number nobody listens at; the copy uses it for the name of its socket alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
