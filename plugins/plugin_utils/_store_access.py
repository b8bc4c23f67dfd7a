# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which store a process should use: the shared one, or the spool that one of its runs has gone over to."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store


def open_store_of_run(holder: ProcessIdentity) -> Store:
    """The store in which this process's run is kept.

    :param holder: the process that holds the leases, for an action its worker's parent.
    :raises StoreUnavailable: no store can be used.
    """
    return open_store()
