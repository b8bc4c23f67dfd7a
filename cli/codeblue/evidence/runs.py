"""The evidence of runs as the command finds it on this controller."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import FILE_NAME
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore, evidence_directory
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store


def runs_with_evidence(directory: Path | None) -> list[str]:
    """The ids of the runs, the latest first."""
    root = evidence_directory(str(directory) if directory else None)
    return sorted((path.parent.name for path in root.glob(f"*/{FILE_NAME}")), reverse=True)


def evidence_of(run: str, directory: Path | None) -> EvidenceStore:
    """The evidence of one run.

    :raises BadInput: there is none here.
    """
    if run not in runs_with_evidence(directory):
        raise BadInput(
            f"there is no evidence of run {run} here", "codeblue evidence list shows the runs that have some"
        )
    return EvidenceStore(evidence_directory(str(directory) if directory else None), run, open_store())


def announce_access(run: str) -> None:
    """Send the new end of the run's record to the anchors: an access that is only noted here could be taken back."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import head_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import queue_head

    store: Store = open_store()
    with store.database.write() as transaction:
        queue_head(store, transaction, head_of(transaction.connection, run))
