# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a step leaves behind, so that somebody can look later whether it is still so.

An entry says `kind`, where (`path`, `unit`, `table` or `server`), and `value`. None as value means that nothing is
expected any more, and replaces an entry of an earlier step. A secret is told by its file, never by what is in it.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

State = t.Dict[str, t.Any]

LINK, CONTENT, IDENTITY, FLAGS, LINES, UNIT, TABLE, SERVER = (
    "link",
    "content",
    "identity",
    "flags",
    "lines",
    "unit",
    "table",
    "server",
)
KINDS = (LINK, CONTENT, IDENTITY, FLAGS, LINES, UNIT, TABLE, SERVER)

_LARGEST = 16 * 1024 * 1024
_LOOK_SECONDS = 5.0


def link_left(path: str) -> State:
    """A symbolic link and where it points."""
    return {"kind": LINK, "path": path, "value": _link(path)}


def content_left(path: str) -> State:
    """A file that holds no secret, by the digest of its content."""
    return {"kind": CONTENT, "path": path, "value": _digest(path)}


def identity_left(path: str) -> State:
    """A file with a secret: replacing it changes its number, writing into it changes its time."""
    return {"kind": IDENTITY, "path": path, "value": _identity(path)}


def flags_left(path: str, flags: t.Mapping[str, t.Any]) -> State:
    """Some flags of a JSON file; null for one that is not there."""
    return {"kind": FLAGS, "path": path, "value": dict(flags)}


def lines_left(path: str, entries: t.Sequence[str], there: bool) -> State:
    """Lines that a file has or has not."""
    return {"kind": LINES, "path": path, "value": {entry: there for entry in entries}}


def unit_left(options: t.Mapping[str, t.Any], stays_stopped: bool) -> State:
    """A unit that is to stay stopped, or of which nothing is expected."""
    process = {name: options[name] for name in ("manager", "socket", "unit") if options.get(name)}
    return {"kind": UNIT, "unit": options["unit"], "process": process, "value": "stopped" if stays_stopped else None}


def table_left(table: str, there: bool) -> State:
    """A table of nftables."""
    return {"kind": TABLE, "table": table, "value": True if there else None}


def server_left(socket: str, server: str, state: t.Optional[str], weight: t.Optional[int]) -> State:
    """A server of HAProxy as it was switched; None leaves that part alone."""
    return {"kind": SERVER, "server": server, "socket": socket, "value": {"state": state, "weight": weight}}


def no_longer_so(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    """What is not as the entry says, in one line; None when all is.

    :raises BadInput: it is no entry.
    :raises CodeblueError: it cannot be looked at.
    """
    if entry.get("kind") not in KINDS:
        raise BadInput("left: %r is none of %s" % (entry.get("kind"), ", ".join(KINDS)))
    if entry["value"] is None and entry["kind"] in (UNIT, TABLE):
        return None
    return _LOOKS[entry["kind"]](entry)


def _link_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    now = _link(entry["path"])
    return None if now == entry["value"] else "%s points to %s again" % (entry["path"], now)


def _content_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    return None if _digest(entry["path"]) == entry["value"] else "%s was changed again" % entry["path"]


def _identity_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    return None if _identity(entry["path"]) == entry["value"] else "%s was replaced again" % entry["path"]


def _flags_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._feature_flag import FileFlags, same

    flags = FileFlags(entry["path"]).read()
    other = sorted(name for name, value in entry["value"].items() if not same(flags.get(name), value))
    return "flag %s in %s is %s again" % (other[0], entry["path"], json.dumps(flags.get(other[0]))) if other else None


def _lines_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    with open(entry["path"], encoding="utf-8") as stream:
        lines = set(stream.read(_LARGEST).splitlines())
    other = sorted(line for line, there in entry["value"].items() if (line in lines) != there)
    if not other:
        return None
    return "%s %s %s" % (entry["path"], "has again" if other[0] in lines else "lost again", other[0])


def _unit_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
        FAILED,
        STOPPED,
        process_unit,
    )

    state = process_unit(entry["process"]).status(Deadline(_LOOK_SECONDS)).state
    return None if state in (STOPPED, FAILED) else "%s was stopped and is %s again" % (entry["unit"], state)


def _table_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Nftables

    there = Nftables(Deadline(_LOOK_SECONDS)).comment_of(entry["table"]) is not None
    return None if there else "the rules of %s are gone from nftables" % entry["table"]


def _server_again(entry: t.Mapping[str, t.Any]) -> t.Optional[str]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime

    server = HaproxyRuntime(entry["socket"], Deadline(_LOOK_SECONDS)).servers().get(entry["server"])
    if server is None:
        return "HAProxy knows no server %s any more" % entry["server"]
    for name, value in entry["value"].items():
        if value is not None and getattr(server, name) != value:
            return "%s of %s in HAProxy is %s again" % (name, entry["server"], getattr(server, name))
    return None


_LOOKS: t.Dict[str, t.Callable[[t.Mapping[str, t.Any]], t.Optional[str]]] = {
    LINK: _link_again,
    CONTENT: _content_again,
    IDENTITY: _identity_again,
    FLAGS: _flags_again,
    LINES: _lines_again,
    UNIT: _unit_again,
    TABLE: _table_again,
    SERVER: _server_again,
}


def _link(path: str) -> t.Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _digest(path: str) -> t.Optional[str]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._release import file_digest

    return file_digest(path)


def _identity(path: str) -> t.Optional[str]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CodeblueError("%s: %s" % (path, error.strerror)) from error
    return "%d:%d:%d" % (status.st_ino, status.st_size, status.st_mtime_ns)
