# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One service on this machine, cut off and given back: its table, where it is kept, and who confirms it."""

from __future__ import annotations

import os
import pwd
import typing as t
from dataclasses import replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import StepContext, StepOutcome
from ansible_collections.codeblue.recovery.plugins.module_utils._intrusion import parse_networks
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


class ServiceQuarantine:
    """The quarantine of one service on this machine.

    :param params: the options of the module network_quarantine.
    """

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
