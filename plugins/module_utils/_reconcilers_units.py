# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who starts a unit again that was stopped: monit, tables of cron, static pods.

What systemd itself would start again (sockets, paths, timers, a restart of the machine) is held by the unit's own
`hold`. A stop is never refused: it is wanted most when something is wrong, and what starts it again is told.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import SUSPEND, TELL, Machine, Reconciler
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_configuration import cron_lines

MONIT_TOOLS = ("/usr/bin/monit", "/usr/sbin/monit", "/usr/local/bin/monit")
_MONIT_FILES = ("/etc/monitrc", "/etc/monit.conf", "/etc/monit/monitrc")
_MONIT_DIRECTORIES = ("/etc/monit/conf-enabled", "/etc/monit/conf.d", "/etc/monit.d")
#: Begins the name of a reconciler that is one check of monit.
MONIT = "monit check "
_CHECK = re.compile(r"^\s*check\s+(?:process|program)\s+[\"']?([A-Za-z0-9_.@:-]+)", re.IGNORECASE | re.MULTILINE)
_STARTS = re.compile(r"\b(start|restart|systemctl|supervisorctl|service)\b")
_MANIFESTS = "/etc/kubernetes/manifests"


def restarters(unit: str, manager: str, machine: Machine) -> t.List[Reconciler]:
    """Who would start this unit again.

    :param manager: `systemd` or `supervisor`. A unit of systemd is masked, and cron cannot start it then.
    """
    found = [*_monit(unit, machine), *_static_pods(unit, machine)]
    if manager == "supervisor":
        found += _cron(unit, machine)
    return found


def monit_check(unit: str, machine: Machine) -> t.Optional[str]:
    """The name of monit's check that starts this unit, or None."""
    places = [*_MONIT_FILES, *(path for directory in _MONIT_DIRECTORIES for path in machine.files_in(directory))]
    for place in places:
        text = machine.read(place)
        starts = [match.start() for match in _CHECK.finditer(text)]
        for begin, end in zip(starts, [*starts[1:], len(text)]):  # noqa: B905 - Python 3.8
            section = text[begin:end]
            name = _CHECK.match(section)
            if name and _mentions(section, unit):
                return name.group(1)
    return None


def _monit(unit: str, machine: Machine) -> t.List[Reconciler]:
    if not machine.runs(("monit",)):
        return []
    check = monit_check(unit, machine)
    if check is None:
        return []
    if not monit_watches(check, machine):
        return []
    undo = "monit monitor %s" % check if machine.tool(MONIT_TOOLS) else None
    evidence = "monit runs, and its check %s starts it" % check
    advice = "by hand: monit unmonitor %s" % check
    return [Reconciler(MONIT + check, SUSPEND if undo else TELL, (unit,), evidence, undo, advice)]


def monit_watches(check: str, machine: Machine) -> bool:
    """The check is at work. One that monit says nothing about is taken for it."""
    tool = machine.tool(MONIT_TOOLS)
    if not machine.runs(("monit",)) or tool is None:
        return bool(machine.runs(("monit",)))
    from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
    from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

    said = run_command([tool, "summary", "-B"], Deadline(5.0)).stdout
    lines = [line for line in said.splitlines() if check in line.split()]
    return not any("not monitored" in line.lower() for line in lines)


def _cron(unit: str, machine: Machine) -> t.List[Reconciler]:
    for line, place in cron_lines(machine):
        if _mentions(line, unit) and _STARTS.search(line):
            return [Reconciler("cron", TELL, (unit,), "%s starts it" % place, advice="take it out of %s" % place)]
    return []


def _static_pods(unit: str, machine: Machine) -> t.List[Reconciler]:
    if not machine.runs(("kubelet",)):
        return []
    for place in machine.files_in(_MANIFESTS):
        if _mentions(machine.read(place), unit):
            advice = "move %s out of %s" % (place, _MANIFESTS)
            return [Reconciler("kubelet", TELL, (unit,), "%s names it" % place, advice=advice)]
    return []


def _mentions(text: str, unit: str) -> bool:
    name = unit[: -len(".service")] if unit.endswith(".service") else unit
    return re.search(r"(?<![A-Za-z0-9_-])%s(?![A-Za-z0-9_-])" % re.escape(name), text) is not None
