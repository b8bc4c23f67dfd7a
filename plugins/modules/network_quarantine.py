#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cuts a service off from the network of its machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: network_quarantine
short_description: Cut a service off from the network by a table of nftables of its own, and give it back exactly
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Loads one table of nftables as a whole. Other tables stay as they are, and their accept rules do not defeat it.
  - TCP is answered with a reset, so that connections that existed before end at their next packet.
  - Refuses rules that would close O(management_ports) or the connection that it is called over. With O(confirm_within)
    the rules go by themselves unless O(state=confirmed) comes in time over a new connection.
  - Writes down on the machine what is to be undone before the first rule, and puts the rules where the machine's own
    configuration brings them back after a reload, or has a unit of C(systemd) do so once they are confirmed.
  - What is closed by O(units) does not come back after a restart of the machine.
  - Where nothing can be filtered, which RV(filtered) says, nothing is changed and the task does not fail.
options:
  name:
    description: What is put into quarantine; a machine may hold several under different names.
    type: str
    required: true
  state:
    description: >-
      V(present) closes, V(confirmed) keeps what was closed for good, V(absent) removes the table and all that came with
      it.
    type: str
    choices: [present, confirmed, absent]
    default: present
  ports:
    description: TCP ports of this machine that nobody reaches any more.
    type: list
    elements: int
    default: []
  users:
    description: Names of users whose processes reach nobody any more. Not root.
    type: list
    elements: str
    default: []
  units:
    description: >-
      Units of systemd whose processes reach nobody any more. Needs control groups of version 2 and a unit that runs;
      RV(not_cut) names those that cannot be told from others. A unit that is restarted gets a new control group.
    type: list
    elements: str
    default: []
  peers:
    description: Networks and addresses with which nobody on this machine speaks any more, in either direction.
    type: list
    elements: str
    default: []
  allowed:
    description: Networks that O(users) and O(units) may still reach.
    type: list
    elements: str
    default: []
  management:
    description: Networks that everything stays open for.
    type: list
    elements: str
    default: []
  management_ports:
    description: Ports by which operators come in. They cannot be closed.
    type: list
    elements: int
    default: [22]
  confirm_within:
    description: Seconds after which the rules go unless they were confirmed, V(0) to keep them at once.
    type: float
    default: 0.0
  notes:
    description: What the release has to know; kept with the rules, without secrets.
    type: dict
    default: {}
  record_directory:
    description: Where it is written down what is to be undone.
    type: path
    default: /var/lib/codeblue/quarantine
  configuration_file:
    description: What the machine's nftables reads when it is reloaded.
    type: path
    default: /etc/nftables.conf
  timeout:
    description: Seconds for everything together.
    type: float
    default: 15.0
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
  - module: codeblue.recovery.service_quarantine
"""

EXAMPLES = r"""
- name: See what cutting off records would change
  codeblue.recovery.network_quarantine:
    name: records
    ports: [8080]
    users: [records]
    management: [10.20.9.0/24]
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether it was in quarantine, by which table, confirmed or not, and where the rules are kept.
  returned: success
  type: dict
  sample: {quarantined: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {quarantined: true, table: codeblue_records_0a1b2c3d, confirmed: true, persisted_in: null}
filtered:
  description: Whether this machine can filter.
  returned: success
  type: bool
  sample: true
not_filtered_because:
  description: Why it cannot.
  returned: success
  type: str
not_persisted_because:
  description: Why a reload of the machine's own rules would lose these.
  returned: success
  type: str
egress:
  description: By what the service's own connections are known, C(units), C(users) or C(peers).
  returned: success
  type: list
  elements: str
  sample: [users]
not_cut:
  description: Unit to why its own connections could not be closed. Its ports and the peers are closed all the same.
  returned: success
  type: dict
  sample: {}
refused_packets:
  description: How many packets the table has refused so far.
  returned: success
  type: int
  sample: 211
notes:
  description: What was given when it was closed.
  returned: success
  type: dict
  sample: {}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: table, table: codeblue_records_0a1b2c3d, value: true}]
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
import pwd
import typing as t
from dataclasses import replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import parse_networks
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import table_left
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Closed, Nftables, rules
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine import (
    Note,
    NoteFile,
    persistence,
    refuse_to_lock_out,
    table_name,
    take_back_unless_confirmed,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine_unit import rules_file, unit_of
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

_CONTROL_GROUPS = "/sys/fs/cgroup/cgroup.controllers"


class Quarantine:
    """One service on this machine."""

    def __init__(self, params: t.Dict[str, t.Any]) -> None:
        self._params = params
        self._deadline = Deadline(params["timeout"])
        self.nftables = Nftables(self._deadline)
        self.table = table_name(params["name"], params["record_directory"])
        self.file = NoteFile(params["record_directory"], params["name"])
        self.unusable = self.nftables.unusable()
        self.not_cut: t.Dict[str, str] = {}

    def perform(self, context: StepContext) -> StepOutcome:
        """Bring it into the wanted state."""
        before = self._state()
        if self.unusable is not None:
            return StepOutcome(False, before, before, self._extra(self.file.read()))
        if self._params["state"] == "absent":
            return self._open(context, before)
        if self._params["state"] == "confirmed":
            return self._confirm(context, before)
        return self._close(context, before)

    def _close(self, context: StepContext, before: t.Dict[str, t.Any]) -> StepOutcome:
        closed = self._closed()
        refuse_to_lock_out(closed, self._params["management_ports"])
        text = rules(self.table, closed)
        self.nftables.check(text)
        kept = self.file.read()
        # A control group is new after a restart of its unit, and a rule with one that is not there would keep the
        # machine's whole configuration from being loaded.
        lasting = replace(closed, control_groups=())
        kept_text = "" if lasting.empty else rules(self.table, lasting)
        place, _reason = self._persistence()
        place = place if kept_text else None
        note = Note(self.table, text, place, self._params["confirm_within"] == 0, self._params["notes"], kept_text)
        if kept is not None:
            # What the release needs is what was found first.
            note = replace(note, notes=kept.notes, confirmed=kept.confirmed and kept.rules == text)
        there = self.nftables.comment_of(self.table) == _comment(text)
        done = there and kept is not None and kept.rules == text and self._holds(note)
        if done or context.check_mode:
            after = before if done else self._described(note)
            return StepOutcome(not done, before, after, self._extra(kept or note))
        context.accept(before)
        self.file.write(note)
        if place is not None and not self._by_unit(note):
            write_file(place, kept_text.encode(), 0o600)
        if not note.confirmed:
            # Before the first rule: whatever happens to this process, the way in comes back.
            take_back_unless_confirmed(
                self._params["confirm_within"], self.nftables.program, self.table, self.file.path
            )
        if not there:
            self.nftables.load(self.table, text)
        self._install(note)
        return StepOutcome(True, before, self._state(), self._extra(note))

    def _confirm(self, context: StepContext, before: t.Dict[str, t.Any]) -> StepOutcome:
        note = self.file.read()
        if note is None or not before["quarantined"]:
            if context.check_mode:
                # It would be there by now.
                return StepOutcome(True, before, {**before, "confirmed": True}, self._extra(note))
            raise CodeblueError(
                "%s is not in quarantine any more: nobody confirmed it in time" % self._params["name"],
                "the way in was cut, or the machine was too slow; everything is as before",
            )
        if note.confirmed or context.check_mode:
            return StepOutcome(not note.confirmed, before, {**before, "confirmed": True}, self._extra(note))
        context.accept(before)
        self.file.write(replace(note, confirmed=True))
        self._install(replace(note, confirmed=True))
        return StepOutcome(True, before, self._state(), self._extra(note))

    def _open(self, context: StepContext, before: t.Dict[str, t.Any]) -> StepOutcome:
        note = self.file.read()
        there = self.nftables.comment_of(self.table) is not None
        if note is None and not there:
            return StepOutcome(False, before, before, self._extra(None))
        if context.check_mode:
            return StepOutcome(True, before, {"quarantined": False}, self._extra(note))
        context.accept(before)
        extra = self._extra(note)
        unit = unit_of(self.file.path, self.table)
        if unit is not None:
            # First: it would bring the table back.
            unit.remove(self._deadline)
        if note is not None and note.persisted_in and os.path.exists(note.persisted_in):
            os.unlink(note.persisted_in)
            sync_directory(os.path.dirname(note.persisted_in))
        if there:
            self.nftables.delete(self.table)
        self.file.remove()
        return StepOutcome(True, before, self._state(), extra)

    def _persistence(self) -> t.Tuple[t.Optional[str], str]:
        """Where the rules lie for a reload and a restart, and why nowhere."""
        place, reason = persistence(self._params["configuration_file"], self.table)
        if place is None and unit_of(self.file.path, self.table) is not None:
            return rules_file(self.file.path), ""
        return place, reason

    def _by_unit(self, note: Note) -> bool:
        return note.persisted_in == rules_file(self.file.path)

    def _install(self, note: Note) -> None:
        """Have a unit bring the rules back, where nothing else does. Not before somebody came in again."""
        unit = unit_of(self.file.path, self.table)
        if unit is None or not note.confirmed or not self._by_unit(note):
            return
        if not unit.holds(note.lasting):
            unit.write_rules(note.lasting)
            unit.install(self.nftables.program, self._deadline)
        # It has loaded what lasts; the rules by control groups go with that.
        if note.lasting != note.rules:
            self.nftables.load(self.table, note.rules)

    def _holds(self, note: Note) -> bool:
        unit = unit_of(self.file.path, self.table)
        if unit is not None and self._by_unit(note):
            return not note.confirmed or unit.holds(note.lasting)
        return _holds(note.persisted_in, note.lasting)

    def _closed(self) -> Closed:
        params = self._params
        return Closed(
            ports=tuple(sorted(set(params["ports"]))),
            users=tuple(sorted({_user_number(name) for name in params["users"]})),
            control_groups=tuple(sorted(group for group in map(self._control_group, params["units"]) if group)),
            peers=tuple(parse_networks(params["peers"], "peers")),
            allowed=tuple(parse_networks(params["allowed"], "allowed")),
            management=tuple(parse_networks(params["management"], "management")),
        )

    def _control_group(self, unit: str) -> t.Optional[str]:
        """None when the unit's connections cannot be told from those of others, which `not_cut` says."""
        if not os.path.exists(_CONTROL_GROUPS):
            self.not_cut[unit] = "this machine has no control groups of version 2; name users instead"
            return None
        shown = run_command(["systemctl", "show", "--property=ControlGroup", "--value", unit], self._deadline)
        group = shown.stdout.strip().strip("/")
        if not shown.ok or not group:
            self.not_cut[unit] = "it does not run" if shown.ok else shown.complaint()
            return None
        return group

    def _state(self) -> t.Dict[str, t.Any]:
        note = self.file.read()
        if self.unusable is not None or self.nftables.comment_of(self.table) is None:
            return {"quarantined": False}
        return self._described(note) if note is not None else {"quarantined": True, "table": self.table}

    def _described(self, note: Note) -> t.Dict[str, t.Any]:
        return {
            "quarantined": True,
            "table": self.table,
            "confirmed": note.confirmed,
            "persisted_in": note.persisted_in,
        }

    def _extra(self, note: t.Optional[Note]) -> t.Dict[str, t.Any]:
        _place, reason = self._persistence()
        params = self._params
        if not reason and note is not None and note.rules and note.lasting != note.rules:
            reason = "a restart of the machine does not bring back what is closed by units; name users instead"
        return {
            "filtered": self.unusable is None,
            "not_filtered_because": self.unusable,
            "not_persisted_because": reason or None,
            "egress": [
                kind
                for kind in ("units", "users", "peers")
                if params[kind] and not (kind == "units" and len(self.not_cut) == len(params[kind]))
            ],
            "not_cut": dict(self.not_cut),
            "refused_packets": 0 if self.unusable is not None else self.nftables.refused_packets(self.table),
            "notes": note.notes if note is not None else {},
        }


def _comment(text: str) -> str:
    return text.split('"')[1]


def _holds(place: t.Optional[str], text: str) -> bool:
    if place is None:
        return True
    try:
        with open(place, encoding="utf-8") as stream:
            return stream.read() == text
    except FileNotFoundError:
        return False


def _user_number(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise BadInput("users: there is no user %r on this machine" % name) from None


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Close, confirm or open."""
    return Quarantine(params).perform(context)


def _left(params: t.Dict[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
    quarantine = Quarantine(params)
    if quarantine.unusable is not None:
        return []
    return [table_left(quarantine.table, params["state"] != "absent")]


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "confirmed", "absent"], "default": "present"},
            "ports": {"type": "list", "elements": "int", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "peers": {"type": "list", "elements": "str", "default": []},
            "allowed": {"type": "list", "elements": "str", "default": []},
            "management": {"type": "list", "elements": "str", "default": []},
            "management_ports": {"type": "list", "elements": "int", "default": [22]},
            "confirm_within": {"type": "float", "default": 0.0},
            "notes": {"type": "dict", "default": {}},
            "record_directory": {"type": "path", "default": "/var/lib/codeblue/quarantine"},
            "configuration_file": {"type": "path", "default": "/etc/nftables.conf"},
            "timeout": {"type": "float", "default": 15.0},
        },
        perform,
        leaves=_left,
    )


if __name__ == "__main__":
    main()
