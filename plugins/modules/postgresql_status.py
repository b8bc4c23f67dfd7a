#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at one PostgreSQL member whole."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_status
short_description: Look at a PostgreSQL member whole, within a fixed time
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks at the unit of the process manager, the processes, the port, SQL and, when SQL is silent, at the files.
  - Never waits longer than O(timeout), also when the server was stopped by a signal or its disk is gone.
  - Changes nothing.
options:
  service_roles:
    description: Roles of the service itself. Their sessions are marked in RV(sessions).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for everything together. Parts that do not fit are left out and say so.
    type: float
    default: 3.0
  count_commits_after:
    description:
      - A position in the log such as V(0/16EF458), usually how far a standby has received.
      - When SQL is silent, the transactions on this disk that were committed after it are counted.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.postgresql.member
  - codeblue.recovery.process
"""

EXAMPLES = r"""
- name: Look at the primary
  codeblue.recovery.postgresql_status:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    data_dir: /var/lib/postgresql/18/main
    config_file: /etc/postgresql/18/main/postgresql.conf
    process: {manager: systemd, unit: postgresql@18-main}
    service_roles: [records_app, auth_app]
"""

RETURN = r"""
role:
  description: V(primary), V(standby) or V(unknown). From SQL, else what the files would make it start as.
  returned: success
  type: str
  sample: primary
process:
  description: The unit as its process manager sees it. V(null) without O(process).
  returned: success
  type: dict
  sample: {state: running, manager_state: RUNNING, pid: 6080, started_at: 1795225858.2, error: null}
postmaster:
  description: The server's first process by its pid file and the kernel. State C(T) is stopped by a signal.
  returned: success
  type: dict
  sample: {alive: true, pid: 6080, state: S, stopped_by_signal: false, pid_file: agrees}
port_open:
  description: The port takes TCP connections, by whichever process.
  returned: success
  type: bool
sql:
  description: Whether SQL answers, and if not, of which kind the failure is.
  returned: success
  type: dict
  sample: {answers: false, kind: refused, error: "connection refused", seconds: 0.01}
in_recovery:
  description: The server says that it is a standby. V(null) when SQL is silent.
  returned: success
  type: bool
system_identifier:
  description: Of the cluster; the same on a primary and its standbys.
  returned: when it can be read
  type: str
  sample: "7710436348559800248"
timeline:
  description: Of the log that is written or received; from the control file when SQL is silent.
  returned: when it can be read
  type: int
  sample: 1
wal:
  description: Positions in the log, C(current_lsn) on a primary, C(received_lsn) and C(replayed_lsn) on a standby.
  returned: when SQL answers
  type: dict
  sample: {current_lsn: 0/5000148, flush_lsn: 0/5000148}
replication:
  description: Standbys that stream from this member.
  returned: when SQL answers
  type: list
  elements: dict
  sample: [{name: db2, state: streaming, sync_state: async, flush_lsn: 0/5000148}]
slots:
  description: Replication slots.
  returned: when SQL answers
  type: list
  elements: dict
sessions:
  description: Client sessions counted by user, application and state, the largest groups first.
  returned: when SQL answers
  type: list
  elements: dict
  sample: [{user: report, application_name: report, state: idle in transaction, count: 90, service_role: false,
            longest_seconds_in_state: 12.5}]
blocked:
  description: Sessions that wait for a lock, and who holds it.
  returned: when SQL answers
  type: list
  elements: dict
connections:
  description: How many sessions the server allows, how many are used, and how many are left for services.
  returned: when SQL answers
  type: dict
  sample: {maximum: 100, reserved: 3, used: 12, free_for_services: 86}
synchronous_standby_names:
  description: Standbys that a commit waits for.
  returned: when SQL answers
  type: str
archive_mode:
  description: V(on), V(off) or V(always).
  returned: when SQL answers
  type: str
read_only_databases:
  description: Databases whose transactions are read only by default.
  returned: when SQL answers
  type: list
  elements: str
control:
  description: The control file.
  returned: when SQL is silent
  type: dict
  sample: {readable: true, state: in production, clean: false, checkpoint_lsn: 0/173F140, timeline: 1}
wal_on_disk:
  description: End of the log on this disk and, with O(count_commits_after), the commits after that position.
  returned: when SQL is silent
  type: dict
  sample: {lsn: 0/5000148, commits_after: 3, error: null}
signal_files:
  description: Files that make the server start as a standby or in recovery.
  returned: when SQL is silent
  type: list
  elements: str
config_files:
  description: Configuration files.
  returned: success
  type: list
  elements: str
managed_by:
  description: A cluster manager that decides about this member by itself, such as V(patroni).
  returned: success
  type: str
seconds:
  description: How long the look took.
  returned: success
  type: float
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import member_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_status import look_at_member
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Look once."""
    return look_at_member(
        member=Member.from_params(params),
        unit=process_unit(params["process"]) if params["process"] else None,
        service_roles=params["service_roles"],
        total_seconds=params["timeout"],
        count_commits_after=params["count_commits_after"],
    )


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            **member_arguments(process_required=False),
            "service_roles": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 3.0},
            "count_commits_after": {"type": "str"},
        },
        look,
    )


if __name__ == "__main__":
    main()
