"""Snapshots that are overdue, and copies that are missing in the other place."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.doctor.finding import Finding, failed, ok, warning
from codeblue.output.style import local_time

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot, Store

INTERVAL = "codeblue_snapshot_interval"
COPIES = "codeblue_snapshot_copies"
_DEFAULT_INTERVAL = "1h"
# A timer is spread over some minutes, and a snapshot takes its time.
_LATE = 1.5


def check_snapshots(
    store: Store,
    services: Mapping[str, Service],
    variables: Mapping[str, Mapping[str, t.Any]],
    now: datetime | None = None,
) -> Iterator[Finding]:
    """The newest snapshot of every service is as young as the schedule promises, and lies in the other places too.

    A service has a schedule when the inventory says `codeblue_snapshot_interval`, or when a scheduled snapshot of it
    was ever taken. A database outside of the lab needs one.
    """
    moment = now or datetime.now(UTC)
    known = store.snapshots()
    looked_at = 0
    late: list[Finding] = []
    for name, service in services.items():
        mine = [snapshot for snapshot in known if snapshot.target == name]
        given = variables.get(name, {}).get(INTERVAL)
        if given is None and not any(snapshot.kind == "scheduled" for snapshot in mine):
            if service.kind == "database" and service.environment != "lab" and not mine:
                hint = "take them hourly: docs/hosts.md, Schedules"
                late.append(warning("snapshots", f"{name}: there is no snapshot of it, and no schedule", hint))
            continue
        looked_at += 1
        try:
            interval = parse_duration(str(given or _DEFAULT_INTERVAL))
        except BadInput as error:
            late.append(failed("snapshots", f"{name}: {INTERVAL}: {error.message}", error.hint))
            continue
        late += _late(name, service, mine, interval, moment)
        late += _not_copied(name, mine, variables.get(name, {}).get(COPIES) or [])
    yield from late
    if looked_at and not late:
        yield ok("snapshots", f"none is overdue, of {looked_at} services")


def _late(name: str, service: Service, mine: list[Snapshot], interval: float, now: datetime) -> Iterator[Finding]:
    sound = [snapshot for snapshot in mine if snapshot.state != "corrupt"]
    hint = f"codeblue snapshot create --kind scheduled --limit {name}, and look why the timer did not"
    if not sound:
        yield warning("snapshots", f"{name}: there is no snapshot that is whole", hint)
        return
    age = (now - datetime.fromisoformat(sound[0].created_at)).total_seconds()
    if age > interval * _LATE:
        text = f"{name}: overdue, the newest is of {local_time(sound[0].created_at)}; one is due every {interval:g} s"
        yield warning("snapshots", text, hint)
    database = service.host.postgresql if service.host is not None else None
    if database is not None and database.archive_dir is None and interval > service.objectives.rpo:
        yield warning(
            "snapshots",
            f"{name}: its log is not archived, and snapshots every {interval:g} s cannot keep the RPO of "
            f"{service.objectives.rpo:g} s",
            "set archive_command on the server and archive_dir in the inventory",
        )


def _not_copied(name: str, mine: list[Snapshot], places: object) -> Iterator[Finding]:
    if not isinstance(places, list):
        yield failed("snapshots", f"{name}: {COPIES} is no list of directories")
        return
    stored = [snapshot for snapshot in mine if snapshot.meta.get("store") and snapshot.state != "corrupt"]
    for place in map(str, places):
        if stored and not (Path(place) / "snapshots" / f"{stored[0].snapshot_id}.json").is_file():
            text = f"{name}: its newest snapshot {stored[0].snapshot_id} has no copy in {place}"
            yield warning("snapshots", text, f"codeblue snapshot copy --to {place}")
