"""The state store, its key, the spool, the outbox, the anchors, and runs that were left open."""

from __future__ import annotations

import os
import shutil
import stat
import typing as t
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.doctor.finding import Finding, failed, ok, warning
from codeblue.output.style import local_time
from codeblue.runner.processes import processes_of_run
from codeblue.runner.workspace import workspace_base

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run, Store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

# Below this a run may not be able to write its record; a run takes far less than a megabyte.
_LEAST_FREE_BYTES = 100 * 1024 * 1024
# A message that waits longer than this has been tried several times.
_OLD_MESSAGE_SECONDS = 600
_MOST_LISTED = 20


def check_store(store: ResilientStore) -> Iterator[Finding]:
    """Can be read and written, and has room."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_schema import SCHEMA_VERSION

    if store.main is None:
        error = store.failure
        yield failed("state store", error.message if error else "cannot be opened", error.hint if error else None)
        return
    try:
        # An empty transaction takes the write lock, which a read-only or full store refuses.
        with store.main.transaction():
            runs = len(store.main.runs(limit=1))
    except CodeblueError as error:
        yield failed("state store", error.message, error.hint)
        return
    yield ok("state store", f"{store.main.database.place}, schema {SCHEMA_VERSION}{'' if runs else ', no runs yet'}")
    yield from _check_room(store.main)


def check_key() -> Iterator[Finding]:
    """The signing key is there and readable by this account only."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ledger_key_path

    path = ledger_key_path()
    if not path.exists():
        yield ok("ledger key", f"{path} will be made by the first run")
        return
    try:
        key = LedgerKey.at(path)
    except CodeblueError as error:
        yield failed("ledger key", error.message, error.hint)
        return
    yield ok("ledger key", f"{path}, id {key.key_id[:16]}")


def check_spool() -> Iterator[Finding]:
    """Runs that went on without the store and were not taken in yet."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import spool_dir, spool_paths

    try:
        left = spool_paths()
    except CodeblueError as error:
        yield failed("spool", error.message, error.hint)
        return
    if left:
        yield warning("spool", f"{len(left)} runs in {spool_dir()} are not in the store yet", "codeblue audit list")
    else:
        yield ok("spool", "empty")


def check_outbox(store: ResilientStore) -> Iterator[Finding]:
    """Messages that nobody has got yet."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import messages
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

    if store.main is None:
        return
    waiting = messages(store.main, "pending", limit=1000)
    now = datetime.now(UTC)
    old = [
        message for message in waiting if (now - parse_time(message.created_at)).total_seconds() > _OLD_MESSAGE_SECONDS
    ]
    if not old:
        yield ok("outbox", f"{len(waiting)} messages wait" if waiting else "empty")
        return
    oldest = min(old, key=lambda message: message.created_at)
    text = f"{len(waiting)} messages wait, the oldest since {local_time(oldest.created_at)}"
    if oldest.last_error:
        text += f": {oldest.last_error[:200]}"
    yield warning("outbox", text, "codeblue outbox deliver")


def check_anchors() -> Iterator[Finding]:
    """Places for copies of the record's heads."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_destinations import configured_anchors

    try:
        anchors = configured_anchors()
    except CodeblueError as error:
        yield failed("anchors", error.message, error.hint)
        return
    if not anchors:
        yield warning(
            "anchors",
            "none: that a record is complete cannot be proven",
            "set CODEBLUE_ANCHORS, such as git:/path/to/repository",
        )
        return
    for anchor in anchors:
        problem = _anchor_problem(anchor.scheme, anchor.place)
        place = f"{anchor.scheme}:{anchor.place}"
        yield failed("anchors", f"{place}: {problem}") if problem else ok("anchors", place)


def check_open_runs(store: ResilientStore, close: bool) -> Iterator[Finding]:
    """Runs that were left open.

    :param close: close those whose processes are all dead, as interrupted.
    """
    runs = store.runs(limit=1000, status="open")
    if not runs:
        yield ok("open runs", "none")
    for run in runs[:_MOST_LISTED]:
        yield _open_run(store, run, close)
    if len(runs) > _MOST_LISTED:
        yield warning("open runs", f"and {len(runs) - _MOST_LISTED} more", "codeblue audit list --status open")


def check_drills(store: ResilientStore, given: object) -> Iterator[Finding]:
    """Drills and exercises that are overdue.

    :param given: the site's `codeblue_drill_schedule`; None when it has none, or when no inventory was given.
    """
    from codeblue.drill.history_command import look_at_schedule
    from codeblue.drill.schedule import WORDS

    if store.main is None:
        return
    try:
        dues = look_at_schedule(store.main, given)
    except BadInput as error:
        yield failed("drills", error.message, error.hint)
        return
    overdue = [each for each in dues if each.overdue is not None]
    for each in overdue:
        last = f"passed last {local_time(each.last)}" if each.last else "never passed"
        hint = "codeblue drill --all" if each.kind in ("component", "full") else f"codeblue drill record {each.kind}"
        yield warning("drills", f"{each.kind} ({WORDS[each.kind]}) is overdue: {last}", hint)
    if not overdue:
        known = any(each.known for each in dues)
        yield ok("drills", "none is overdue" if known else "none on record yet: codeblue drill --all")


def check_leftovers() -> Iterator[Finding]:
    """Private directories of commands that were killed; swept when this is asked."""
    from codeblue.runner.workspace import sweep

    base = workspace_base()
    removed = sweep(base)
    in_memory = base.parts[:2] in (("/", "dev"), ("/", "run"))
    place = str(base) if in_memory else f"{base} (not in memory)"
    yield ok("private directories", f"{place}{f', removed {len(removed)} left over' if removed else ''}")


def _open_run(store: ResilientStore, run: Run, close: bool) -> Finding:
    name = f"{run.run_id} ({run.runbook} on {', '.join(run.targets)}, since {local_time(run.opened_at)})"
    holders = {lease.holder for lease in store.leases_of_run(run.run_id)}
    running = [holder for holder in holders if holder.is_alive() or holder.descendants()]
    marked = processes_of_run(run.run_id)
    if running or marked:
        pid = running[0].pid if running else marked[0].pid
        return ok("open runs", f"{name} is going on in process {pid}")
    unseen = [holder for holder in holders if holder.is_alive() is None]
    if unseen:
        return warning(
            "open runs",
            f"{name} was held by process {unseen[0].pid} on {unseen[0].host}, which cannot be seen from here",
            f"codeblue resume {run.run_id}, or codeblue doctor --close on {unseen[0].host}",
        )
    if not close:
        return warning(
            "open runs", f"{name} was interrupted", f"codeblue resume {run.run_id}, or codeblue doctor --close"
        )
    store.close_run(run.run_id, "interrupted", {"reason": "closed by doctor: its processes are dead"})
    return ok("open runs", f"{name} was closed as interrupted: its processes are dead")


def _check_room(store: Store) -> Iterator[Finding]:
    if store.database.dialect != "sqlite" or not store.database.url.database:
        return
    free = shutil.disk_usage(Path(store.database.url.database).parent).free
    if free < _LEAST_FREE_BYTES:
        yield warning("disk", f"{free // (1024 * 1024)} MB are free where the state is kept", "make room")


def _anchor_problem(scheme: str, place: str) -> str | None:
    if scheme == "file":
        path = Path(place)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            return "cannot be written"
    if scheme == "syslog":
        path = Path(place or "/dev/log")
        if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
            return "there is no such socket"
    if scheme == "git" and place.startswith("/") and not Path(place).is_dir():
        return "there is no such directory"
    return None
