# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves the consumers of database roles to a second login with a new password while they work, then takes the first
one's password away."""

from __future__ import annotations

import secrets
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_password import scram_verifier
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import literal
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import Credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rotation_action import (
    INTERRUPTION,
    HandOver,
    RotationAction,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import foreign_sessions, secrets_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._login_proof import LoginProof

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

# 32 random bytes: beyond guessing, and printable ASCII as SCRAM wants it.
_SECRET_BYTES = 32
_LOOK_SECONDS = 20.0
_PREFIX = "password_renew_"
_PAUSE = 0.2
_EMERGENCY = "replace it whole: codeblue run database_connection_failure, or give the consumers a file that fits"


@dataclass(frozen=True)
class _Held:
    """What a consumer's file holds."""

    login: str
    password: str = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True)
class _Move:
    """A role whose consumers go to its other login."""

    credential: Credential
    new: str

    @property
    def old(self) -> str:
        return _other(self.credential, self.new)


class ActionModule(RotationAction):
    """See plugins/modules/postgresql_renew_password.py."""

    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "roles": {"type": "list", "elements": "str", "default": []},
        "watch": {"type": "str", "default": "10s"},
        "old_gone_within": {"type": "str", "default": "2m"},
        "interruption": INTERRUPTION,
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        database = service.require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: is no database", "name one with --limit")
        credentials = self._wanted(service, arguments["roles"])
        self._watch, self._gone_within = (
            parse_duration(arguments["watch"]),
            parse_duration(arguments["old_gone_within"]),
        )
        self._reason = arguments["reason"][:200] or "a planned rotation"
        self._every = self.every_service()
        self._database, self._primary = database, find_primary(self.target, database, self.look).primary
        consumers = [each for credential in credentials for each in credential.consumers]
        self._refuse_what_cannot_work(service, credentials)
        self.refuse_missing_consumers([each for each in secrets_of(service) if each.what.startswith("password of ")])
        interrupted = self.check_interruption(consumers, self._every, arguments["interruption"])
        held = {each.role: self._held(each) for each in credentials}
        if self.check_mode:
            moves = [_Move(each, _other(each, next(iter(held[each.role].values())).login)) for each in credentials]
            renewed = [{"role": each.credential.role, "from": each.old, "to": each.new} for each in moves]
        else:
            renewed = self._renew(service, [self._chosen(each, held[each.role]) for each in credentials], held)
        verb = "would move" if self.check_mode else "moved"
        said = "; ".join(f"{verb} {each['role']} from the login {each['from']} to {each['to']}" for each in renewed)
        said += f"; interrupts {', '.join(interrupted)}" if interrupted else ""
        said += "" if self.check_mode else ", with new passwords; the old ones are refused"
        return {"changed": True, "renewed": renewed, "codeblue": {"summary": said}}

    def _wanted(self, service: Service, roles: Sequence[str]) -> list[Credential]:
        known = service.require_host().credentials
        unknown = [role for role in roles if role not in known]
        if unknown or not known:
            raise BadInput(
                f"{self.target}: codeblue_host.credentials has no {', '.join(unknown) or 'role'}",
                "name the role and its consumers there",
            )
        alone = [role for role in roles or known if known[role].alternate is None]
        if alone:
            raise BadInput(
                f"{self.target}: {', '.join(alone)} has no alternate in codeblue_host.credentials: PostgreSQL holds one"
                " password per role, so that a new one refuses the old at once",
                "make a second login as docs/security.md says, or name the other roles in codeblue_secrets_roles",
            )
        return [known[role] for role in roles or known]

    def _look_at_roles(self, roles: Sequence[str]) -> dict[str, t.Any]:
        call = MachineCall(
            self._primary.machine,
            "codeblue.recovery.postgresql_login_roles",
            {**login_arguments(self._database, self._primary), "roles": list(roles)},
            _LOOK_SECONDS,
            check_mode=True,
        )
        return self.look([call])[0].result_or_raise()

    def _refuse_what_cannot_work(self, service: Service, credentials: Sequence[Credential]) -> None:
        """:raises CodeblueError: the second login has other rights, or somebody unknown uses one of the two."""
        seen = self._look_at_roles([login for each in credentials for login in each.logins])
        for credential in credentials:
            problem = _unfit(credential, seen["roles"])
            if problem:
                raise CodeblueError(
                    f"{self.target}: {problem}: nothing was changed", "make it as docs/security.md says", exit_code=2
                )
        foreign = foreign_sessions(service, self._every, self._variables["hostvars"], seen["sessions"])
        wanted = {f"password of {each.role}" for each in credentials}
        found = [each for each in foreign if each.what in wanted]
        if found:
            raise Refused(f"{found[0]}: nothing was changed", "name it as a consumer, or end its use of the role")

    def _held(self, credential: Credential) -> dict[tuple[str, str], _Held]:
        found = {}
        for place, text in self.read_files(credential.consumers).items():
            pair = credential.read(text)
            if pair is None or pair[0] not in credential.logins:
                raise CodeblueError(
                    f"{self.target}: {place[0]}: {place[1]} does not hold what the content of {credential.role} in"
                    " codeblue_host.credentials says: nothing was changed",
                    _EMERGENCY,
                )
            self._secrets.add(pair[1])
            found[place] = _Held(pair[0], pair[1], text)
        if not found:
            raise BadInput(f"{self.target}: credentials.{credential.role} has no consumers", "name them")
        return found

    # -- moving ------------------------------------------------------------------------------------------------

    def _chosen(self, credential: Credential, held: Mapping[tuple[str, str], _Held]) -> _Move:
        """To which login, written down before the first change."""
        role = credential.role
        kept = self.local_change(
            f"choose_login_{role}",
            {"role": role, "reason": self._reason},
            lambda _run: {"changed": False, "to": self._choice(credential, held)},
        )
        return _Move(credential, str(kept["to"]))

    def _renew(
        self, service: Service, moves: Sequence[_Move], held: Mapping[str, Mapping[tuple[str, str], _Held]]
    ) -> list[dict[str, t.Any]]:
        """All roles in one pass, so that each machine is without traffic once."""
        attempt = self.next_attempt(_PREFIX)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            proof = LoginProof(service)
            passwords: dict[str, str] = {}
            items = []
            for move in moves:
                role, files = move.credential.role, held[move.credential.role]
                password = passwords[role] = self._password_of(move, files, proof, attempt)
                proof.prove(move.new, password, f"SELECT current_user = {literal(role)}")
                content = move.credential.written(move.new, password)
                items += [
                    HandOver(each, content, files[each.machine, each.secret_file].text)
                    for each in move.credential.consumers
                ]
            self.roll(_PREFIX.rstrip("_"), attempt, items, self._every, self._reason)
            used_by = self._until_old_are_unused(moves)
            for ended in self.changes(
                [
                    self._password_change(
                        move.old, "absent", f"{_PREFIX}refuse_{move.old}_{attempt}", "nobody uses it any more"
                    )
                    for move in moves
                ]
            ):
                ended.checked()
            for move in moves:
                # Of a later attempt they may be gone: then the old one is in nobody's file any more.
                files = held[move.credential.role]
                for old in sorted({each.password for each in files.values() if each.login == move.old}):
                    proof.prove_refused(move.old, old)
                proof.prove(move.new, passwords[move.credential.role])
            return {"changed": True, "used_by": used_by}

        decision = {"moves": [{"role": each.credential.role, "from": each.old, "to": each.new} for each in moves]}
        done = self.local_change("renewal_of_passwords", {**decision, "reason": self._reason}, work)
        return [{**each, "used_by": done["used_by"][each["to"]]} for each in decision["moves"]]

    def _choice(self, credential: Credential, held: Mapping[tuple[str, str], _Held]) -> str:
        """The login that nobody uses. Where an earlier run was cut off and both are in use, the one that came last."""
        logins = {each.login for each in held.values()}
        if len(logins) == 1:
            return _other(credential, next(iter(logins)))
        calls = [
            MachineCall(
                machine,
                "ansible.builtin.stat",
                {"path": path, "get_checksum": False, "get_mime": False, "get_attributes": False},
                _LOOK_SECONDS,
                check_mode=True,
            )
            for machine, path in held
        ]
        written = [answer.result_or_raise()["stat"]["mtime"] for answer in self.look(calls)]
        return max(zip(written, held.values(), strict=True), key=lambda each: float(each[0]))[1].login

    def _password_of(self, move: _Move, held: Mapping[tuple[str, str], _Held], proof: LoginProof, attempt: int) -> str:
        """The password of the login to come: the one that consumers have already when it works, else another."""
        new = move.new
        for each in held.values():
            if each.login == new and proof.is_taken(new, each.password):
                return each.password
        sessions = [each for each in self._look_at_roles(move.credential.logins)["sessions"] if each["role"] == new]
        if sessions and not any(each.login == new for each in held.values()):
            raise Refused(
                f"{self.target}: {new} is meant to be unused and {_told(sessions)} uses it: nothing was changed",
                "name it as a consumer, or end its use of the login",
            )
        password = secrets.token_urlsafe(_SECRET_BYTES)
        verifier = scram_verifier(password)
        self._secrets.update((password, verifier))
        change = self._password_change(
            new, "present", f"{_PREFIX}set_{new}_{attempt}", "consumers move to it", {"verifier": verifier}
        )
        self.change(change).checked()
        return password

    def _password_change(
        self, login: str, state: str, action: str, reason: str, further: Mapping[str, t.Any] | None = None
    ) -> Change:
        member: Member = self._primary
        database: HostDatabase = self._database
        return Change(
            action=action,
            machine=member.machine,
            module="postgresql_set_password",
            arguments={**login_arguments(database, member), "role": login, "state": state, **(further or {})},
            decision={"role": login, "state": state, "reason": reason},
        )

    def _until_old_are_unused(self, moves: Sequence[_Move]) -> dict[str, list[dict[str, t.Any]]]:
        """Watch the sessions; returns who uses each new login.

        :raises CodeblueError: somebody goes on with an old one; both are taken then, and nobody is locked out.
        """
        logins = [login for move in moves for login in move.credential.logins]
        left = {move.old for move in moves}
        deadline = time.monotonic() + self._gone_within + self._watch
        unused_since: float | None = None
        while True:
            sessions = self._look_at_roles(logins)["sessions"]
            using = [each for each in sessions if each["role"] in left]
            now = time.monotonic()
            unused_since = None if using else now if unused_since is None else unused_since
            if unused_since is not None and now - unused_since >= self._watch:
                return {
                    move.new: [
                        {key: each[key] for key in ("application_name", "client", "count")}
                        for each in sessions
                        if each["role"] == move.new
                    ]
                    for move in moves
                }
            if now >= deadline:
                raise CodeblueError(
                    f"{self.target}: {_told(using)} still uses {', '.join(sorted({each['role'] for each in using}))},"
                    " which is still taken",
                    "is a consumer missing in codeblue_host.credentials? Name or reload it and run this again",
                )
            time.sleep(_PAUSE)


def _other(credential: Credential, login: str) -> str:
    first, second = credential.logins
    return second if login == first else first


def _told(sessions: Sequence[Mapping[str, t.Any]]) -> str:
    names = [
        f"{each['application_name'] or 'an application without a name'} from {each['client']}" for each in sessions
    ]
    return " and ".join(names[:3]) or "somebody from time to time"


def _unfit(credential: Credential, roles: Mapping[str, Mapping[str, t.Any]]) -> str:
    """Why the second login cannot stand in for the role; empty when it can."""
    role, second = credential.logins
    for name in (role, second):
        if name not in roles:
            return f"there is no role {name} in the database"
        if not roles[name]["may_log_in"]:
            return f"{name} may not log in"
    first, other = roles[role], roles[second]
    if role not in other["member_of"]:
        return f"{second} is no member of {role}"
    if f"role={role}" not in other["settings"]:
        return f"sessions of {second} do not act as {role}"
    for name in ("superuser", "replication", "connection_limit"):
        if first[name] != other[name]:
            return f"{second} differs from {role} in {name}"
    own = [each for each in other["settings"] if each != f"role={role}"]
    return "" if sorted(own) == sorted(first["settings"]) else f"{second} has other settings than {role}"
