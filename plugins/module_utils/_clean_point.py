# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds the last moment at which the data were whole, and leaves a copy of the database as it was then.

The copy is restored from a base backup and goes forward through the archived log; at a few points the integrity
rules are asked. Only commits that can have changed the damaged tables are looked at.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._clean_point_search import (
    CLEAN,
    DAMAGED,
    UNKNOWN,
    Point,
    Search,
    points_around,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, NotLeftSafe
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import (
    LOCKED,
    Finding,
    Rule,
    check_rules,
    qualified,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import format_lsn, parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, literal
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    Beside,
    RestoreRequest,
    restore_beside,
    stop_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_forward import move_forward
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import BackupRecord, list_backups
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_commits import (
    Commits,
    Stretch,
    committed_at,
    list_commits,
    stretches,
    transactions_at,
)

DEFAULT_MOST_RESTORES = 12
_MOST_PROBES_LISTED = 40
# In a paused copy only replay itself holds locks, and it does not let go of them.
_LOCK_SECONDS = 0.1
# A copy is thrown away: nothing of it has to survive a crash of the machine.
COPY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True)
class Assignment:
    """What to search, and where.

    :param request: of the copies: login, destination, directory, archive. Its target and backup are not used.
    :param rules: that are to hold; those that fail at present.
    :param timeline: that the database writes now.
    :param until_lsn: the end of what was written when writes were stopped; all before it is archived.
    :param exclude: backups that were taken of the damaged state.
    :param in_log: False when the damage is known to be on disk only: then the end of the log is taken.
    """

    request: RestoreRequest
    rules: t.Tuple[Rule, ...]
    timeline: int
    until_lsn: int
    exclude: t.FrozenSet[str] = frozenset()
    in_log: bool = True
    most_restores: int = DEFAULT_MOST_RESTORES


@dataclass
class Effort:
    """What the search took.

    :param starts: of servers, restores included.
    """

    restores: int = 0
    starts: int = 0
    commits: int = 0
    candidates: int = 0
    probes: t.List[t.Dict[str, t.Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CleanPoint:
    """Where the data were clean for the last time.

    :param culprit_xids: the transaction that did the damage with its subtransactions; empty when it is not known.
    :param exact: nothing but that transaction lies between the clean and the damaged state.
    """

    copy: Beside
    backup_id: str
    point: Point
    culprit_xids: t.Tuple[int, ...]
    culprit_at: t.Optional[str]
    exact: bool
    effort: Effort
    seconds: float

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "backup_id": self.backup_id,
            "lsn": format_lsn(self.point.position),
            "inclusive": self.point.inclusive,
            "culprit_xids": list(self.culprit_xids)[:_MOST_PROBES_LISTED],
            "culprit_committed_at": self.culprit_at,
            "exact": self.exact,
            "last_transaction_at": self.copy.last_transaction_at,
            "restores": self.effort.restores,
            "starts": self.effort.starts,
            "commits": self.effort.commits,
            "candidates": self.effort.candidates,
            "probes": self.effort.probes[:_MOST_PROBES_LISTED],
            "seconds": round(self.seconds, 3),
        }


class NoCleanPoint(NotLeftSafe):
    """No state that can be restored is clean."""


def usable_backups(destination: str, exclude: t.AbstractSet[str]) -> t.List[BackupRecord]:
    """The backups that a search begins with, the newest first.

    :raises NoCleanPoint: there is none.
    """
    found = [record for record in reversed(list_backups(destination)) if record.backup_id not in exclude]
    if not found:
        raise NoCleanPoint(
            "there is no base backup from before the damage in %s" % destination,
            "writes stay stopped. Look for a copy elsewhere: the standby's disk, the snapshot store, another site;"
            " what cannot be found is entered again from paper",
        )
    return found


def find_clean_point(assignment: Assignment, deadline: Deadline) -> CleanPoint:
    """Search from the newest usable backup, and from older ones while that one is damaged already.

    :return: with a running, promoted copy of the clean state.
    :raises NoCleanPoint: no backup is clean, or none can be restored; names what was tried. No copy is left.
    """
    effort = Effort()
    tried: t.List[str] = []
    for record in usable_backups(assignment.request.destination, assignment.exclude):
        if effort.restores >= assignment.most_restores:
            break
        try:
            return _Searcher(assignment, record, effort, deadline).run()
        except _DamagedFromTheStart:
            tried.append("%s of %s holds the damage already" % (record.backup_id, record.finished_at))
        except BadInput:
            raise
        except CodeblueError as error:
            if deadline.expired:
                raise
            tried.append("%s of %s: %s" % (record.backup_id, record.finished_at, error.message))
        finally:
            effort.probes.append({"backup_id": record.backup_id, "restores": effort.restores})
    raise NoCleanPoint(
        "the last clean state lies outside of what can be restored: %s" % "; ".join(tried)[:1500],
        "writes stay stopped. Restore an older backup from the store or another site, or mend the rows by hand from"
        " the evidence; what was lost is entered again from paper",
    )


class _DamagedFromTheStart(CodeblueError):
    """The backup's own state is damaged."""


class _Searcher:
    """One search from one backup."""

    def __init__(self, assignment: Assignment, record: BackupRecord, effort: Effort, deadline: Deadline) -> None:
        self._assignment = assignment
        self._record = record
        self._effort = effort
        self._deadline = deadline
        self._began = deadline.elapsed()
        self._verified = False
        self._copy: t.Optional[Beside] = None
        self._way: t.List[Stretch] = []
        self._commits = Commits()

    def run(self) -> CleanPoint:
        try:
            return self._run()
        except BaseException:
            self._discard()
            raise

    def _run(self) -> CleanPoint:
        assignment, record = self._assignment, self._record
        end = Point(assignment.until_lsn, False)
        archive = assignment.request.archive_dir
        if archive is None or not assignment.in_log:
            return self._finish(end if archive else None, (), None, exact=True)
        self._restore(RecoveryTarget(kind="immediate"))
        begin = parse_lsn(record.end_lsn)
        self._way = stretches(archive, assignment.timeline, record.timeline, begin, assignment.until_lsn)
        login = assignment.request.login
        self._commits = list_commits(login, archive, self._way, self._deadline)
        touching = transactions_at(login, archive, self._way, self._relations(), self._deadline)
        candidates = self._commits.of_transactions(touching)
        self._effort.commits, self._effort.candidates = len(self._commits), len(candidates)
        search = Search(points_around(candidates, assignment.until_lsn))
        self._search(search)
        best = search.best()
        between = self._overlooked(search)
        if between:
            # Damage that came by a file of which neither end of the way knows the number.
            search = Search(points_around(between, search.points[search.high].position))
            self._search(search)
            best = search.best()
        return self._settle(search, best)

    def _search(self, search: Search) -> None:
        while True:
            indexes = search.next_pass()
            if not indexes:
                return
            if self._effort.restores >= self._assignment.most_restores:
                # What is known to be clean by now is used; less precise, and safe.
                for index in indexes:
                    search.note(index, DAMAGED)
                return
            for index in indexes:
                self._go_to(search.points[index])
                state = self._state()
                self._remember(search.points[index], state)
                search.note(index, state)

    def _settle(self, search: Search, best: t.Optional[int]) -> CleanPoint:
        """Restore the best point for good; one further back when it proves to be damaged after all."""
        if best is None:
            raise _DamagedFromTheStart("no point of this backup is clean")
        while best > search.low - 1 and best >= 0:
            point = search.points[best]
            following = search.points[best + 1] if best + 1 < len(search.points) else None
            culprit = point.position if not point.inclusive and following == Point(point.position, True) else None
            xid = self._commits.xid_at(culprit) if culprit is not None else None
            xids = tuple(self._commits.with_subtransactions(xid)) if xid is not None else ()
            try:
                return self._finish(point, xids, culprit, exact=xid is not None or following is None)
            except _DamagedFromTheStart:
                best -= 1
        raise _DamagedFromTheStart("no point of this backup is clean")

    def _finish(
        self, point: t.Optional[Point], xids: t.Tuple[int, ...], culprit: t.Optional[int], exact: bool
    ) -> CleanPoint:
        """A promoted copy: open transactions are rolled back there, so that none of their locks is in the way."""
        if point is None:
            target = RecoveryTarget(kind="immediate", action="promote")
        else:
            target = self._target(point, "promote")
        self._restore(target)
        copy = t.cast(Beside, self._copy)
        state = self._state()
        if point is not None:
            self._remember(point, state)
        if state != CLEAN:
            raise _DamagedFromTheStart("the point is not clean")
        archive = self._assignment.request.archive_dir
        at = None
        if culprit is not None and archive is not None:
            at = committed_at(self._assignment.request.login, archive, self._way, culprit, self._deadline)
        return CleanPoint(
            copy=copy,
            backup_id=self._record.backup_id,
            point=point or Point(parse_lsn(self._record.end_lsn), False),
            culprit_xids=xids,
            culprit_at=at,
            exact=exact,
            effort=self._effort,
            seconds=self._deadline.elapsed() - self._began,
        )

    def _overlooked(self, search: Search) -> t.List[int]:
        """Commits between a clean point and a damaged one that were no candidates."""
        low, high = search.high - 1, search.high
        if high >= len(search.points) or search.points[high].inclusive:
            return []
        lowest = search.points[low].position + 1 if low >= 0 else 0
        return self._commits.between(lowest, search.points[high].position)

    # -- the copy ----------------------------------------------------------------------------------------------

    def _go_to(self, point: Point) -> None:
        target = self._target(point, "pause")
        copy = self._copy
        if copy is not None and copy.in_recovery and parse_lsn(copy.replayed_lsn) <= point.position:
            self._copy = None
            self._effort.starts += 1
            self._copy = move_forward(copy, self._request(target), target, self._deadline)
        else:
            self._restore(target)

    def _restore(self, target: RecoveryTarget) -> None:
        self._discard()
        self._effort.restores += 1
        self._effort.starts += 1
        self._copy = restore_beside(self._request(target), self._deadline)
        self._verified = True

    def _request(self, target: RecoveryTarget) -> RestoreRequest:
        request = self._assignment.request
        return replace(
            request,
            target=target,
            backup_id=self._record.backup_id,
            verify=request.verify and not self._verified,
            settings={**COPY_SETTINGS, **request.settings},
        )

    def _target(self, point: Point, action: str) -> RecoveryTarget:
        return RecoveryTarget(
            kind="lsn",
            value=format_lsn(point.position),
            inclusive=point.inclusive,
            timeline=str(self._assignment.timeline),
            action=action,
        )

    def _discard(self) -> None:
        self._copy = None
        stop_beside(self._assignment.request.directory)

    def _state(self) -> str:
        copy = t.cast(Beside, self._copy)
        with PsqlSession(copy.login, self._deadline) as sql:
            return state_of(check_rules(sql, self._assignment.rules, _LOCK_SECONDS))

    def _relations(self) -> t.List[str]:
        """The files of the damaged tables, as the copy knows them, for pg_waldump."""
        copy = t.cast(Beside, self._copy)
        tables = sorted({table for rule in self._assignment.rules for table in rule.tables})
        with PsqlSession(copy.login, self._deadline) as sql:
            rows = sql.rows(
                "SELECT coalesce(nullif(c.reltablespace, 0), d.dattablespace)::text AS space, d.oid::text AS database,"
                " pg_relation_filenode(c.oid)::text AS file FROM pg_class c JOIN pg_namespace n ON n.oid ="
                " c.relnamespace, pg_database d WHERE d.datname = current_database()"
                " AND pg_relation_filenode(c.oid) IS NOT NULL AND (n.nspname, c.relname) IN (%s)"
                % ", ".join("(%s, %s)" % (literal(schema), literal(name)) for schema, name in map(qualified, tables))
            )
        return ["%s/%s/%s" % (row["space"], row["database"], row["file"]) for row in rows]

    def _remember(self, point: Point, state: str) -> None:
        self._effort.probes.append({"lsn": format_lsn(point.position), "inclusive": point.inclusive, "state": state})


def state_of(findings: t.Iterable[Finding]) -> str:
    """What the rules together say of a state."""
    problems = {finding.problem for finding in findings}
    if problems <= {None}:
        return CLEAN
    return UNKNOWN if problems <= {None, LOCKED} else DAMAGED
