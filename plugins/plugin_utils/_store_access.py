# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which store a process should use: the shared one, or the spool that one of its runs has gone over to."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import (
    ResilientStore,
    open_store_or_spool,
)


def open_store_of_run(holder: ProcessIdentity) -> ResilientStore:
    """The store in which the run of a process is kept.

    :param holder: the process that holds the leases: for an action, its worker's parent.
    :raises StoreUnavailable: the store is lost, and no run of this process left anything to go on with.
    """
    spooled = ResilientStore(None, StoreUnavailable("the run of this process goes on in a spool"))
    if spooled.holds_in_spool(holder):
        # Asking a lost store first would cost every action the time until it gives up.
        return spooled
    store = open_store_or_spool()
    if store.main is None and not store.leases_held_by(holder):
        raise store.failure or StoreUnavailable("the state store cannot be opened")
    return store
