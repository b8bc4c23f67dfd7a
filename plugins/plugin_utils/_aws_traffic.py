# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the ways have in common by which a share of the traffic is led elsewhere."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY


def region_for_all(place: AwsPlatform, side: str | None = None) -> str:
    """The region by which services are asked that are one for all regions, such as Route 53 and CloudFront.

    That of the side which traffic goes to: the endpoint that a laboratory or a proxy has for the other one may be gone
    with its region.

    :param side: None for the one that is not the usual one.
    """
    if side == PRIMARY or place.standby_region is None:
        return place.region
    return place.standby_region


class Shared(t.Protocol):
    """How traffic is shared at one moment."""

    def share(self, side: str) -> int:
        """The percent that a side has."""

    def at(self, side: str, percent: int) -> bool:
        """Whether a side has exactly so much, in every part of it."""

    def text(self) -> str:
        """All of it on one line, so that it can be given back exactly."""


@dataclass(frozen=True)
class Moved:
    """A change of shares.

    :param accepted_at: Unix time; None when it was so already.
    :param ticket: by which can be asked whether it is carried out everywhere; None when there is none.
    """

    accepted_at: float | None
    ticket: str | None = None


class TrafficWay(t.Protocol):
    """One way."""

    #: What is changed, for people.
    what: str
    #: The names of the sides.
    sides: tuple[str, ...]

    def look(self) -> Shared:
        """How it is now.

        :raises Refused: it is shared in a way that weights do not fit.
        """

    def move(self, expected: int, side: str, percent: int, comment: str) -> Moved:
        """Give a side so many percent.

        :param expected: percent that it has; with any other, somebody else is at work.
        :param comment: why, for who looks at the service of AWS.
        :raises Refused: somebody else has changed it.
        """

    def restore(self, text: str, comment: str) -> Moved:
        """Make it as it was, exactly.

        :param text: of `Shared.text`.
        """

    def settled(self, ticket: str | None, seconds: float, renew: Callable[[], None]) -> str:
        """Wait until a change is carried out everywhere.

        :param seconds: at most.
        :param renew: called while waiting.
        :returns: how that is known, for people.
        :raises CodeblueError: it is not within that time.
        """

    def complaint(self, side: str) -> str:
        """What speaks against traffic for a side, as this way itself knows; empty when nothing does."""

    def way_back(self, text: str) -> str:
        """The command that makes it as it was."""

    def afterwards(self, text: str) -> str:
        """What people have to know after a change; empty when nothing.

        :param text: of `Shared.text`, as it was before.
        """
