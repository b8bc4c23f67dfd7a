# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks AWS whether parts of services work: those that are asked for at once, together.

A service of AWS is asked about ten things as fast as about one, and takes so many questions in a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import part
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import AwsCheck

# So long a question waits for others that go with it.
_GATHER_SECONDS = 0.02
_GATHERED = 200
# Making a client takes longer than asking it. By process: connections do not cross a fork.
_accounts: dict[tuple[int, object], AwsAccount] = {}


class AwsChecker:
    """Carries such checks out in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, object], list[tuple[AwsCheck, asyncio.Future[Finding]]]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def check(self, check: AwsCheck) -> Finding:
        """The finding; it waits a moment for others."""
        loop = asyncio.get_running_loop()
        key = (check.part, check.platform.place)
        future: asyncio.Future[Finding] = loop.create_future()
        waiting = self._waiting.setdefault(key, [])
        waiting.append((check, future))
        if len(waiting) == 1:
            loop.call_later(_GATHER_SECONDS, self._ask, key)
        elif len(waiting) == _GATHERED:
            self._ask(key)
        return await future

    def _ask(self, key: tuple[str, object]) -> None:
        asked = self._waiting.pop(key, [])
        if asked:
            task = asyncio.get_running_loop().create_task(self._answer(asked))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    @staticmethod
    async def _answer(asked: Sequence[tuple[AwsCheck, asyncio.Future[Finding]]]) -> None:
        checks = [check for check, _future in asked]
        try:
            findings = await asyncio.to_thread(look_at, checks)
        except CodeblueError as error:
            findings = [Finding("api_unavailable", error.message)] * len(checks)
        except Exception as error:  # noqa: BLE001 - without its text, which could quote what was sent
            findings = [Finding("controller", f"the check itself failed: {type(error).__name__}")] * len(checks)
        for (_check, future), finding in zip(asked, findings, strict=True):
            if not future.done():
                future.set_result(finding)


def look_at(checks: Sequence[AwsCheck]) -> list[Finding]:
    """The findings of checks of one part, in one account and region.

    :raises CodeblueError: they cannot be asked.
    """
    first = checks[0]
    platforms = {str(number): check.platform for number, check in enumerate(checks)}
    # A little earlier than the check's own end, so that it can still say what it was that gave no answer.
    account = _account(first).within(first.timeout * 0.9)
    found: Mapping[str, Finding] = part(first.part).check(account, platforms)
    return [found[str(number)] for number in range(len(checks))]


def _account(check: AwsCheck) -> AwsAccount:
    key = (os.getpid(), check.platform.place)
    if key not in _accounts:
        access = AwsAccess(check.platform.profile, check.platform.endpoints)
        _accounts[key] = AwsAccount(access, check.platform.region, Budget(0), read_only=True)
    return _accounts[key]
