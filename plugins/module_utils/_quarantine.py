# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service's quarantine on one machine: its note, its rules over a reload, and the way back of whoever made it.

<record directory>/<name>.json   what was closed and what is to be undone; written before the first rule
<nftables directory>/codeblue-<table>.nft   the rules, where the machine's own configuration includes a directory
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import is_known
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Closed
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import read_process

State = t.Dict[str, t.Any]

_INCLUDE = re.compile(r"""^\s*include\s+["']([^"']+\*[^"']*)["']""")
_LARGEST_NOTE = 1024 * 1024


@dataclass(frozen=True)
class Note:
    """What is written down on the machine.

    :param table: of nftables.
    :param rules: as they were loaded.
    :param persisted_in: the file that brings them back after a reload; None when there is none.
    :param confirmed: somebody came in again after they were loaded; until then they go by themselves.
    :param notes: of whoever made the quarantine, for its release.
    :param lasting: the part of the rules that is true after a restart too; empty in a note of an earlier version.
    """

    table: str
    rules: str
    persisted_in: t.Optional[str] = None
    confirmed: bool = False
    notes: State = field(default_factory=dict)
    lasting: str = ""


def table_name(name: str, record_directory: str) -> str:
    """The same for one service on one machine, and another one for every other."""
    plain = re.sub(r"[^A-Za-z0-9]", "_", name)[:40]
    return "codeblue_%s_%s" % (plain, hashlib.sha256(("%s/%s" % (record_directory, name)).encode()).hexdigest()[:8])


class NoteFile:
    """The note on disk."""

    def __init__(self, directory: str, name: str) -> None:
        self.path = os.path.join(directory, "%s.json" % re.sub(r"[^A-Za-z0-9_.-]", "_", name))

    def read(self) -> t.Optional[Note]:
        """None when there is no quarantine."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                return Note(**json.loads(stream.read(_LARGEST_NOTE)))
        except FileNotFoundError:
            return None

    def write(self, note: Note) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        write_file(self.path, (json.dumps(vars(note), sort_keys=True) + "\n").encode(), 0o600)

    def remove(self) -> None:
        if os.path.exists(self.path):
            os.unlink(self.path)


def persistence(configuration: str, table: str) -> t.Tuple[t.Optional[str], str]:
    """Where rules have to lie so that a reload of the machine's configuration brings them back.

    :returns: the file, or None and why there is none.
    """
    try:
        with open(configuration, encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_LARGEST_NOTE).splitlines()
    except OSError as error:
        return None, "%s: %s" % (configuration, error.strerror)
    for line in lines:
        found = _INCLUDE.match(line)
        if not found:
            continue
        pattern = os.path.join(os.path.dirname(configuration), found.group(1))
        directory = os.path.dirname(pattern)
        file = os.path.join(directory, "codeblue-%s.nft" % table)
        # Only what the pattern really matches is read at a reload.
        if os.path.isdir(directory) and not glob.has_magic(directory) and _matches(file, pattern):
            return file, ""
    return None, '%s includes no directory of rules; add: include "/etc/nftables.d/*.nft"' % configuration


def _matches(file: str, pattern: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(os.path.basename(file), os.path.basename(pattern))


def operator_connection() -> t.Optional[t.Tuple[str, int]]:
    """Address of whoever controls this process over SSH, and the port that they came in by; None without SSH.

    Found at the processes above this one: sudo hides the variable from it.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open("/proc/%d/environ" % pid, "rb") as stream:
                variables = stream.read(_LARGEST_NOTE).split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        for variable in variables:
            if variable.startswith(b"SSH_CONNECTION="):
                parts = variable.split(b"=", 1)[1].decode("ascii", "replace").split()
                if len(parts) == 4 and parts[3].isdigit():
                    return parts[0], int(parts[3])
        process = read_process(pid)
        pid = process.ppid if process is not None else 0
    return None


def refuse_to_lock_out(closed: Closed, management_ports: t.Sequence[int]) -> None:
    """Look at the rules with the eyes of whoever is about to load them.

    :raises Refused: they would close the operators' way in.
    :raises BadInput: they would close what the machine itself cannot do without.
    """
    if closed.empty:
        raise BadInput("nothing is to be closed", "name ports, users, control_groups or peers")
    if 0 in closed.users:
        raise BadInput("users: root cannot be put into quarantine", "give the service a user of its own")
    for port in management_ports:
        if port in closed.ports:
            raise Refused(
                "port %d is the operators' way in: nothing was changed" % port, "leave it out of the ports to be closed"
            )
    operator = operator_connection()
    if operator is None:
        return
    address, port = operator
    if is_known(address, closed.management):
        return
    if port in closed.ports or is_known(address, closed.peers):
        raise Refused(
            "this would cut off the connection from %s to port %d that it is made over: nothing was changed"
            % (address, port),
            "add the address to management, or come in another way",
        )


# Waits, and takes everything back unless somebody has confirmed meanwhile. Knows nothing but its arguments: what
# started it may be gone by then.
_TAKE_BACK = """
import json, os, subprocess, sys, time
seconds, nft, table, note = float(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
end = time.monotonic() + seconds
while time.monotonic() < end:
    time.sleep(0.2)
    try:
        with open(note) as stream:
            kept = json.load(stream)
    except OSError:
        sys.exit(0)
    if kept["confirmed"] or kept["table"] != table:
        sys.exit(0)
subprocess.run([nft, "delete", "table", "inet", table], stdin=subprocess.DEVNULL)
if kept["persisted_in"] and os.path.exists(kept["persisted_in"]):
    os.unlink(kept["persisted_in"])
os.unlink(note)
"""


def take_back_unless_confirmed(seconds: float, nft: str, table: str, note_path: str) -> None:
    """Start a process that outlives this one and removes the rules after `seconds` without a confirmation."""
    subprocess.Popen(
        [sys.executable, "-c", _TAKE_BACK, str(seconds), nft, table, note_path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        close_fds=True,
    )
