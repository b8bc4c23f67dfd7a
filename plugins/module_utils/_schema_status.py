# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a migration tool says is applied to a database.

A tool prints a JSON list of objects with `version`, `applied_at` and, where it knows, `way_back`, `tables` and
`description`; or one line for each migration with version, time and way back, divided by blanks.
"""

from __future__ import annotations

import datetime
import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

#: What taking a migration back costs: nothing, data, or it cannot be taken back.
CLEAN, DATA_LOSS, NONE = "clean", "data_loss", "none"
WAYS_BACK = (CLEAN, DATA_LOSS, NONE)
MOST_MIGRATIONS = 20_000

_VERSION = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_TABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?\Z")
_MOST_TABLES = 100
_FORMAT = "it must print a JSON list of objects with version and applied_at, or lines with these two"


@dataclass(frozen=True)
class Migration:
    """One applied migration.

    :param applied_at: UTC, RFC 3339; None when the tool does not say.
    :param tables: whose rows it touches; None when the tool does not say.
    """

    version: str
    applied_at: t.Optional[str]
    way_back: str
    tables: t.Optional[t.Tuple[str, ...]] = None
    description: str = ""

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "version": self.version,
            "applied_at": self.applied_at,
            "way_back": self.way_back,
            "tables": None if self.tables is None else list(self.tables),
            "description": self.description,
        }


def check_version(version: str) -> str:
    """Itself.

    :raises BadInput: it could be taken for an option of the tool, or is no version.
    """
    if not _VERSION.match(version):
        raise BadInput("version: %r is no version of a migration" % version, "use letters, digits, . _ + -")
    return version


def read_status(printed: str, unknown_way_back: str) -> t.List[Migration]:
    """What is applied, oldest first: by time where every migration has one, else in the order of the tool.

    :param unknown_way_back: for migrations of which the tool does not say it.
    :raises CodeblueError: that is no status. What was printed is not repeated: it may hold anything.
    """
    text = printed.strip()
    try:
        entries = _from_json(text) if text[:1] in ("[", "{") else [_from_line(line) for line in text.splitlines()]
        found = [_migration(entry, unknown_way_back) for entry in entries]
    except (ValueError, TypeError, KeyError, BadInput) as error:
        raise CodeblueError(
            "the status of the migrations cannot be read: %s" % type(error).__name__, _FORMAT
        ) from error
    if len({each.version for each in found}) != len(found):
        raise CodeblueError("the status names a migration twice", _FORMAT)
    if len(found) > MOST_MIGRATIONS:
        raise CodeblueError("the status names more than %d migrations" % MOST_MIGRATIONS, "print the last ones only")
    if all(each.applied_at is not None for each in found):
        found.sort(key=lambda each: str(each.applied_at))
    return found


def _from_json(text: str) -> t.List[t.Any]:
    content = json.loads(text)
    if isinstance(content, dict):
        content = content["applied"]
    if not isinstance(content, list):
        raise TypeError("no list")
    return content


def _from_line(line: str) -> t.Dict[str, t.Any]:
    words = line.split()
    way_back = words[2] if len(words) > 2 and words[2] in WAYS_BACK else None
    return {"version": words[0], "applied_at": words[1] if len(words) > 1 else None, "way_back": way_back}


def _migration(entry: t.Mapping[str, t.Any], unknown_way_back: str) -> Migration:
    way_back = entry.get("way_back") or unknown_way_back
    tables = entry.get("tables")
    if way_back not in WAYS_BACK or not isinstance(tables, (list, type(None))):
        raise ValueError("way_back or tables")
    if tables is not None and (len(tables) > _MOST_TABLES or not all(_TABLE.match(str(name)) for name in tables)):
        raise ValueError("tables")
    version = entry["version"]
    if isinstance(version, bool) or not isinstance(version, (str, int)):
        raise TypeError("version")
    return Migration(
        check_version(str(version)),
        _moment(entry.get("applied_at")),
        way_back,
        None if tables is None else tuple(str(name) for name in tables),
        str(entry.get("description") or "")[:200],
    )


def _moment(given: t.Any) -> t.Optional[str]:
    if given is None:
        return None
    moment = datetime.datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        # A time of an unknown zone cannot be held against the times of releases.
        raise ValueError("a time without its zone")
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
