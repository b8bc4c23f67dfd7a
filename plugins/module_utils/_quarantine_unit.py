# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A unit of systemd that brings a quarantine's rules back, where the machine's own configuration reads none of others.

It starts before the network does, as nftables.service, and again whenever that one is restarted or reloaded. It is
made only when the rules are confirmed, so that a restart of the machine still opens a way in that was cut.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

UNIT_DIRECTORY = "/etc/systemd/system"
_RUNS = "/run/systemd/system"
_UNIT = """# Made by codeblue.recovery; removed with the quarantine that it keeps.
[Unit]
Description=codeblue.recovery: quarantine {table}
DefaultDependencies=no
RequiresMountsFor={rules}
Wants=network-pre.target
After=nftables.service firewalld.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {rules}
ExecReload={nft} -f {rules}

[Install]
WantedBy=sysinit.target nftables.service
"""


class QuarantineUnit:
    """The unit of one table.

    :param rules: the file that it loads.
    :param directory: of unit files; another one in tests.
    :param systemctl: found on the usual path; given in tests.
    """

    def __init__(self, table: str, rules: str, directory: str = UNIT_DIRECTORY, systemctl: str = "systemctl") -> None:
        self.name = "codeblue-quarantine-%s.service" % table
        self.rules = rules
        self._table = table
        self._path = os.path.join(directory, self.name)
        self._systemctl = systemctl

    @staticmethod
    def possible() -> bool:
        """systemd runs this machine."""
        return os.path.isdir(_RUNS)

    def write_rules(self, text: str) -> None:
        """What is loaded takes the place of what is there, in one transaction.

        :param text: the table, without the line that removes an earlier one.
        """
        content = "table inet %s\ndelete table inet %s\n%s" % (self._table, self._table, text)
        write_file(self.rules, content.encode(), 0o600)

    def install(self, nft: str, deadline: Deadline) -> None:
        """Write, enable and start it.

        :raises CodeblueError: systemd does not take it.
        """
        write_file(self._path, _UNIT.format(table=self._table, rules=self.rules, nft=nft).encode(), 0o644)
        self._ask(deadline, "daemon-reload")
        self._ask(deadline, "enable", "--now", self.name)

    def holds(self, text: str) -> bool:
        """The unit is there and loads these rules."""
        try:
            with open(self.rules, encoding="utf-8") as stream:
                return os.path.exists(self._path) and stream.read().endswith(text)
        except FileNotFoundError:
            return False

    def remove(self, deadline: Deadline) -> None:
        """Disable and remove it with its rules; what is loaded stays.

        :raises CodeblueError: systemd does not take it.
        """
        if os.path.exists(self._path):
            self._ask(deadline, "disable", "--now", self.name)
            os.unlink(self._path)
            sync_directory(os.path.dirname(self._path))
            self._ask(deadline, "daemon-reload")
        if os.path.exists(self.rules):
            os.unlink(self.rules)

    def _ask(self, deadline: Deadline, *arguments: str) -> None:
        answer = run_command([self._systemctl, "--no-ask-password", *arguments], deadline)
        if not answer.ok:
            raise CodeblueError(answer.complaint(), "systemctl status %s says more" % self.name)


def rules_file(note_path: str) -> str:
    """Beside the note."""
    return os.path.splitext(note_path)[0] + ".nft"


def unit_of(note_path: str, table: str) -> t.Optional[QuarantineUnit]:
    """The unit of a table on a machine of systemd; None on another one."""
    return QuarantineUnit(table, rules_file(note_path)) if QuarantineUnit.possible() else None
