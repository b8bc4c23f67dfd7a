# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many tasks a service of ECS had when it worked. Pure.

A number is taken from where somebody wrote it down, never guessed: one task where three were needed is another outage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import Scaler

#: Under this kind the store keeps the numbers of tasks that runs have seen working.
DESIRED_KIND = "aws_ecs_desired"


@dataclass(frozen=True)
class Desired:
    """A number of tasks, and how it is known."""

    count: int
    why: str


def known_desired(proven: Sequence[str], stated: int | None, scaler: Scaler | None) -> Desired | None:
    """The last number that is known to have worked; None when nobody has written one down.

    :param proven: by earlier runs, the latest first.
    :param stated: by the inventory.
    :param scaler: its bounds hold for what the others say; its least is the last that is asked.
    """
    by_run = next((int(each) for each in proven if each.isdigit() and int(each)), None)
    sources = (
        (by_run, "an earlier run saw it work with so many"),
        (stated, "codeblue_aws.ecs.desired"),
        (scaler.least if scaler is not None else None, "the least that Application Auto Scaling may set"),
    )
    for count, why in sources:
        if count:
            return _within(Desired(count, why), scaler)
    return None


def _within(found: Desired, scaler: Scaler | None) -> Desired:
    if scaler is None or scaler.suspended:
        return found
    fitting = max(scaler.least, min(found.count, scaler.most))
    more = "" if fitting == found.count else ", within the bounds of Application Auto Scaling"
    return Desired(fitting, found.why + more)
