# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of the infrastructure around a service is in force on a machine: its gateway, its packet filter, its names.

Nothing fails as a whole: what cannot be learned is named, and the rest is there.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Nftables

# `show acl` and `show map` print "ID (FILE) ..."; those of `show ssl` print one file a line.
_LISTED = re.compile(r"^-?\d+ \((?:opt@|file@)?(/[^)]*)\)")
_LOADED = re.compile(r"^(?:opt@|file@)?(/\S+)")
_LISTS: t.Tuple[t.Tuple[str, t.Pattern[str]], ...] = (
    ("show acl", _LISTED),
    ("show map", _LISTED),
    ("show ssl cert", _LOADED),
    ("show ssl ca-file", _LOADED),
    ("show ssl crl-file", _LOADED),
    ("show ssl crt-list", _LOADED),
)
# How a list begins. Anything else is a complaint: each version words it in its own way, and for some of these commands
# a socket of a lower level is told that memory ran out.
_LIST_BEGINS = ("#", "*", "/", "opt@", "file@")
_NO_ANSWER = "the resolver gave no answer in time"
_LARGEST_STATE = 2_000_000


@dataclass
class Gateway:
    """What one running HAProxy was started with and goes by.

    :param files: absolute paths of its configuration, patterns, maps and certificates with their keys.
    :param servers: what `show servers state` answers.
    :param unknown: what could not be learned, one line each.
    """

    files: t.List[str] = field(default_factory=list)
    servers: str = ""
    unknown: t.List[str] = field(default_factory=list)


def gateway_in_force(runtime: HaproxyRuntime) -> Gateway:
    """Ask a running HAProxy. One that does not answer is named in `unknown`."""
    found = Gateway()
    try:
        servers = runtime.state_for_file()
        if len(servers) <= _LARGEST_STATE:
            found.servers = servers
        else:
            found.unknown.append("HAProxy has more than %d MB of server states" % (_LARGEST_STATE // 1_000_000))
        found.files = runtime.configuration_files()
        if not found.files:
            found.unknown.append("with which configuration HAProxy runs is not known")
        refused = []
        for command, line_of_file in _LISTS:
            answer = runtime.ask(command).strip()
            if answer and not answer.startswith(_LIST_BEGINS):
                refused.append("'%s'" % command)
                continue
            matches = (line_of_file.match(line.lstrip("*")) for line in answer.splitlines())
            found.files += [match.group(1) for match in matches if match is not None]
        if refused:
            found.unknown.append(
                "HAProxy does not answer %s: its socket needs level admin, or it is too old" % ", ".join(refused)
            )
    except CodeblueError as error:
        found.unknown.append(error.message)
    found.files = sorted(set(found.files))
    return found


def readable_files(paths: t.Iterable[str]) -> t.Tuple[t.List[str], t.List[str]]:
    """Which of the files are there and can be read, and one line for each other one."""
    good: t.List[str] = []
    unknown: t.List[str] = []
    for path in sorted(set(paths)):
        try:
            # A pipe would hold up whoever opens it.
            if not stat.S_ISREG(os.stat(path).st_mode):
                unknown.append("%s is no regular file" % path)
                continue
            with open(path, "rb"):
                pass
        except OSError as error:
            unknown.append("%s: %s" % (path, error.strerror or error))
            continue
        # A link is kept as one, so what it leads to is kept as well.
        good += [path, os.path.realpath(path)] if os.path.islink(path) else [path]
    return sorted(set(good)), unknown


def rules_in_force(filters: Nftables) -> t.Tuple[t.Optional[str], t.Optional[str]]:
    """All rules of nftables without their counters; or None, and why they are not known."""
    reason = filters.unusable()
    if reason is not None:
        return None, reason
    try:
        return filters.ruleset(), None
    except CodeblueError as error:
        return None, error.message


def addresses_of(names: t.Sequence[str], deadline: Deadline) -> t.Dict[str, t.Dict[str, t.Any]]:
    """For each name the addresses that programs on this machine get for it, or the reason why they get none.

    All names are asked at once: a resolver that is silent costs its time only once.
    """
    found: t.Dict[str, t.Dict[str, t.Any]] = {name: {"addresses": [], "reason": _NO_ANSWER} for name in names}

    def resolve(name: str) -> None:
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found[name] = {"addresses": [], "reason": str(getattr(error, "strerror", None) or error)}
        else:
            found[name] = {"addresses": sorted({str(answer[4][0]) for answer in answers}), "reason": None}

    # Daemons: the resolver's own time limit must not keep the module from ending.
    threads = [threading.Thread(target=resolve, args=(name,), daemon=True) for name in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline.remaining()))
    return dict(found)
