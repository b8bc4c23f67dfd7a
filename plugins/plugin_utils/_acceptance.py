# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What people have accepted of a run that cannot be undone."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

#: The acceptance that a person must give before data are given up.
DATA_LOSS = "data_loss"


def accepted(run: OpenRun | None, given: Iterable[str]) -> set[str]:
    """The kinds of loss that are accepted.

    :param run: None in check mode.
    :param given: by a variable, which counts in check mode only: a run has a record of its own, with a name to it.
    """
    if run is None:
        return set(given)
    record = run.store.run(run.run_id)
    return set(record.accepts if record is not None else ()) | {each.kind for each in run.store.acceptances(run.run_id)}
