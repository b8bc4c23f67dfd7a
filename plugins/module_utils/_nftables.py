# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A table of nftables of our own: it takes effect and goes as a whole, and no other table is touched.

An accept in another table does not defeat it: a packet passes only when no table drops it.
"""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import Network
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_connection import MARK
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command

_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")
# Behind connection tracking (-200), before the filters of others (0).
_PRIORITY = -10
_LARGEST_RULESET = 2_000_000


@dataclass(frozen=True)
class Closed:
    """What a quarantine closes, and what stays open.

    :param ports: TCP ports of this machine that nobody reaches any more.
    :param users: numbers of users whose processes reach nobody any more.
    :param control_groups: of version 2, relative to their root; the same for their processes.
    :param peers: nobody on this machine speaks with these any more, in either direction.
    :param allowed: what the users and control groups may still reach.
    :param management: whoever comes from here is let through, whatever else is closed.
    """

    ports: t.Tuple[int, ...] = ()
    users: t.Tuple[int, ...] = ()
    control_groups: t.Tuple[str, ...] = ()
    peers: t.Tuple[Network, ...] = ()
    allowed: t.Tuple[Network, ...] = ()
    management: t.Tuple[Network, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing would be closed."""
        return not (self.ports or self.users or self.control_groups or self.peers)


def rules(table: str, closed: Closed) -> str:
    """The table as `nft -f` reads it, without the line that removes an earlier one.

    TCP is reset rather than dropped, so that sessions that existed before end at their next packet.
    """
    body = _chain("input", closed, incoming=True) + _chain("output", closed, incoming=False)
    comment = "codeblue.recovery %s" % hashlib.sha256(body.encode()).hexdigest()[:16]
    return 'table inet %s {\n  comment "%s"\n%s}\n' % (table, comment, body)


def _chain(hook: str, closed: Closed, incoming: bool) -> str:
    lines = ["type filter hook %s priority %d; policy accept;" % (hook, _PRIORITY)]
    # The recovery's own probes, and the answers to them.
    lines.append("meta mark 0x%08x ct mark set meta mark accept" % MARK)
    lines.append("ct mark 0x%08x accept" % MARK)
    # The resets that these very rules send; they carry nothing.
    lines.append("tcp flags & rst == rst accept")
    side = "saddr" if incoming else "daddr"
    lines += ["%s accept" % _addresses(side, networks) for networks in _by_family(closed.management)]
    for networks in _by_family(closed.peers):
        lines += _refuse(_addresses(side, networks))
    if closed.ports:
        lines += _refuse_tcp("tcp %s { %s }" % ("dport" if incoming else "sport", _join(closed.ports)))
    if not incoming:
        whose = ["meta skuid { %s }" % _join(closed.users)] if closed.users else []
        whose += ['socket cgroupv2 level %d "%s"' % (group.count("/") + 1, group) for group in closed.control_groups]
        for who in whose:
            lines += ["%s %s accept" % (who, _addresses(side, networks)) for networks in _by_family(closed.allowed)]
            lines += _refuse(who)
    return "  chain %s {\n%s  }\n" % (hook, "".join("    %s\n" % line for line in lines))


def _refuse(match: str) -> t.List[str]:
    return [*_refuse_tcp("%s meta l4proto tcp" % match), "%s counter drop" % match]


def _refuse_tcp(match: str) -> t.List[str]:
    return ["%s counter reject with tcp reset" % match]


def _by_family(networks: t.Sequence[Network]) -> t.List[t.List[Network]]:
    families = [[each for each in networks if each.version == version] for version in (4, 6)]
    return [family for family in families if family]


def _addresses(side: str, networks: t.Sequence[Network]) -> str:
    return "%s %s { %s }" % ("ip" if networks[0].version == 4 else "ip6", side, _join(networks))


def _join(values: t.Sequence[t.Any]) -> str:
    return ", ".join(str(value) for value in values)


class Nftables:
    """The machine's nftables.

    :param deadline: for all calls together.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._nft = next((place for place in _PLACES if os.access(place, os.X_OK)), None)

    @property
    def program(self) -> str:
        """Path of nft."""
        return self._nft or "nft"

    def unusable(self) -> t.Optional[str]:
        """Why nothing can be filtered here; None when it can."""
        if self._nft is None:
            return "nft is not installed"
        if os.geteuid() != 0:
            return "only root may filter, and this is user %d" % os.geteuid()
        answer = self._run("list", "tables")
        return None if answer.ok else answer.complaint()

    def comment_of(self, table: str) -> t.Optional[str]:
        """What the table says of itself, empty when it says nothing; None when there is no such table."""
        answer = self._run("-j", "list", "tables", "inet")
        if not answer.ok:
            raise CodeblueError(answer.complaint())
        for entry in json.loads(answer.stdout)["nftables"]:
            found = entry.get("table")
            if found and found["name"] == table:
                # Only the table's own listing has the comment.
                own = self._run("list", "table", "inet", table)
                marks = [line.split('"')[1] for line in own.stdout.splitlines() if line.strip().startswith('comment "')]
                return marks[0] if marks else ""
        return None

    def ruleset(self) -> str:
        """All rules of the machine as `nft -f` reads them, without their counters.

        :raises CodeblueError: they cannot be listed, or are more than 2 MB.
        """
        answer = run_command([self.program, "-s", "list", "ruleset"], self._deadline, output_limit=_LARGEST_RULESET)
        if not answer.ok:
            raise CodeblueError(answer.complaint())
        if answer.truncated:
            raise CodeblueError("nftables has more than %d MB of rules" % (_LARGEST_RULESET // 1_000_000))
        return answer.stdout

    def load(self, table: str, text: str) -> None:
        """Put the table there in place of an earlier one, in one transaction.

        :raises CodeblueError: nft does not take it; then nothing was changed.
        """
        # Adding before deleting makes it work whether it is there or not.
        answer = self._run("-f", "-", stdin="table inet %s\ndelete table inet %s\n%s" % (table, table, text))
        if not answer.ok:
            raise CodeblueError(answer.complaint(), "nothing was changed; see: nft list ruleset")

    def check(self, text: str) -> None:
        """Have nft read it without loading it.

        :raises CodeblueError: it does not take it.
        """
        answer = self._run("-c", "-f", "-", stdin=text)
        if not answer.ok:
            raise CodeblueError(answer.complaint(), "nothing was changed")

    def delete(self, table: str) -> None:
        """Remove the table.

        :raises CodeblueError: it cannot be removed.
        """
        answer = self._run("delete", "table", "inet", table)
        if not answer.ok:
            raise CodeblueError(answer.complaint(), "see: nft list ruleset")

    def refused_packets(self, table: str) -> int:
        """How many packets the table has refused so far."""
        answer = self._run("-j", "list", "table", "inet", table)
        if not answer.ok:
            return 0
        rules_seen = [entry["rule"] for entry in json.loads(answer.stdout)["nftables"] if "rule" in entry]
        counters = [part["counter"] for rule in rules_seen for part in rule["expr"] if "counter" in part]
        return sum(int(counter["packets"]) for counter in counters)

    def _run(self, *arguments: str, stdin: t.Optional[str] = None) -> CommandResult:
        return run_command([self.program, *arguments], self._deadline, stdin=stdin)
