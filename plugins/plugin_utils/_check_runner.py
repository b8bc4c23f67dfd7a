# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carries out many checks at once in one call, and repeats those that fail until the failure is confirmed.

Three bounds hold whatever the services do: every check has a hard total deadline, a limited number of checks is
under way at once, and a whole call can be given a deadline of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
import typing as t
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import (
    MISSING,
    CheckError,
    Finding,
    HttpChecker,
    Resolver,
    slow,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    AwsCheck,
    Check,
    CheckResult,
    ExposureCheck,
    HttpCheck,
    PlannedCheck,
    PostgresqlCheck,
    SessionCheck,
    TcpCheck,
    WorkloadCheck,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_aws import AwsChecker

# Each check under way holds one socket; the usual limit of a process is 1,024 open files.
MOST_IN_FLIGHT = 200
# What a check that is over its deadline gets to let go of its socket, before it is left behind.
_GRACE = 0.1

_POSTGRESQL = "ansible_collections.codeblue.recovery.plugins.plugin_utils._check_postgresql"
_EXPOSURE = "ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure"
_WORKLOAD = "ansible_collections.codeblue.recovery.plugins.plugin_utils._check_workload"
_AWS = "ansible_collections.codeblue.recovery.plugins.plugin_utils._check_aws"

Result = t.TypeVar("Result")


@dataclass(frozen=True)
class Confirmation:
    """What repeated checks found.

    :param results: the last result of each planned check, in the order of the plan. A check that had no answer yet
        when enough was known is left out.
    :param observations: every try, oldest first; what the criteria are evaluated over.
    """

    results: tuple[CheckResult, ...]
    observations: tuple[CheckResult, ...]


def run_checks(
    plan: Sequence[PlannedCheck], in_flight: int = MOST_IN_FLIGHT, deadline: float | None = None
) -> list[CheckResult]:
    """Carry out each check once, all at once; results in the order of the plan.

    :param in_flight: how many are under way at the same time.
    :param deadline: seconds for the whole call; what was not answered by then fails as `timeout`.
    """
    preload(plan)

    async def work(session: _Session) -> list[CheckResult]:
        return await _all(session.once(planned) for planned in plan)

    return _run(work, in_flight, deadline)


def confirm(
    plan: Sequence[PlannedCheck],
    consecutive: int | None = None,
    interval: float | None = None,
    in_flight: int = MOST_IN_FLIGHT,
    deadline: float | None = None,
    enough: Callable[[Sequence[CheckResult]], bool] | None = None,
) -> Confirmation:
    """Repeat every check that fails until it failed often enough in a row, or until it is well.

    Checks go on independently of each other, so that a slow one does not keep the others waiting.

    :param consecutive: instead of each check's own number of failures.
    :param interval: instead of each check's own seconds from the start of one try to the start of the next.
    :param enough: asked after each try with all tries so far, oldest first; when it says yes the rest is not waited
        for. Usually: a criterion fires. A dead primary is confirmed in a fraction of a second, while the services
        that depend on it take seconds to say so.
    """
    preload(plan)

    async def work(session: _Session) -> Confirmation:
        tries: list[list[CheckResult]] = [[] for _planned in plan]
        known = asyncio.Event()

        def observations() -> list[CheckResult]:
            return sorted((each for series in tries for each in series), key=lambda result: result.at)

        async def follow(planned: PlannedCheck, series: list[CheckResult]) -> None:
            wanted, pace = consecutive or planned.consecutive, interval or planned.interval
            async for result in session.until_confirmed(planned, wanted, pace):
                series.append(result)
                if enough is not None and not known.is_set() and enough(observations()):
                    known.set()

        everything = asyncio.ensure_future(_all(map(follow, plan, tries)))
        waiting = asyncio.ensure_future(known.wait())
        await asyncio.wait({everything, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            everything.result()
        return Confirmation(tuple(series[-1] for series in tries if series), tuple(observations()))

    return _run(work, in_flight, deadline)


def preload(plan: Sequence[PlannedCheck]) -> None:
    """Import what the plan needs, before its deadlines begin to run; psycopg alone takes 60 to 90 ms, a client of
    Kubernetes 300.

    :raises ImportError: a package for HTTP is missing.
    """
    if MISSING is not None and any(isinstance(planned.check, HttpCheck) for planned in plan):
        raise MISSING
    if any(isinstance(planned.check, PostgresqlCheck) for planned in plan):
        # Without psycopg the PostgreSQL checks fail one by one and say so; the others have their answers.
        with contextlib.suppress(ImportError):
            importlib.import_module(_POSTGRESQL)
    if any(isinstance(planned.check, WorkloadCheck) for planned in plan):
        with contextlib.suppress(ImportError):
            importlib.import_module(_WORKLOAD)
    if any(isinstance(planned.check, AwsCheck) for planned in plan):
        with contextlib.suppress(ImportError):
            importlib.import_module(_AWS)
    if any(isinstance(planned.check, ExposureCheck) for planned in plan):
        with contextlib.suppress(ImportError):
            importlib.import_module(_EXPOSURE)


def _run(work: Callable[[_Session], Coroutine[t.Any, t.Any, Result]], in_flight: int, deadline: float | None) -> Result:
    # Not asyncio.run: it waits at the end for every task and thread, also for those that never come back.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work(_Session(loop, in_flight, deadline)))
    finally:
        _let_go(loop)


def _let_go(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_GRACE))
    loop.close()


async def _all(work: t.Iterable[Awaitable[Result]]) -> list[Result]:
    return list(await asyncio.gather(*work))


class _Session:
    """One call of the runner: its event loop, its slots and its deadline."""

    def __init__(self, loop: asyncio.AbstractEventLoop, in_flight: int, deadline: float | None) -> None:
        resolver = Resolver()
        self._loop = loop
        self._resolver = resolver
        self._http = HttpChecker(resolver)
        self._aws: AwsChecker | None = None
        self._slots = asyncio.Semaphore(max(1, in_flight))
        self._ends = None if deadline is None else loop.time() + deadline

    async def until_confirmed(
        self, planned: PlannedCheck, consecutive: int, interval: float
    ) -> AsyncIterator[CheckResult]:
        """The tries of one check: up to the first that is well, or `consecutive` failures."""
        for number in range(1, consecutive + 1):
            started = self._loop.time()
            result = await self.once(planned)
            yield result
            if result.ok or number == consecutive or self._left() <= 0:
                return
            pause = min(started + interval - self._loop.time(), self._left())
            await asyncio.sleep(max(0.0, pause))

    async def once(self, planned: PlannedCheck) -> CheckResult:
        """One try. Never raises: whatever happens is the result."""
        try:
            async with asyncio.timeout(self._left() if self._ends is not None else None):
                await self._slots.acquire()
        except TimeoutError:
            return _result(planned, time.time(), 0.0, Finding("timeout", "not asked, the time for all checks was over"))
        try:
            at, started = time.time(), self._loop.time()
            finding = await self._within_deadline(planned.check)
            seconds = self._loop.time() - started
            if finding.error_class is None:
                finding = slow(planned.check, seconds) or finding
            return _result(planned, at, seconds, finding)
        finally:
            self._slots.release()

    def _left(self) -> float:
        return float("inf") if self._ends is None else self._ends - self._loop.time()

    async def _within_deadline(self, check: Check) -> Finding:
        limit = min(check.timeout, max(0.0, self._left()))
        task = self._loop.create_task(self._carry_out(check))
        done, _pending = await asyncio.wait({task}, timeout=limit)
        if not done:
            task.cancel()
            # Not awaited for longer: a task that cannot let go is left behind, the deadline holds.
            await asyncio.wait({task}, timeout=_GRACE)
            return Finding("timeout", f"no complete answer within {limit:.3g} s")
        return task.result()

    async def _carry_out(self, check: Check) -> Finding:
        try:
            if isinstance(check, SessionCheck):
                return await self._http.check_session(check)
            if isinstance(check, HttpCheck):
                return await self._http.check_http(check)
            if isinstance(check, TcpCheck):
                return await self._http.check_tcp(check)
            if isinstance(check, PostgresqlCheck):
                return await self._postgresql(check)
            if isinstance(check, WorkloadCheck):
                return await self._workload(check)
            if isinstance(check, AwsCheck):
                return await self._on_aws(check)
            if isinstance(check, ExposureCheck):
                return await self._exposure(check)
        except CheckError as error:
            return error.finding
        except BadInput as error:
            return Finding("secret_unreadable", str(error))
        except ImportError as error:
            return Finding("controller", f"a package is missing on the controller: {error.name or error}")
        except Exception as error:  # noqa: BLE001
            # One check that cannot be carried out must not take the other 999 answers away. It fails by name,
            # and without the error's text, which could quote what was sent.
            return Finding("controller", f"the check itself failed: {type(error).__name__}")
        return Finding("controller", f"no check of type {check.type} is known")

    async def _postgresql(self, check: PostgresqlCheck) -> Finding:
        # Imported only where it is needed, see `preload`.
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_postgresql import PostgresqlChecker

        return await PostgresqlChecker(self._resolver).check(check)

    async def _workload(self, check: WorkloadCheck) -> Finding:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_workload import look_at

        # The official client knows no asyncio; its calls end by the check's own deadline.
        return await asyncio.to_thread(look_at, check)

    async def _on_aws(self, check: AwsCheck) -> Finding:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_aws import AwsChecker

        if self._aws is None:
            self._aws = AwsChecker()
        return await self._aws.check(check)

    async def _exposure(self, check: ExposureCheck) -> Finding:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure import look_at

        return await asyncio.to_thread(look_at, check)


def _result(planned: PlannedCheck, at: float, seconds: float, finding: Finding) -> CheckResult:
    return CheckResult(
        target=planned.target,
        id=planned.check.id,
        level=planned.level,
        type=planned.check.type,
        ok=finding.error_class is None,
        seconds=round(seconds, 6),
        error_class=finding.error_class,
        detail=finding.detail,
        at=at,
        topic=planned.check.topic,
    )
