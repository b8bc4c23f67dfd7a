# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long no write succeeds while something is done to a database, measured on the way that clients take."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import preload, run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import PlannedCheck, PostgresqlCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._forked_work import ForkedWork

_PAUSE = 0.05
# One round of checks, and how long writes may still fail once the work is over.
_CHECK_SECONDS = 5.0
_LAST_SECONDS = 10.0


@dataclass(frozen=True)
class WriteOutage:
    """What was measured.

    :param seconds: from the last write that succeeded before the first one that failed, to the first one that succeeded
        after the last failure; 0.0 when none failed, None when writes still fail.
    :param failed: how many tries failed.
    """

    seconds: float | None
    failed: int


def writing_checks(plan: Sequence[PlannedCheck]) -> list[PlannedCheck]:
    """Those that write."""
    return [each for each in plan if isinstance(each.check, PostgresqlCheck) and each.check.writes]


class WriteOutageMeter:
    """Tries to write, again and again, in a process of its own; `measured` ends it.

    :param tried: checks that write; each try is a new connection.
    :param seconds: after so long it ends by itself.
    """

    def __init__(self, tried: Sequence[PlannedCheck], seconds: float) -> None:
        preload(tried)
        self._tried = list(tried)
        self._asked, self._ask = os.pipe()
        self._work = ForkedWork("the measurement of the write outage", self._watch, seconds)

    def measured(self) -> WriteOutage:
        """What was seen until now; writes that fail now are waited for, bounded.

        :raises CodeblueError: the measuring process failed or took too long.
        """
        os.write(self._ask, b"!")
        return self._work.result()

    def end(self) -> None:
        """End it; nothing more is measured."""
        self._work.end()
        for descriptor in (self._asked, self._ask):
            os.close(descriptor)

    def _watch(self) -> WriteOutage:
        last_good: float | None = None
        began: float | None = None
        ended: float | None = None
        failed = 0
        asked_at: float | None = None
        while True:
            good = all(result.ok for result in run_checks(self._tried, deadline=_CHECK_SECONDS))
            now = time.monotonic()
            if good:
                if failed and ended is None:
                    ended = now
                last_good = now
            else:
                failed += 1
                began = (last_good if last_good is not None else now) if began is None else began
                ended = None
            if asked_at is None and select.select([self._asked], [], [], _PAUSE)[0]:
                asked_at = now
            if asked_at is not None:
                if good or now - asked_at > _LAST_SECONDS:
                    break
                time.sleep(_PAUSE)
        if began is None:
            return WriteOutage(0.0, 0)
        return WriteOutage(None if ended is None else round(ended - began, 3), failed)
