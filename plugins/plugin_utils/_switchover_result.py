# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a switchover returns: who leads, who follows and how, and how long no write succeeded."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Changed
from ansible_collections.codeblue.recovery.plugins.plugin_utils._switchover_changes import Switch


def switchover_result(
    switch: Switch, ended: Sequence[Changed], outage: float | None, measured: str
) -> dict[str, t.Any]:
    """The result of the action.

    :param ended: all steps, the promotion and the rejoins among them.
    :param outage: seconds without a write; None when they are not known.
    :param measured: by what they were measured.
    """
    followers = {
        each.change.machine: each.result.get("method") for each in ended if each.change.module == "postgresql_rejoin"
    }
    promoted = next(each.result for each in ended if each.change.module == "postgresql_promote")
    how = ", ".join(f"{machine} by {method}" for machine, method in followers.items())
    took = "for an unknown time" if outage is None else f"for {outage:.1f} s ({measured})"
    return {
        "changed": True,
        "primary": switch.new,
        "former_primary": switch.old,
        "followers": followers,
        "lost_bytes": promoted.get("lost_bytes"),
        "write_outage_seconds": outage,
        "write_outage_measured": measured,
        "codeblue": {
            "summary": f"{switch.new} is the primary instead of {switch.old}, nothing is lost; no write succeeded "
            f"{took}; followers: {how}"
        },
    }


def seconds_between(began: str, ended: str | None) -> float | None:
    """Between two times of the journal; None while the second one is open."""
    if ended is None:
        return None
    first, last = (datetime.datetime.fromisoformat(each) for each in (began, ended))
    return round((last - first).total_seconds(), 3)
