# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The versions of the objects of a bucket, and what brings a moment of them back. Pure.

A restored object is a new version, made from the old one: nothing is taken out of the history, so the way back is the
same restore to a later moment.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: S3 copies objects of up to 5 GiB in one call; larger ones in parts.
LARGEST_COPY = 5 * 1024**3

Version = Mapping[str, t.Any]
# When it came, whether it stands for a deletion, and what S3 says of it.
_Entry = tuple[datetime.datetime, bool, Version]


@dataclass(frozen=True)
class Restoration:
    """One object that is not what it was.

    :param version: that it had; None when it was not there.
    :param now: the version that it has; None when it is not there.
    """

    key: str
    version: Version | None
    now: Version | None

    @property
    def removes(self) -> bool:
        """Whether it is to be taken away: it came later."""
        return self.version is None


def restorations(
    versions: Iterable[Version], markers: Iterable[Version], moment: datetime.datetime
) -> list[Restoration]:
    """What is not as it was, by key.

    :param versions: of S3, whatever their order.
    :param markers: that stand for deletions.
    :param moment: with a time zone.
    """
    history: dict[str, list[_Entry]] = {}
    for deleted, entries in ((False, list(versions)), (True, list(markers))):
        # S3 lists the newest first.
        for each in reversed(entries):
            history.setdefault(str(each["Key"]), []).append((each["LastModified"], deleted, each))
    found = []
    for key in sorted(history):
        own = history[key]
        now = next((None if deleted else each for _time, deleted, each in own if each.get("IsLatest")), None)
        was = _at(own, moment)
        if not _same(was, now):
            found.append(Restoration(key, was, now))
    return found


def _at(entries: Sequence[_Entry], moment: datetime.datetime) -> Version | None:
    """The version that clients got at that moment; None when there was none."""
    # S3 tells seconds; of the same one the latest is the last, and sorting keeps the order otherwise.
    earlier = sorted(
        (each for each in entries if each[0] <= moment), key=lambda one: (one[0], bool(one[2].get("IsLatest")))
    )
    if not earlier:
        return None
    _time, deleted, version = earlier[-1]
    return None if deleted else version


def _same(was: Version | None, now: Version | None) -> bool:
    if was is None or now is None:
        return was is now
    # A restored object is another version with the same content.
    return was["VersionId"] == now["VersionId"] or (was["ETag"] == now["ETag"] and was["Size"] == now["Size"])
