# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a tool of the machine with a deadline, bounded output and, as root, the rights of its own user."""

from __future__ import annotations

import os
import pwd
import selectors
import signal
import subprocess
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

DEFAULT_OUTPUT_LIMIT = 256 * 1024

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A daemon that the tool left behind may hold the pipes open; what has arrived by then is all there is.
_DRAIN_SECONDS = 0.2


@dataclass(frozen=True)
class CommandResult:
    """What a tool did.

    :param returncode: None when the deadline ended it; negative for a signal.
    :param truncated: output went past the limit and was cut.
    """

    tool: str
    returncode: t.Optional[int]
    stdout: str
    stderr: str
    truncated: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """The tool ended by itself with status 0."""
        return self.returncode == 0

    def complaint(self) -> str:
        """One line that says why it failed."""
        if self.returncode is None:
            return "%s gave no answer within %.1f s" % (self.tool, self.seconds)
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return "%s: %s" % (self.tool, lines[-1][:500] if lines else "ended with status %s" % self.returncode)


def demotion(user: t.Optional[str]) -> t.Optional[t.Callable[[], None]]:
    """What a child calls before exec to become `user`; None when it is to stay as it is.

    Everything is looked up before the fork: the child makes system calls only.

    :raises BadInput: there is no such user.
    """
    if user is None or os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise BadInput("os_user: there is no user %r on this machine" % user) from None
    if account.pw_uid == 0:
        return None
    groups = os.getgrouplist(user, account.pw_gid)

    def become() -> None:
        os.setgroups(groups)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    return become


def tool_environment(extra: t.Optional[t.Mapping[str, str]] = None) -> t.Dict[str, str]:
    """A small environment: nothing of the caller's is inherited, messages come in English."""
    environment = {"PATH": _PATH, "LC_ALL": "C", "HOME": "/nonexistent", "TZ": "UTC"}
    environment.update(extra or {})
    return environment


def start_process(
    argv: t.Sequence[str],
    user: t.Optional[str] = None,
    environment: t.Optional[t.Mapping[str, str]] = None,
    with_stdin: bool = False,
    pass_fds: t.Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a tool in a session of its own, with its output on pipes.

    :param pass_fds: descriptors that it keeps open, such as the lock of the step: should this process be
        killed, the target stays locked for as long as the tool still works on it.
    :raises CodeblueError: the tool is missing or cannot be executed.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=tool_environment(environment),
            cwd="/",
            start_new_session=True,
            preexec_fn=demotion(user),
            pass_fds=tuple(pass_fds),
        )
    except OSError as error:
        raise CodeblueError("%s cannot be run: %s" % (argv[0], error.strerror), "check bin_dir and os_user") from error


def end_process_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process with everything it started, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()


def run_command(
    argv: t.Sequence[str],
    deadline: Deadline,
    user: t.Optional[str] = None,
    environment: t.Optional[t.Mapping[str, str]] = None,
    stdin: t.Optional[str] = None,
    output_limit: int = DEFAULT_OUTPUT_LIMIT,
    keep: str = "head",
    pass_fds: t.Sequence[int] = (),
) -> CommandResult:
    """Run a tool to its end, or to the deadline, where its whole process group is killed.

    :param stdin: text for its standard input; secrets belong here, never into argv.
    :param output_limit: bytes kept of each output.
    :param keep: which end of an output that is too long is kept, `head` or `tail`.
    :raises CodeblueError: the tool cannot be started.
    """
    tool = os.path.basename(argv[0])
    started = deadline.elapsed()
    process = start_process(argv, user, environment, with_stdin=stdin is not None, pass_fds=pass_fds)
    with process:
        pipes = _Pipes(process, stdin, output_limit, keep)
        finished = pipes.drain(deadline)
        if not finished:
            end_process_group(process)
        returncode = process.poll() if finished else None
        return CommandResult(
            tool=tool,
            returncode=returncode,
            stdout=pipes.text("stdout"),
            stderr=pipes.text("stderr"),
            truncated=pipes.truncated,
            seconds=deadline.elapsed() - started,
        )


class _Pipes:
    """Feeds and reads one process without ever blocking on it."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: t.Optional[str], limit: int, keep: str) -> None:
        self._process = process
        self._limit = limit
        self._keep = keep
        self._input = (stdin or "").encode()
        self._kept: t.Dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.truncated = False

    def text(self, name: str) -> str:
        return self._kept[name].decode(errors="replace")

    def drain(self, deadline: Deadline) -> bool:
        """True when the process ended before the deadline."""
        with selectors.DefaultSelector() as selector:
            for name in ("stdout", "stderr"):
                stream = getattr(self._process, name)
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, name)
            if self._process.stdin is not None:
                os.set_blocking(self._process.stdin.fileno(), False)
                selector.register(self._process.stdin, selectors.EVENT_WRITE, "stdin")
            ended: t.Optional[Deadline] = None
            while selector.get_map():
                for key, _events in selector.select(min(0.05, deadline.remaining())):
                    if key.data == "stdin":
                        self._feed(selector)
                    elif not self._take(key.data, key.fd):
                        selector.unregister(key.fileobj)
                if ended is None and self._process.poll() is not None:
                    ended = Deadline(_DRAIN_SECONDS)
                if ended is not None and ended.expired:
                    break
                if ended is None and deadline.expired:
                    return False
            try:
                self._process.wait(timeout=max(0.01, deadline.remaining()))
            except subprocess.TimeoutExpired:
                return False
        return True

    def _feed(self, selector: selectors.BaseSelector) -> None:
        stream = self._process.stdin
        if stream is None:
            return
        try:
            self._input = self._input[os.write(stream.fileno(), self._input) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = b""  # it ended without reading; its status tells why
        if not self._input:
            selector.unregister(stream)
            stream.close()

    def _take(self, name: str, descriptor: int) -> bool:
        data = os.read(descriptor, 65536)
        kept = self._kept[name]
        kept += data
        if len(kept) > self._limit:
            self.truncated = True
            if self._keep == "tail":
                del kept[: len(kept) - self._limit]
            else:
                del kept[self._limit :]
        return bool(data)
