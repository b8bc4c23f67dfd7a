# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What on a machine belongs to a service, with whom it speaks, and who uses it. Changes nothing."""

from __future__ import annotations

import calendar
import ipaddress
import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._evidence_processes import (
    TCP_STATES,
    endpoint,
    open_files,
    socket_lines,
    with_descendants,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import (
    ProcessInfo,
    command_line,
    list_processes,
    read_process,
)

State = t.Dict[str, t.Any]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_MOST_CONNECTIONS = 500
_MOST_CALLERS = 200
_SOCKET = "socket:["
_LISTEN = "LISTEN"


def parse_networks(values: t.Sequence[str], setting: str) -> t.List[Network]:
    """Networks or single addresses.

    :raises BadInput: one of them is neither.
    """
    found: t.List[Network] = []
    for value in values:
        try:
            found.append(ipaddress.ip_network(value))
        except ValueError:
            raise BadInput("%s: %r is no network and no address" % (setting, value), "write 10.1.0.0/16") from None
    return found


def is_known(address: str, known: t.Sequence[Network]) -> bool:
    """The address lies in one of the networks; one of IPv6 that wraps one of IPv4 counts as that."""
    parsed = ipaddress.ip_address(address.strip("[]"))
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in known)


@dataclass(frozen=True)
class ServiceProcess:
    """A process of the service.

    :param of_unit: its manager knows it; otherwise it came out of the service's directories and went its own way.
    """

    process: ProcessInfo
    of_unit: bool


def processes_of(main_pids: t.Sequence[int], directories: t.Sequence[str]) -> t.List[ServiceProcess]:
    """The units' processes, all that came out of them, and whatever runs from the directories."""
    found = {each.pid: ServiceProcess(each, True) for each in with_descendants(main_pids)}
    own = _own_ancestors()
    for process in list_processes():
        if process.pid not in found and process.pid not in own and _runs_from(process.pid, directories):
            found[process.pid] = ServiceProcess(process, False)
    return list(found.values())


def _own_ancestors() -> t.Set[int]:
    """This very process and those that started it: they name the directories in their arguments."""
    found: t.Set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        process = read_process(pid)
        pid = process.ppid if process is not None else 0
    return found


def _runs_from(pid: int, directories: t.Sequence[str]) -> bool:
    """Its program or script lies below one of the directories."""
    try:
        program = os.readlink("/proc/%d/exe" % pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        program = ""
    # The script of an interpreter is among the first arguments; a path further behind is only spoken about.
    places = [program, *command_line(pid)[:3]]
    return any(place.startswith(directory.rstrip("/") + "/") for place in places for directory in directories)


def foreign_connections(processes: t.Sequence[ServiceProcess], known: t.Sequence[Network]) -> t.List[State]:
    """The service's TCP connections whose other end is in none of the networks."""
    holders: t.Dict[str, ServiceProcess] = {}
    for each in processes:
        for target in open_files(each.process.pid):
            if target.startswith(_SOCKET):
                holders[target[len(_SOCKET) : -1]] = each
    found: t.List[State] = []
    for name in ("tcp", "tcp6"):
        for fields in socket_lines("/proc/net/" + name):
            state = TCP_STATES.get(fields[3], fields[3])
            holder = holders.get(fields[9])
            if holder is None or state == _LISTEN:
                continue
            address, _colon, port = endpoint(fields[2]).rpartition(":")
            if is_known(address, known):
                continue
            found.append(
                {
                    "address": address.strip("[]"),
                    "port": int(port),
                    "state": state,
                    "pid": holder.process.pid,
                    "of_unit": holder.of_unit,
                }
            )
            if len(found) >= _MOST_CONNECTIONS:
                return found
    return found


def foreign_callers(
    path: str, known: t.Sequence[Network], since: float, most_bytes: int, names: t.Mapping[str, str]
) -> t.List[State]:
    """Users who were answered lately at addresses in none of the networks, out of an access log of JSON lines.

    :param since: Unix seconds.
    :param names: the log's own names of time, subject, client and status.
    """
    callers: t.Dict[t.Tuple[str, str], State] = {}
    for line in _last_lines(path, most_bytes):
        subject, client = str(line.get(names["subject"]) or ""), str(line.get(names["client"]) or "")
        at = _unix_time(str(line.get(names["time"], "")))
        if not subject or not client or at < since or not 200 <= int(line.get(names["status"]) or 0) < 300:
            continue
        # Behind several gateways the first one is who asked.
        client = client.split(",", 1)[0].strip()
        try:
            if is_known(client, known):
                continue
        except ValueError:
            continue
        caller = callers.setdefault(
            (subject, client), {"subject": subject, "address": client, "requests": 0, "first": at, "last": at}
        )
        caller["requests"] += 1
        caller["last"] = at
        if len(callers) >= _MOST_CALLERS:
            break
    return sorted(callers.values(), key=lambda each: -each["requests"])


def _last_lines(path: str, most_bytes: int) -> t.Iterator[State]:
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - most_bytes))
        content = stream.read(most_bytes)
    # The first line may be cut, the last one half written.
    for line in content.split(b"\n")[1 if size > most_bytes else 0 : -1]:
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            yield parsed


def _unix_time(text: str) -> float:
    """Of `2026-01-31T14:00:00.123Z`; 0 when it is something else."""
    try:
        moment = text.rstrip("Z").split(".")
        seconds = calendar.timegm((*(int(part) for part in _parts(moment[0])), 0, 0, 0))
    except ValueError:
        return 0.0
    return seconds + float("0." + moment[1] if len(moment) > 1 and moment[1].isdigit() else 0)


def _parts(text: str) -> t.List[str]:
    date, _t, clock = text.partition("T")
    parts = date.split("-") + clock.split(":")
    if len(parts) != 6:
        raise ValueError(text)
    return parts
