#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps entries in a pattern file of HAProxy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_acl
short_description: Put entries into a pattern file of HAProxy or take them out, at run time and over restarts
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - HAProxy reads a pattern file, such as C(acl blocked path_beg -f FILE), when it starts. This adds entries over the
    runtime socket, where they count for the next request, and writes them into the file, where a restart finds them.
  - Which requests an entry refuses is up to the configuration that uses the file.
options:
  socket:
    description: Path of HAProxy's stats socket. It needs C(level admin).
    type: path
    required: true
  file:
    description: The pattern file, as the configuration names it.
    type: path
    required: true
  entries:
    description: Paths or addresses, without blanks.
    type: list
    elements: str
    required: true
  state:
    description: Whether the entries are to be there.
    type: str
    choices: [present, absent]
    default: present
  timeout:
    description: Seconds for everything together.
    type: float
    default: 10.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.step
seealso:
  - module: codeblue.recovery.haproxy_server
"""

EXAMPLES = r"""
- name: See what refusing a path at the gateway would change
  codeblue.recovery.haproxy_acl:
    socket: /run/haproxy/admin.sock
    file: /etc/haproxy/blocked_paths
    entries: [/patients]
  check_mode: true
"""

RETURN = r"""
before:
  description: Which of the entries the running HAProxy and the file had.
  returned: success
  type: dict
  sample: {running: [], file: []}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {running: [/patients], file: [/patients]}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: lines, path: /etc/haproxy/blocked_paths, value: {/patients: true}}]
reconcilers:
  description: Who else keeps what was changed and is only told of. In check mode also who would be suspended or asked.
  returned: when there is one
  type: list
  elements: dict
  sample: [{name: puppet, treatment: suspend, about: [/etc/records/config.json], evidence: its agent runs,
            undo: puppet agent --enable, advice: null}]
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import lines_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_MOST_ENTRIES = 1000
_LONGEST_ENTRY = 500
_LARGEST_FILE = 16 * 1024 * 1024


class PatternFile:
    """One pattern file and what the running HAProxy has of it."""

    def __init__(self, runtime: HaproxyRuntime, path: str) -> None:
        self._runtime = runtime
        self.path = path

    def running(self) -> t.Set[str]:
        """The entries at run time: lines of an address and the entry.

        :raises CodeblueError: HAProxy does not use the file.
        """
        answer = self._runtime.ask("show acl %s" % self.path)
        if "nknown ACL" in answer or "issing ACL" in answer:
            raise CodeblueError(
                "HAProxy does not use the pattern file %s" % self.path,
                "its configuration needs an acl with -f %s" % self.path,
            )
        return {line.split(" ", 1)[1].strip() for line in answer.splitlines() if line.startswith("0x") and " " in line}

    def lines(self) -> t.List[str]:
        """What is in the file, comments too."""
        if os.path.getsize(self.path) > _LARGEST_FILE:
            raise CodeblueError("%s is larger than %d bytes" % (self.path, _LARGEST_FILE))
        with open(self.path, encoding="utf-8") as stream:
            return stream.read().splitlines()

    def add(self, entry: str) -> None:
        """At run time."""
        self._runtime.command("add acl %s %s" % (self.path, entry))

    def remove(self, entry: str) -> None:
        """At run time."""
        self._runtime.command("del acl %s %s" % (self.path, entry))

    def write(self, lines: t.Sequence[str]) -> None:
        """Replace the file; owner and mode stay."""
        status = os.stat(self.path)
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        write_file(self.path, "".join(line + "\n" for line in lines).encode(), status.st_mode & 0o777, owner)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Bring file and run time to the wanted state."""
    entries = sorted({_checked(entry) for entry in params["entries"]})
    if len(entries) > _MOST_ENTRIES:
        raise BadInput("more than %d entries are given" % _MOST_ENTRIES)
    patterns = PatternFile(HaproxyRuntime(params["socket"], Deadline(params["timeout"])), params["file"])
    wanted = params["state"] == "present"
    running, lines = patterns.running(), patterns.lines()
    before = _describe(entries, running, lines)
    changed = any((entry in running) != wanted or (entry in lines) != wanted for entry in entries)
    if context.check_mode or not changed:
        after = {"running": entries if wanted else [], "file": entries if wanted else []} if changed else before
        return StepOutcome(changed, before, after)
    context.accept(before)
    # At run time first: that is what closes the way, and the file is not read before the next start.
    for entry in entries:
        if wanted and entry not in running:
            patterns.add(entry)
        elif not wanted and entry in running:
            patterns.remove(entry)
    kept = [line for line in lines if line not in entries]
    patterns.write(kept + (entries if wanted else []))
    after = _describe(entries, patterns.running(), patterns.lines())
    if after["running"] != (entries if wanted else []):
        raise CodeblueError("HAProxy took the change of %s and does not show it" % params["file"])
    return StepOutcome(True, before, after)


def _describe(entries: t.Sequence[str], running: t.Set[str], lines: t.Sequence[str]) -> t.Dict[str, t.Any]:
    return {
        "running": [entry for entry in entries if entry in running],
        "file": [entry for entry in entries if entry in lines],
    }


def _checked(entry: str) -> str:
    # The socket divides its words by blanks and its commands by semicolons; # begins a comment in the file.
    if not 0 < len(entry) <= _LONGEST_ENTRY or any(character in " ;\\\n\r\t#" for character in entry):
        raise BadInput("%r cannot be an entry of a pattern file" % entry[:80], "no blanks, semicolons or backslashes")
    return entry


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "socket": {"type": "path", "required": True},
            "file": {"type": "path", "required": True},
            "entries": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        touches=lambda params: Touched(files=(params["file"],)),
        leaves=lambda params: [lines_left(params["file"], params["entries"], params["state"] == "present")],
    )


if __name__ == "__main__":
    main()
