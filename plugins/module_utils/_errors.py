# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one family of errors that reaches a person: one line, a next step, an exit code."""

from __future__ import annotations

import typing as t


class CodeblueError(Exception):
    """What went wrong, in one line.

    :param message: names the file, key or host that it is about.
    :param hint: the next step for the person who reads it.
    :param exit_code: the row of the exit table (docs/architecture.md) that it leads to.
    """

    exit_code = 1

    def __init__(self, message: str, hint: t.Optional[str] = None, exit_code: t.Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return "%s (%s)" % (self.message, self.hint) if self.hint else self.message


class BadInput(CodeblueError):
    """Usage, inventory or card is wrong; nothing was touched."""

    exit_code = 2


class Refused(CodeblueError):
    """A gate, an approval, a freeze, a lease or a missing fence stands in the way."""

    exit_code = 3


class NotLeftSafe(CodeblueError):
    """It failed and a person is needed now."""

    exit_code = 5
