# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state store: runs, leases, journal, record, tickets, incidents and catalog behind one door."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes import (
    Acceptance,
    Approval,
    ChangeStore,
    ChangeTicket,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._leases import LeaseStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger, export_lines, ledger_rows
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import LedgerRefused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator, current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import BreachStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_catalog import CatalogStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import (
    Database,
    is_disk_failure,
    state_dir,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_incidents import Incident, IncidentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import JournalStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    EXIT_CODES,
    BadVersion,
    Lease,
    LeaseHeld,
    LeaseLost,
    Run,
    RunOpening,
    Snapshot,
    StateWouldBeLost,
    Step,
    StoreUnavailable,
    TargetState,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_runs import RunStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_schema import ensure_schema
from sqlalchemy.engine import URL

__all__ = [
    "EXIT_CODES",
    "Acceptance",
    "Approval",
    "BadVersion",
    "ChangeTicket",
    "Incident",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "LedgerRefused",
    "Operator",
    "Run",
    "RunOpening",
    "Snapshot",
    "StateWouldBeLost",
    "Step",
    "Store",
    "StoreUnavailable",
    "TargetState",
    "current_operator",
    "is_disk_failure",
    "ledger_key_path",
    "open_store",
    "state_dir",
]


def ledger_key_path() -> Path:
    """Where the key is that signs the record: CODEBLUE_LEDGER_KEY, else in the state directory."""
    given = os.environ.get("CODEBLUE_LEDGER_KEY")
    return Path(given) if given else state_dir() / "keys" / "ledger.key"


class Store(RunStore, LeaseStore, JournalStore, CatalogStore, ChangeStore, IncidentStore, BreachStore):
    """All state of recovery, in SQLite or PostgreSQL. Nothing is opened before the first use.

    :param url: a SQLAlchemy URL.
    :param key_path: gives the path of the signing key.
    """

    def __init__(self, url: str | URL, key_path: Path | None = None) -> None:
        self.database = Database(url)
        self.ledger = Ledger(lambda: LedgerKey.at(key_path or ledger_key_path()))
        # What went wrong without being worth a failure; whoever opened the store shows it.
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written inside is one transaction: all of it, or nothing."""
        with self.database.write():
            yield

    def open_run(self, opening: RunOpening, ttl_seconds: int = 60) -> tuple[Run, dict[str, Lease]]:
        """Open a run and take the leases of all its targets, or do neither.

        :raises LeaseHeld: another run holds one of them.
        """
        with self.transaction():
            run = self.create_run(opening)
            return run, self.acquire_leases(opening.run_id, opening.targets, opening.holder, ttl_seconds)

    def ledger_records(self, run_id: str) -> list[dict[str, object]]:
        """The records of a run in order, as they were signed."""
        import json

        with self.database.read() as connection:
            return [json.loads(row.body) for row in ledger_rows(connection, run_id)]

    def export(self, run_id: str) -> list[str]:
        """The export of a run's record, as JSON lines."""
        key = self.ledger.key
        with self.database.read() as connection:
            return list(export_lines(connection, run_id, {key.key_id: key.public_pem}))

    def close(self) -> None:
        """Give the connection back."""
        self.database.close()


def open_store(url: str | None = None) -> Store:
    """The store of this controller.

    :param url: by default CODEBLUE_STATE_URL, else SQLite in the state directory.
    :raises StoreUnavailable: it cannot be reached, made or brought up to date.
    """
    chosen: str | URL | None = url or os.environ.get("CODEBLUE_STATE_URL")
    if not chosen:
        chosen = URL.create("sqlite", database=str(state_dir() / "state.sqlite"))
    store = Store(chosen)
    ensure_schema(store.database)
    return store
