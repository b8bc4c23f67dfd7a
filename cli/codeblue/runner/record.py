"""What the state store says about runs. It is imported late: SQLAlchemy takes a fifth of a second."""

from __future__ import annotations

import statistics
import threading
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

    from codeblue.runner.forecast import Experience

# Of how many runs the stages are looked at.
_RUNS_REMEMBERED = 10
# How many earlier runs a forecast looks at.
_RUNS_LOOKED_AT = 20


def open_record() -> ResilientStore:
    """The state store, with the spools of runs that had to go on without it."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool

    return open_store_or_spool()


def find_run(run_id: str) -> Run:
    """A run by its id, or by the beginning of it.

    :raises BadInput: there is none, or more than one.
    """
    store = open_record()
    wanted = run_id.upper()
    found = store.run(wanted)
    if found is not None:
        return found
    matches = [run for run in store.runs(limit=500) if run.run_id.startswith(wanted) or run.run_id.endswith(wanted)]
    if len(matches) == 1 and len(wanted) >= 4:
        return matches[0]
    if matches:
        raise BadInput(f"{run_id} stands for {len(matches)} runs", "give more of it")
    raise BadInput(f"there is no run {run_id}", "codeblue doctor names the runs that are open")


def expected_seconds(store: ResilientStore, runbook: str) -> tuple[float | None, int]:
    """The median duration of the latest runs of a runbook that recovered, and how many those were."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

    durations = [
        (parse_time(run.closed_at) - parse_time(run.opened_at)).total_seconds()
        for run in store.runs(limit=_RUNS_LOOKED_AT, status="closed")
        if run.runbook == runbook and run.closed_at and run.outcome in ("recovered", "completed", "degraded")
    ]
    return (statistics.median(durations), len(durations)) if durations else (None, 0)


def experience(store: ResilientStore, runbook: str) -> Experience:
    """How long the stages of the latest runs of a runbook took that ended well."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

    from codeblue.runner.forecast import EarlierRun, Experience

    found = []
    for run in store.runs(limit=_RUNS_LOOKED_AT, status="closed"):
        if run.runbook != runbook or not run.closed_at or run.outcome not in ("recovered", "completed", "degraded"):
            continue
        opened = parse_time(run.opened_at)
        ends: dict[str, float] = {}
        for step in store.steps(run.run_id):
            if step.finished_at:
                ends[step.stage] = max(
                    ends.get(step.stage, 0.0), (parse_time(step.finished_at) - opened).total_seconds()
                )
        found.append(EarlierRun((parse_time(run.closed_at) - opened).total_seconds(), ends))
        if len(found) == _RUNS_REMEMBERED:
            break
    return Experience.of(found)


def smallest_rto(run: Run) -> float | None:
    """The tightest recovery time objective of a run's targets in seconds; None when none is known."""
    found = [
        float(objective["rto_seconds"])
        for objective in run.objectives.values()
        if isinstance(objective, dict) and isinstance(objective.get("rto_seconds"), (int, float))
    ]
    return min(found, default=None)


class Background:
    """Work that would slow the start down, done while Ansible is busy.

    :param work: its result is kept; a `CodeblueError` of it as well.
    """

    def __init__(self, work: t.Callable[[], None]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._timer: threading.Timer | None = None
        self._starting = threading.Lock()
        self.error: CodeblueError | None = None

    def start(self) -> None:
        """Start it, once. Not before ansible-playbook was forked: a fork must not copy a held import lock."""
        if self._timer is not None:
            self._timer.cancel()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="codeblue-background", daemon=True)
                self._thread.start()

    def start_within(self, seconds: float) -> None:
        """Start it after so long, unless `start` comes first."""
        if self._timer is None and self._thread is None:
            self._timer = threading.Timer(seconds, self.start)
            self._timer.daemon = True
            self._timer.start()

    def wait(self, seconds: float) -> None:
        """Wait for the end of it."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._work()
        except CodeblueError as error:
            self.error = error
