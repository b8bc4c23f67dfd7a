# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cluster managers of PostgreSQL: programs that decide by themselves which member is the primary.

A promotion behind their back makes two of them, and what is stopped they start again. They are never suspended from
here: each can do what is wanted itself, and knows more than this machine does.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import REFUSE, Machine, Reconciler

_PROGRAMS = {
    "patroni": "patroni",
    "pacemakerd": "pacemaker",
    "pacemaker-execd": "pacemaker",
    "repmgrd": "repmgr",
    "pg_autoctl": "pg_auto_failover",
    "stolon-keeper": "stolon",
}
#: Files in a data directory that only such a manager makes. A server that it has stopped comes back by it.
_MARKS = {"patroni.dynamic.json": "patroni"}
#: What each is asked instead, and how a person takes it out of service.
_INSTEAD = {
    "patroni": (
        "ask it: patronictl failover, switchover, restart or reinit; without it: patronictl pause --wait, stop patroni "
        "on every member, move patroni.dynamic.json out of the data directories, run again"
    ),
    "pacemaker": (
        "ask it: crm_resource --move or --restart; without it: pcs property set maintenance-mode=true, stop pacemaker "
        "on every member, run again"
    ),
    "repmgr": (
        "ask it: repmgr standby switchover, standby promote or node rejoin; without it: repmgr service pause, stop "
        "repmgrd on every member, run again"
    ),
    "pg_auto_failover": (
        "ask it: pg_autoctl perform failover or switchover; without it: pg_autoctl enable maintenance, stop pg_autoctl "
        "on every member, run again"
    ),
    "stolon": (
        "ask it: stolonctl failkeeper; without it: stop stolon-sentinel and stolon-keeper on every member, run again"
    ),
}


def manager_of(data_dir: t.Optional[str], machine: Machine) -> t.Optional[t.Tuple[str, str]]:
    """The manager that decides about a member and what was seen of it, or None.

    :param data_dir: None or empty when it is not known.
    """
    for name, manager in _MARKS.items():
        if data_dir and os.path.exists(os.path.join(data_dir, name)):
            return manager, "%s is in the data directory" % name
    program = machine.runs(_PROGRAMS)
    return None if program is None else (_PROGRAMS[program], "%s runs" % program)


def cluster_managers(data_dir: str, machine: Machine) -> t.List[Reconciler]:
    """Who decides about this member."""
    found = manager_of(data_dir, machine)
    if found is None:
        return []
    name, evidence = found
    return [Reconciler(name, REFUSE, (data_dir or "this database",), evidence, advice=_INSTEAD[name])]


def ask_instead(manager: str) -> t.Optional[str]:
    """What a person asks the manager."""
    return _INSTEAD.get(manager)
