# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Database roles whose password can be replaced, and what the files of their consumers hold."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

_ROLE, _PASSWORD = "{role}", "{password}"


@dataclass(frozen=True)
class Credential:
    """A database role whose password can be replaced.

    :param content: what a consumer's file holds, with `{password}` and, where there is an alternate, `{role}`.
    :param alternate: a second login with the same rights; a planned rotation goes from one to the other.
    """

    role: str
    consumers: tuple[Consumer, ...]
    content: str = _PASSWORD
    alternate: str | None = None

    @property
    def logins(self) -> tuple[str, ...]:
        """The role, and its alternate where it has one."""
        return (self.role,) if self.alternate is None else (self.role, self.alternate)

    @property
    def pattern(self) -> str:
        """A regular expression for what a consumer's file holds, with the groups `role` and `password`."""
        pattern = re.escape(self.content.strip())
        pattern = pattern.replace(re.escape(_ROLE), r"(?P<role>[^\s:]+)")
        return pattern.replace(re.escape(_PASSWORD), r"(?P<password>[^\r\n]+)")

    def written(self, login: str, password: str) -> str:
        """What a consumer's file is to hold."""
        return self.content.replace(_ROLE, login).replace(_PASSWORD, password)

    def read(self, text: str) -> tuple[str, str] | None:
        """Login and password out of a consumer's file; None when it holds something else."""
        found = re.fullmatch(self.pattern, text.strip())
        if found is None:
            return None
        return found.groupdict().get("role") or self.role, found["password"]


def read_credential(values: TypedMapping, role: str, read_consumer: Callable[[TypedMapping], Consumer]) -> Credential:
    """Read one of `codeblue_host.credentials`; what is wrong goes to the problems of the mapping."""
    consumers = tuple(read_consumer(item) for item in values.listed("consumers"))
    alternate = values.optional_text("alternate")
    content = values.text("content", default=_PASSWORD)
    if content.count(_PASSWORD) != 1:
        values.problem("content", "needs {password} once, where the password stands in the consumers' files")
    if alternate is not None and content.count(_ROLE) != 1:
        values.problem("content", "needs {role} once, because the login alternates")
    if alternate == role:
        values.problem("alternate", "is the role itself, name another login with the same rights")
    values.finish()
    return Credential(role, consumers, content, alternate)
