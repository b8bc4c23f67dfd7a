# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What taking one change back means, whatever kind of change it is: plain data, so that it can be written down."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain

NEWEST = "the newest change of what fails"
# What a recovery put back came when it came for the first time: going back is no new change.
_OWN = "codeblue"


@dataclass(frozen=True)
class WayBack:
    """One place's way back.

    :param machine: the inventory name.
    :param changed_at: when the present state came; UTC, RFC 3339.
    :param details: what this kind of change needs beside the versions; no secrets.
    """

    machine: str
    bad: str
    good: str
    changed_at: str
    details: Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Undo:
    """One change of a service that is to be taken back.

    :param kind: under which its version is marked bad: `release`, `config`, `flags`, `schema`.
    :param ways: one for each place.
    :param restarts: services whose instances are started anew afterwards.
    """

    service: str
    kind: str
    changed_at: str
    ways: tuple[WayBack, ...]
    restarts: tuple[str, ...]
    why: str = NEWEST

    @property
    def good(self) -> str:
        """The version that it goes back to; several where places have versions of their own."""
        return "+".join(dict.fromkeys(way.good for way in self.ways))

    @property
    def bad(self) -> tuple[str, ...]:
        """The versions that are left."""
        return tuple(dict.fromkeys(way.bad for way in self.ways))

    def told(self) -> dict[str, str]:
        """For results."""
        return {"service": self.service, "kind": self.kind, "from": "+".join(self.bad), "to": self.good}

    def as_record(self) -> dict[str, t.Any]:
        """For the journal."""
        return t.cast("dict[str, t.Any]", plain(asdict(self)))

    @classmethod
    def of_record(cls, kept: Mapping[str, t.Any]) -> Undo:
        """Out of the journal."""
        return cls(
            **{**kept, "ways": tuple(WayBack(**way) for way in kept["ways"]), "restarts": tuple(kept["restarts"])}
        )


def came_at(history: Sequence[Mapping[str, t.Any]], version: str, key: str) -> str:
    """When a version came by the hand of somebody else than a recovery; else when it came at all, or an empty text.

    :param history: the newest first.
    :param key: of the time in its entries.
    """
    own = [each for each in history if each.get("version") == version and each.get(key)]
    first = next((each for each in own if not str(each.get("by") or "").startswith(_OWN)), None)
    chosen = first if first is not None else own[0] if own else {}
    return str(chosen.get(key) or "")
