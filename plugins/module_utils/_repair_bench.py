# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a damaged database and its clean copy meet: psql on the one side, fed by psql on the other.

Rows go from server to server through a pipe and never through this process, so memory does not grow with them. What
has to be written down for it, scripts and dumps, lies in the directory of the copy, which only the server's own user
can enter and which is removed with the copy.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import account_of
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_forward import ensure_running
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_server import read_place
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command

WORK_NAME = "work"

# What stands in psql's own commands, where there is no quoting that all versions agree on.
_PLAIN_PATH = re.compile(r"\A/[A-Za-z0-9_./+@-]+\Z")
# The server's error without what follows it: DETAIL and CONTEXT repeat rows.
_SQL_ERROR = re.compile(r"(?:ERROR|FATAL):\s+([0-9A-Z]{5})\s*(?::|\n|$)")


class ScriptFailed(CodeblueError):
    """A script was refused; its transaction was rolled back.

    :param sqlstate: of the server, or None when psql itself or the other side failed.
    """

    def __init__(self, message: str, sqlstate: t.Optional[str], hint: t.Optional[str] = None) -> None:
        super().__init__(message, hint)
        self.sqlstate = sqlstate


class Bench:
    """The two servers and the directory in between.

    :param damaged: the database as it is; written to only by `run_damaged`.
    :param clean: the promoted copy.
    :param directory: of the copy.
    """

    def __init__(self, damaged: Login, clean: Login, directory: str, deadline: Deadline) -> None:
        self.damaged = damaged
        self.clean = clean
        self.deadline = deadline
        self.work = os.path.join(directory, WORK_NAME)
        self._owner = account_of(clean.os_user)
        if not _PLAIN_PATH.match(self.work):
            raise BadInput("directory: %r holds blanks or quotes" % directory, "choose a plain path for the copy")
        if not os.path.isdir(self.work):
            os.mkdir(self.work, 0o700)
            os.chown(self.work, *self._owner)
        for name, login in (("damaged", damaged), ("clean", clean)):
            self._write(name + ".sh", _wrapper(login), 0o700)

    def path(self, name: str) -> str:
        """A file in the working directory."""
        return os.path.join(self.work, name)

    def from_damaged(self, name: str, query: str) -> str:
        """For `\\copy … from`: the rows of a query on the damaged side."""
        return self._program("damaged", name, query)

    def from_clean(self, name: str, query: str) -> str:
        """For `\\copy … from`: the rows of a query on the clean side."""
        return self._program("clean", name, query)

    def run_clean(self, name: str, script: str) -> None:
        """Run a script in the copy.

        :raises ScriptFailed: it was refused.
        """
        self._run(self.clean, name, script, ())

    def run_damaged(self, name: str, script: str, pass_fds: t.Sequence[int] = ()) -> None:
        """Run a script in the database itself; `name` stays behind as a file.

        :param pass_fds: kept open by psql: the lock of the step.
        :raises ScriptFailed: it was refused.
        """
        self._run(self.damaged, name, script, pass_fds)

    def export_clean(self, name: str, query: str) -> str:
        """The rows of a query with one column of text, one line each, in a file that only the server's user reads."""
        target = self.path(name)
        script = self._write(name + ".sql", "%s;\n" % query)
        answer = self._psql(self.clean, ["-A", "-t", "-v", "FETCH_COUNT=2000", "-o", target, "-f", script], ())
        self._check(answer, "the copy")
        os.chmod(target, 0o600)
        return target

    def dump_clean(self, name: str, relations: t.Sequence[str]) -> str:
        """Tables and views with all that belongs to them, by pg_dump: rows, indexes, triggers, owners, grants.

        :raises CodeblueError: pg_dump failed.
        """
        target = self.path(name)
        arguments = [self.clean.tool("pg_dump"), "--no-password", "--file=" + target]
        arguments += ["--table=" + relation for relation in relations]
        answer = run_command(
            arguments, self.deadline, user=self.clean.os_user, environment=self.clean.environment(), keep="tail"
        )
        if not answer.ok:
            raise CodeblueError("the tables cannot be dumped from the copy: %s" % answer.complaint())
        return target

    def check_space(self, needed: int) -> None:
        """:raises CodeblueError: the disk of the copy has less than that left."""
        free = shutil.disk_usage(self.work).free
        if free < needed:
            raise CodeblueError(
                "%s has %d MB free, %d MB are needed" % (self.work, free >> 20, needed >> 20),
                "free space there; the database was not touched",
            )

    def _program(self, side: str, name: str, query: str) -> str:
        script = self._write(name + ".sql", "COPY (%s) TO STDOUT;\n" % query)
        return "program '%s %s'" % (self.path(side + ".sh"), script)

    def _run(self, login: Login, name: str, script: str, pass_fds: t.Sequence[int]) -> None:
        path = self._write(name + ".sql", script)
        where = "the copy" if login is self.clean else "the database"
        self._check(self._psql(login, ["-f", path], pass_fds), where)

    def _psql(self, login: Login, arguments: t.Sequence[str], pass_fds: t.Sequence[int]) -> CommandResult:
        fixed = [login.tool("psql"), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate"]
        environment = {**login.environment(), "PGOPTIONS": _OPTIONS % int(self.deadline.remaining() * 1000 + 1)}
        return run_command(
            [*fixed, *arguments], self.deadline, user=login.os_user, environment=environment, pass_fds=pass_fds
        )

    def _check(self, answer: CommandResult, where: str) -> None:
        if answer.ok:
            return
        match = _SQL_ERROR.search(answer.stderr)
        if match is not None:
            raise ScriptFailed("%s refused a statement: SQLSTATE %s" % (where, match.group(1)), match.group(1))
        if answer.returncode is None:
            raise ScriptFailed("%s did not finish within %.0f s" % (where, answer.seconds), None, "give it more time")
        raise ScriptFailed("rows did not get across to %s" % where, None, "see whether both servers run")

    def _write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.path(name)
        write_file(path, text.encode(), mode, self._owner)
        return path


_OPTIONS = (
    "-c statement_timeout=%d -c lock_timeout=15s -c default_transaction_read_only=off"
    " -c standard_conforming_strings=on -c client_encoding=UTF8 -c DateStyle=ISO -c extra_float_digits=1"
)


def _wrapper(login: Login) -> str:
    """A script that runs psql at one of the sides, whatever the environment of its caller is."""
    lines = ["#!/bin/sh"]
    lines += ["export %s=%s" % (name, shlex.quote(value)) for name, value in login.environment().items()]
    lines.append('exec %s -X -q -w -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate -f "$1"' % shlex.quote(login.tool("psql")))
    return "\n".join(lines) + "\n"


def open_bench(damaged: Login, directory: str, deadline: Deadline) -> Bench:
    """The bench of a clean copy that was made before; its server is started again where it went down since.

    :raises CodeblueError: there is no copy, or it does not come up.
    """
    place = read_place(directory)
    if place is None:
        raise CodeblueError("there is no clean copy in %s" % directory, "find the clean point again")
    ensure_running(place, damaged, deadline)
    return Bench(damaged, place.login(damaged), directory, deadline)
