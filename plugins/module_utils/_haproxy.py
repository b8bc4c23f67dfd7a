# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HAProxy's runtime: which servers get traffic, switched over its socket and kept over a restart."""

from __future__ import annotations

import csv
import io
import os
import socket
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

READY, DRAIN, MAINT = "ready", "drain", "maint"

# Bits of srv_admin_state (include/haproxy/server-t.h): forced, inherited, by name resolution, by host name. The bit
# 0x04 only remembers that the configuration says `disabled`, also after an operator has enabled the server.
_MAINT_BITS = 0x01 | 0x02 | 0x20 | 0x40
_DRAIN_BITS = 0x08 | 0x10
_LARGEST_ANSWER = 16 * 1024 * 1024
_BACKENDS_ONLY, _SERVERS_ONLY = 2, 4


@dataclass(frozen=True)
class ServerState:
    """One server of one backend.

    :param state: ready, drain or maint, as an operator set it.
    :param status: what HAProxy does about it: UP, DOWN, MAINT, DRAIN, no check and so on.
    :param weight: by the operator, of the configuration at first.
    :param sessions: open right now.
    :param checked: a health check has passed since it came up, or there is none. HAProxy calls a server that leaves
        maintenance UP before it has checked it.
    """

    state: str
    status: str
    weight: int
    sessions: int
    checked: bool

    @property
    def takes_traffic(self) -> bool:
        """New sessions are sent there and will be served."""
        return self.state == READY and self.checked and (self.status.startswith("UP") or self.status == "no check")


@dataclass(frozen=True)
class BackendCounters:
    """What HAProxy has counted for one backend since it was started.

    :param requests: in mode tcp, sessions.
    :param errors: requests that ended in a 5xx of a server or of HAProxy itself; in mode tcp, connections that failed
        or were aborted by a server.
    :param response: seconds, HAProxy's moving average over the last 1,024 answers; None before the first one.
    :param queued: requests that wait for a place right now.
    """

    mode: str
    requests: int
    errors: int
    response: t.Optional[float]
    queued: int


@dataclass(frozen=True)
class ServerChange:
    """What one server should be; None leaves that part alone."""

    backend: str
    server: str
    state: t.Optional[str] = None
    weight: t.Optional[int] = None

    def __post_init__(self) -> None:
        for name in (self.backend, self.server):
            # The socket divides its words by blanks and its commands by semicolons.
            if not name or any(character in " ;/\\\n\t" for character in name):
                raise BadInput("%r is no name of a backend or a server" % name)
        if self.weight is not None and not 0 <= self.weight <= 256:
            raise BadInput("%s: weight %d is not between 0 and 256" % (self.name, self.weight))

    @property
    def name(self) -> str:
        """As HAProxy writes it."""
        return "%s/%s" % (self.backend, self.server)

    def needed(self, current: ServerState) -> bool:
        """The server is not as wanted yet."""
        return (self.state is not None and self.state != current.state) or (
            self.weight is not None and self.weight != current.weight
        )


class HaproxyRuntime:
    """The runtime socket; every command is a connection of its own, as the socket wants it.

    :param deadline: for all commands together.
    """

    def __init__(self, socket_path: str, deadline: Deadline) -> None:
        self._socket_path = socket_path
        self._deadline = deadline

    def ask(self, command: str) -> str:
        """The answer to one command.

        :raises CodeblueError: the socket is missing, closed or silent.
        """
        chunks: t.List[bytes] = []
        size = 0
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(max(0.05, self._deadline.remaining()))
                connection.connect(self._socket_path)
                connection.sendall(command.encode() + b"\n")
                while size <= _LARGEST_ANSWER:
                    connection.settimeout(max(0.05, self._deadline.remaining()))
                    data = connection.recv(65536)
                    if not data:
                        return b"".join(chunks).decode(errors="replace")
                    chunks.append(data)
                    size += len(data)
        except OSError as error:
            raise CodeblueError(
                "HAProxy at %s does not answer: %s" % (self._socket_path, error.strerror or error),
                "is HAProxy running, and is its stats socket at that path?",
            ) from error
        raise CodeblueError("HAProxy at %s answered with more than 16 MB" % self._socket_path)

    def command(self, command: str) -> None:
        """A command that answers nothing when it worked.

        :raises CodeblueError: HAProxy refused it.
        """
        complaint = self.ask(command).strip()
        if complaint:
            raise CodeblueError(
                "HAProxy refused %r: %s" % (command, complaint.splitlines()[0]),
                "the stats socket needs level admin" if "ermission" in complaint else None,
            )

    def statistics(self, kind: int) -> t.List[t.Dict[str, str]]:
        """The rows of `show stat` of one kind: 2 for backends, 4 for servers."""
        return list(csv.DictReader(io.StringIO(self.ask("show stat -1 %d -1" % kind).lstrip("# "))))

    def backends(self) -> t.Dict[str, BackendCounters]:
        """The counters of all backends by name."""
        return {row["pxname"]: _counters(row) for row in self.statistics(_BACKENDS_ONLY)}

    def servers(self) -> t.Dict[str, ServerState]:
        """All servers as `backend/server`."""
        status = {"%s/%s" % (row["pxname"], row["svname"]): row for row in self.statistics(_SERVERS_ONLY)}
        found = {}
        for row in _table(self.ask("show servers state")):
            name = "%s/%s" % (row["be_name"], row["srv_name"])
            if name not in status:
                continue
            found[name] = ServerState(
                state=_operator_state(int(row["srv_admin_state"])),
                status=status[name]["status"],
                weight=int(row["srv_uweight"]),
                sessions=int(status[name]["scur"] or 0),
                checked=_checked(status[name]),
            )
        return found

    def apply(self, change: ServerChange, current: ServerState, end_sessions: bool) -> None:
        """Make one change; parts that are so already are left alone."""
        if change.weight is not None and change.weight != current.weight:
            self.command("set server %s weight %d" % (change.name, change.weight))
        if change.state is not None and change.state != current.state:
            self.command("set server %s state %s" % (change.name, change.state))
        if change.state == MAINT and end_sessions:
            self.command("shutdown sessions server %s" % change.name)

    def configuration_files(self) -> t.List[str]:
        """The files that the running HAProxy was started with, as its command line names them."""
        pid = next((line[4:].strip() for line in self.ask("show info").splitlines() if line.startswith("Pid:")), "")
        if not pid.isdigit():
            return []
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as stream:
                words = [word.decode(errors="replace") for word in stream.read(65536).split(b"\0")]
            directory = os.readlink("/proc/%s/cwd" % pid)
        except OSError:
            return []  # another user's process, or in another namespace: then nothing is known
        files = []
        for position, word in enumerate(words[:-1]):
            if word == "-f":
                path = os.path.join(directory, words[position + 1])
                if os.path.isdir(path):
                    files += [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".cfg")]
                else:
                    files.append(path)
        return files

    def state_for_file(self) -> str:
        """What belongs into the state file."""
        return self.ask("show servers state")


def find_servers(runtime: HaproxyRuntime, changes: t.Sequence[ServerChange]) -> t.Dict[str, ServerState]:
    """The servers that the changes name, in that order.

    :raises BadInput: one of them does not exist.
    """
    known = runtime.servers()
    for change in changes:
        if change.name not in known:
            raise BadInput(
                "HAProxy knows no server %s" % change.name, "it knows %s" % (", ".join(sorted(known)) or "none")
            )
    return {change.name: known[change.name] for change in changes}


def reached(change: ServerChange, current: ServerState, end_sessions: bool, wait_for_up: bool) -> bool:
    """Traffic goes as wanted."""
    if change.needed(current):
        return False
    if change.state == MAINT and end_sessions and current.sessions:
        return False
    return not (change.state == READY and wait_for_up and not current.takes_traffic)


def loads_state_file(files: t.Sequence[str], state_file: str, backend: str) -> t.Tuple[bool, str]:
    """Whether a restarted HAProxy would read this file for this backend, and if not, why."""
    if not files:
        return False, "which configuration HAProxy runs with is not known; give config_file"
    path, base = "", ""
    loads: t.Dict[str, str] = {}
    section, name, inherited = "", "", ""
    for words in _directives(files):
        if words[0] in ("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"):
            section, name = words[0], words[1] if len(words) > 1 else ""
            if section == "defaults":
                inherited = ""
            elif section in ("backend", "listen"):
                loads[name] = inherited
        elif section == "global" and words[0] == "server-state-file" and len(words) > 1:
            path = words[1]
        elif section == "global" and words[0] == "server-state-base" and len(words) > 1:
            base = words[1]
        elif words[0] == "load-server-state-from-file" and len(words) > 1:
            if section == "defaults":
                inherited = words[1]
            elif name in loads:
                loads[name] = words[1]
    if loads.get(backend, "none") != "global":
        return False, "backend %s has no load-server-state-from-file global" % backend
    if not path:
        return False, "the section global has no server-state-file"
    if os.path.realpath(os.path.join(base or "/", path)) != os.path.realpath(state_file):
        return False, "HAProxy reads its state from %s, not from %s" % (os.path.join(base, path), state_file)
    return True, ""


def _directives(files: t.Sequence[str]) -> t.Iterator[t.List[str]]:
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                words = line.split("#", 1)[0].replace('"', "").split()
                if words:
                    yield words


def _table(text: str) -> t.List[t.Dict[str, str]]:
    """`show servers state`: a version, a line of names behind #, and lines of values."""
    lines = text.splitlines()
    names: t.List[str] = []
    rows = []
    for line in lines[1:]:
        if line.startswith("#"):
            names = line[1:].split()
        elif line.strip():
            values = line.split()
            rows.append({name: values[position] for position, name in enumerate(names) if position < len(values)})
    return rows


def _operator_state(bits: int) -> str:
    if bits & _MAINT_BITS:
        return MAINT
    return DRAIN if bits & _DRAIN_BITS else READY


def _checked(row: t.Mapping[str, str]) -> bool:
    """Health counts up from `rise` when a server comes up, and each passed check adds one until it is full."""
    if row["status"] == "no check":
        return True
    if not row["status"].startswith("UP") or row["check_status"] == "INI":
        return False
    return row["status"] == "UP" or int(row["check_health"] or 0) > int(row["check_rise"] or 0)


def _counters(row: t.Mapping[str, str]) -> BackendCounters:
    def number(name: str) -> int:
        return int(row.get(name) or 0)

    if row.get("mode") == "http":
        requests, errors = number("req_tot"), number("hrsp_5xx")
        response = number("rtime") / 1000.0 if requests else None
    else:
        # HAProxy sees no answers there, so it measures none.
        requests, errors, response = number("stot"), number("econ") + number("eresp"), None
    return BackendCounters(row.get("mode") or "tcp", requests, errors, response, number("qcur"))
