# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The spools of this machine, each opened once by this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import (
    SpoolStore,
    open_spool,
    spool_path,
    spool_paths,
)


class OpenSpools:
    """As long as the store works, nobody needs the spools: a directory that somebody else made under their name must
    not stop a recovery, so there are none then.

    :param warn: told why they cannot be used.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._open: dict[Path, SpoolStore] = {}

    def of(self, run_id: str) -> SpoolStore | None:
        """The spool of a run; None when it has none, or none can be used."""
        try:
            path = spool_path(run_id)
        except StoreUnavailable as error:
            self._warn(error.message)
            return None
        if not path.exists():
            self._open.pop(path, None)
            return None
        return self._opened(path)

    def all(self) -> list[SpoolStore]:
        """All of them; none when they cannot be used."""
        try:
            paths = spool_paths()
        except StoreUnavailable as error:
            self._warn(error.message)
            return []
        return [self._opened(path) for path in paths]

    def _opened(self, path: Path) -> SpoolStore:
        if path not in self._open:
            self._open[path] = open_spool(path)
        return self._open[path]
