# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives roles new passwords, hands them to every consumer, and proves that only the new ones are taken."""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_password import scram_verifier
from ansible_collections.codeblue.recovery.plugins.plugin_utils._login_proof import LoginProof
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import Credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

# 32 random bytes: beyond guessing, and printable ASCII as SCRAM wants it.
_SECRET_BYTES = 32
_RESTART_SECONDS = 20.0


class ActionModule(StepAction):
    """See plugins/modules/postgresql_rotate_password.py."""

    STAGE = "rotate_secrets"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "roles": {"type": "list", "elements": "str", "default": []},
        "used_by": {"type": "list", "elements": "str", "default": []},
        "primary": {"type": "str"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        host = service.require_host()
        if arguments["used_by"] and host.postgresql is not None:
            arguments["roles"] = self._roles_of(host.credentials, arguments["used_by"])
            if not arguments["roles"]:
                said = f"{', '.join(arguments['used_by'])} has no password of {self.target}"
                return {"changed": False, "rotated": [], "codeblue": {"summary": said}}
            arguments["primary"] = find_primary(self.target, host.postgresql, self.look).primary.machine
        if host.postgresql is None or arguments["primary"] not in host.postgresql.members:
            raise BadInput(f"{self.target}: {arguments['primary']!r} is no member of it", "name the present primary")
        unknown = [role for role in arguments["roles"] if role not in host.credentials]
        if unknown or not arguments["roles"]:
            raise BadInput(
                f"{self.target}: codeblue_host.credentials has no {', '.join(unknown) or 'role to rotate'}",
                "name the role and its consumers there",
            )
        member = host.postgresql.members[arguments["primary"]]
        rotated = []
        for role in arguments["roles"]:
            credential = host.credentials[role]
            if self.check_mode:
                rotated.append({"role": role, "consumers": [each.machine for each in credential.consumers]})
                continue
            rotated.append(self._rotate_once(service, host.postgresql, member, credential))
        verb = "would rotate" if self.check_mode else "rotated"
        return {
            "changed": True,
            "rotated": rotated,
            "codeblue": {"summary": f"{verb} the password of {', '.join(arguments['roles'])} and its consumers"},
        }

    def _roles_of(self, credentials: Mapping[str, Credential], names: Sequence[str]) -> list[str]:
        """The roles whose password a process of one of these services reads."""
        units = {
            (instance.machine, instance.process)
            for service in self.services(names).values()
            for instance in service.require_host().instances.values()
        }
        return [
            role
            for role, credential in credentials.items()
            if any((consumer.machine, consumer.process) in units for consumer in credential.consumers)
        ]

    def _rotate_once(
        self, service: Service, database: HostDatabase, member: Member, credential: Credential
    ) -> dict[str, t.Any]:
        """The whole rotation is one step: a password that was lost with its process is replaced by another."""
        run = self.open_run()
        earlier = [
            step for step in run.store.steps(run.run_id) if step.target == self.target and step.stage == self.STAGE
        ]
        parts = tuple(f"{part}_{credential.role}_" for part in ("set_password", "hand_over", "reload", "forget"))
        attempt = 1 + sum(step.action.startswith(parts[0]) for step in earlier)
        for step in earlier:
            if step.finished_at is None and step.action.startswith(parts):
                # Whatever came of it, its password is lost with its process; this attempt makes another one.
                lost = {"error": f"its password is lost, attempt {attempt} replaces it"}
                run.store.finish_step(step, "failed", lost, changed=True)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            return self._rotate(service, database, member, credential, attempt)

        consumers = [each.machine for each in credential.consumers]
        return self.local_change(f"rotate_{credential.role}", {"role": credential.role, "consumers": consumers}, work)

    def _rotate(
        self, service: Service, database: HostDatabase, member: Member, credential: Credential, attempt: int
    ) -> dict[str, t.Any]:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        salt = secrets.token_hex(16)
        self._secrets.add(secret)
        verifier = scram_verifier(secret)
        self._secrets.add(verifier)
        role = credential.role
        changes = [
            Change(
                action=f"set_password_{role}_{attempt}",
                machine=member.machine,
                module="postgresql_set_password",
                # Sessions that were opened with the old password end with it.
                arguments={
                    **login_arguments(database, member),
                    "role": role,
                    "verifier": verifier,
                    "end_sessions": True,
                },
                decision={"role": role, "reason": "the consumers' password is refused"},
            )
        ]
        changes += [
            Change(
                action=f"hand_over_{role}_{number}_{attempt}",
                machine=consumer.machine,
                module="secret_file",
                arguments={
                    "path": consumer.secret_file,
                    "value": credential.written(role, secret),
                    "digest_salt": salt,
                },
                decision={"role": role, "file": consumer.secret_file},
            )
            for number, consumer in enumerate(credential.consumers)
        ]
        if credential.alternate is not None:
            # Whoever knows one of the two may know the other.
            arguments = {"role": credential.alternate, "state": "absent", "end_sessions": True}
            changes.append(
                Change(
                    action=f"forget_{role}_{attempt}",
                    machine=member.machine,
                    module="postgresql_set_password",
                    arguments={**login_arguments(database, member), **arguments},
                    decision={"role": credential.alternate, "reason": f"the consumers log in as {role}"},
                )
            )
        for ended in self.changes(changes):
            ended.checked()
        self._restart_consumers(credential, attempt)
        LoginProof(service).prove(role, secret)
        return {"changed": True, "role": role, "consumers": [each.machine for each in credential.consumers]}

    def _restart_consumers(self, credential: Credential, attempt: int) -> None:
        """At once: while their password is refused, none of them serves anybody."""
        restarts = [
            Change(
                action=f"reload_{credential.role}_{number}_{attempt}",
                machine=consumer.machine,
                module="process_state",
                arguments={
                    "units": [{**consumer.process.as_arguments(), "state": "restarted"}],
                    "timeout": _RESTART_SECONDS,
                },
                decision={"unit": consumer.process.unit, "reason": "it reads its password when it starts"},
                seconds=_RESTART_SECONDS + 5.0,
            )
            for number, consumer in enumerate(credential.consumers)
            if consumer.reload == "restart"
        ]
        for ended in self.changes(restarts):
            ended.checked()
