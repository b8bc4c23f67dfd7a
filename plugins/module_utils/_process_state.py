# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings units of process managers into the state that is wanted, several at once."""

from __future__ import annotations

import http.client
import typing as t
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_probe import MarkedConnection
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import PhiDetector
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import port_accepts
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    RESTARTING,
    RUNNING,
    STOPPED,
    ProcessUnit,
    UnitStatus,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._scrub import scrub_text

State = t.Dict[str, t.Any]

_MOST_AT_ONCE = 16
_LOG_BYTES = 4096
_LOG_LINES = 20


@dataclass(frozen=True)
class WaitFor:
    """What shows that a started unit works: a port that takes connections, or a URL that answers below 400."""

    address: t.Optional[str] = None
    port: t.Optional[int] = None
    url: t.Optional[str] = None

    def __post_init__(self) -> None:
        if self.url is not None:
            parts = urllib.parse.urlsplit(self.url)
            if parts.scheme != "http" or not parts.hostname:
                raise BadInput(
                    "wait_for.url: %r is no http:// URL" % self.url, "on the machine itself TLS is not needed"
                )
        elif self.port is None:
            raise BadInput("wait_for names neither a port nor a url")

    def holds(self, deadline: Deadline) -> bool:
        """Once."""
        if self.url is None:
            return port_accepts(self.address or "127.0.0.1", self.port or 0, deadline)
        parts = urllib.parse.urlsplit(self.url)
        connection = MarkedConnection(parts.hostname or "", parts.port or 80, timeout=max(0.05, deadline.remaining()))
        try:
            connection.request("GET", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")))
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class UnitWish:
    """One unit and the state that it should be in: started, stopped or restarted.

    :param kept: stopped, and kept from being started; see `_process_hold`.
    :param held: it is kept from being started right now.
    """

    unit: ProcessUnit
    state: str
    wait_for: t.Optional[WaitFor] = None
    kept: bool = False
    held: bool = False

    def holds(self, status: UnitStatus) -> bool:
        """Nothing is to do. A restart is always to do."""
        if self.kept != self.held and (self.kept or self.state != "stopped"):
            return False
        if self.state == "started":
            return status.state == RUNNING
        return self.state == "stopped" and status.state in (STOPPED, FAILED)


def look_at_units(wishes: t.Sequence[UnitWish], deadline: Deadline) -> t.List[UnitStatus]:
    """How all units are now, asked at once.

    :raises CodeblueError: a manager does not answer or does not know a unit.
    """
    with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as pool:
        return list(pool.map(lambda wish: wish.unit.status(deadline), wishes))


def bring_about(wishes: t.Sequence[UnitWish], before: t.Sequence[UnitStatus], seconds: float) -> t.List[State]:
    """Change all units at once and wait for each.

    :param seconds: for each; they run side by side.
    :returns: for each unit its status, whether it is as wanted, and the end of its log when it is not.
    """

    def one(wish: UnitWish, earlier: UnitStatus) -> State:
        deadline = Deadline(seconds)
        try:
            status, reason = _bring_one(wish, earlier, deadline)
        except CodeblueError as error:
            return {"ok": False, "reason": error.message, "status": None, "crash_looping": False, "log": []}
        looping = status.state == RESTARTING or (wish.state != "stopped" and status.state == FAILED)
        return {
            "ok": reason is None,
            "reason": reason,
            "status": status.as_dict(),
            "crash_looping": looping,
            "log": [] if reason is None else _log(wish.unit),
        }

    with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as pool:
        return list(pool.map(one, wishes, before))


def _bring_one(wish: UnitWish, earlier: UnitStatus, deadline: Deadline) -> t.Tuple[UnitStatus, t.Optional[str]]:
    unit = wish.unit
    if wish.holds(earlier):
        return earlier, None if wish.state == "stopped" else _wait_for_service(wish, deadline)
    if wish.state == "started" and earlier.state == RUNNING:
        # Only its hold was to be released.
        return earlier, _wait_for_service(wish, deadline)
    if wish.state in ("stopped", "restarted") and earlier.state not in (STOPPED, FAILED):
        unit.request_stop(deadline)
        status = unit.wait_for((STOPPED, FAILED), deadline)
        if status.state not in (STOPPED, FAILED):
            return status, "it did not stop in time: %s" % status.manager_state
    if wish.state == "stopped":
        return unit.status(deadline.within(5.0)), None
    unit.request_start(deadline)
    # A unit that ends at once is caught here; a manager that keeps trying shows RESTARTING in between.
    status = unit.wait_for((RUNNING, FAILED, STOPPED, RESTARTING), deadline)
    if status.state == RESTARTING:
        status = unit.wait_for((RUNNING, FAILED), deadline)
    if status.state != RUNNING:
        return status, "it does not stay up: %s %s" % (status.manager_state, status.description)
    reason = _wait_for_service(wish, deadline)
    after = unit.status(deadline.within(5.0))
    if after.state != RUNNING:
        return after, "it went down again: %s %s" % (after.manager_state, after.description)
    if after.pid != status.pid:
        return after, "it was restarted by its manager meanwhile"
    return after, reason


def _wait_for_service(wish: UnitWish, deadline: Deadline) -> t.Optional[str]:
    wanted = wish.wait_for
    if wanted is None or deadline.wait_until(lambda: wanted.holds(deadline.within(1.0)), 0.03):
        return None
    return "it runs, and %s does not answer" % (wanted.url or "port %s" % wanted.port)


def _log(unit: ProcessUnit) -> t.List[str]:
    try:
        lines = unit.log_tail(_LOG_BYTES, Deadline(2.0)).splitlines()
    except CodeblueError as error:
        return ["its log cannot be had: %s" % error.message]
    # The end of a log is shown to people and kept in records: neither secrets nor patients.
    detector = PhiDetector()
    return [detector.mask(scrub_text(line[:300])) for line in lines if line.strip()][-_LOG_LINES:]
