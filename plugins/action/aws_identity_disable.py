# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches keys of users off and revokes the sessions of roles, and gives both back."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_identities import (
        MOST_KEYS,
        AwsIdentities,
        is_accepted,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_new_key import KeySecret
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_secrets import token_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import until_proven

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 180.0
# IAM is told everywhere within seconds: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
_KNOWN_SECONDS = 60.0


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_identity_disable.py."""

    STAGE = "identities"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "users": {"type": "list", "elements": "str"},
        "roles": {"type": "list", "elements": "str"},
        "new_keys": {"type": "str", "choices": ["none", "into_secret"], "default": "none"},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS)
        self._identities = AwsIdentities(self._account)
        security = self._place.security
        users = list(arguments["users"] if arguments["users"] is not None else security.users)
        roles = list(arguments["roles"] if arguments["roles"] is not None else [*security.roles, *self._task_role()])
        roles = list(dict.fromkeys(roles))
        self._old_key = "not_tried"
        if not users and not roles:
            summary = f"{self.target}: there are no identities of it, nothing was changed"
            said: dict[str, t.Any] = {"codeblue": {"summary": summary}}
        elif arguments["state"] == "absent":
            said = self._give_back(users, roles)
        else:
            said = self._disable(service, users, roles, arguments)
        return self.ended({"users": users, "roles": roles, "old_key": self._old_key, **said})

    def _task_role(self) -> list[str]:
        """The role that the tasks have now."""
        ecs = self._place.ecs
        if ecs is None:
            return []
        found = self._account.ask(
            "ecs", "describe_services", about=ecs.service, cluster=ecs.cluster, services=[ecs.service]
        )["services"]
        if not found:
            return []
        name = str(found[0]["taskDefinition"])
        definition = self._account.ask("ecs", "describe_task_definition", about=ecs.service, taskDefinition=name)
        role = definition["taskDefinition"].get("taskRoleArn")
        return [str(role).rpartition("/")[2]] if role else []

    # -- off ---------------------------------------------------------------------------------------------------

    def _disable(
        self, service: Service, users: Sequence[str], roles: Sequence[str], arguments: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        self._is_not_own(users, roles)
        secrets = self._key_secrets(service, users, arguments["new_keys"])
        reason = arguments["reason"] or "asked for by a person"
        there = {user: self._identities.keys_of(user) for user in users}
        for user in secrets:
            self._has_room(user, [key.id for key in there[user]])
        on = {user: [key.shown for key in keys if key.active] for user, keys in there.items()}
        for user, keys in on.items():
            self.show(f"keys of user {user}", {key: "Active" for key in keys}, {key: "Inactive" for key in keys})
        if self.check_mode:
            self._planned += [f"new_key_{user}" for user in secrets]
            self._planned += [f"disable_{user}" for user, keys in on.items() if keys]
            self._planned += [f"revoke_{role}" for role in roles]
            return {"codeblue": {"summary": self._summary(users, roles)}}
        kept = {user: self._new_key(user, secrets[user], reason) for user in secrets}
        for user in users:
            decision = {
                "reason": reason,
                "keys": on[user],
                "undo": "codeblue.recovery.aws_identity_disable with state: absent",
            }
            disable = functools.partial(self._identities.disable, user, [kept[user]] if user in kept else [])
            self.step(f"disable_{user}", decision, disable)
        run_id = self.open_run().run_id
        for role in roles:
            decision = {
                "reason": reason,
                "undo": f"aws iam delete-role-policy --role-name {role} --policy-name AWSRevokeOlderSessions",
            }
            self.step(f"revoke_{role}", decision, functools.partial(self._identities.revoke_sessions, role, run_id))
        self._hold(users, roles, set(kept.values()))
        for user, secret in secrets.items():
            self._prove_refused(service, user, secret)
        if roles:
            self._told.append(
                f"whoever works with a session of {', '.join(roles)} is refused until it has a new one, as tasks that "
                "were started before"
            )
        return {"codeblue": {"summary": self._summary(users, roles)}}

    def _is_not_own(self, users: Sequence[str], roles: Sequence[str]) -> None:
        """:raises Refused: this run itself would be cut off."""
        kind, name = self._identities.own()
        if name in (users if kind == "user" else roles):
            raise Refused(
                f"{self.target}: {kind} {name} is who this run works as, nothing was changed",
                "run it as somebody else: codeblue_aws.profile",
            )

    def _key_secrets(self, service: Service, users: Sequence[str], new_keys: str) -> dict[str, KeySecret]:
        if new_keys == "none":
            return {}
        named = service.require_aws().security.new_keys
        lacking = [user for user in users if user not in named]
        if lacking:
            raise BadInput(
                f"{self.target}: no secret is named that a new key of {lacking[0]} goes into",
                "name it in codeblue_aws.identities.new_keys",
            )
        return {user: KeySecret(self._account, named[user], self._secrets.add) for user in users}

    def _has_room(self, user: str, keys: Sequence[str]) -> None:
        if not self.check_mode and self.decided(f"new_key_{user}") is not None:
            return
        if len(keys) >= MOST_KEYS:
            raise Refused(
                f"user {user} has {MOST_KEYS} keys and IAM takes no third one, nothing was changed",
                "remove the one that is out of use: aws iam delete-access-key",
            )

    def _new_key(self, user: str, secret: KeySecret, reason: str) -> str:
        """Make a key, put it into its secret, see that it works, have everybody get it; returns its name."""
        token = token_of(f"{self.open_run().run_id}/{self.target}/{user}")
        action = f"new_key_{user}"
        decided = self.decided(action)
        before = [key.shown for key in self._identities.keys_of(user)] if decided is None else decided["keys_before"]

        def make() -> bool:
            if secret.has(token):
                return False
            for key in self._identities.keys_of(user):
                if key.shown not in before:
                    # An attempt that was cut off made it, and its secret is nowhere.
                    self._identities.remove_lost_key(user, key.id)
            secret.put(token, *self._identities.make_key(user))
            return True

        self.step(action, {"reason": reason, "keys_before": before, "secret_name": secret.name}, make)
        name, value = secret.pair(token)
        until_proven(
            lambda: "" if self._takes(name, value) else f"AWS does not take the new key of {user}",
            self.target,
            "look at the user in IAM; the old key is on still",
            _KNOWN_SECONDS,
        )
        self.step(f"current_{user}", {"reason": "it works"}, functools.partial(secret.make_current, token))
        return name

    def _takes(self, name: str, value: str) -> bool:
        return is_accepted(AwsAccess(None, self._place.endpoints), self._place.region, name, value)

    # -- proving -----------------------------------------------------------------------------------------------

    def _hold(self, users: Sequence[str], roles: Sequence[str], kept: set[str]) -> None:
        """:raises CodeblueError: somebody has put something back."""
        for user in users:
            on = [key.shown for key in self._identities.keys_of(user) if key.active and key.id not in kept]
            if on:
                raise CodeblueError(
                    f"key {on[0]} of user {user} is on again", "find out who in CloudTrail, then resume"
                )
        for role in roles:
            if not self._identities.is_revoked(role):
                raise CodeblueError(f"sessions of role {role} are allowed again", "find out who, then resume")

    def _prove_refused(self, service: Service, user: str, secret: KeySecret) -> None:
        """The key from before, which its secret still has, is refused.

        :raises CodeblueError: it is not, beyond a lab.
        """
        pair = secret.pair_before()
        if pair is None:
            return
        try:
            until_proven(
                lambda: f"AWS still takes the old key of {user}" if self._takes(*pair) else "",
                self.target,
                "look at the user in IAM: is it this one's key?",
                # What simulates an account switches nothing off.
                1.0 if service.environment == "lab" else _KNOWN_SECONDS,
            )
        except CodeblueError as error:
            if service.environment != "lab":
                raise
            self._old_key = "accepted"
            self._told.append(f"{error.message}: that it ends is not proven in a lab")
            return
        self._old_key = "refused"

    # -- on again ----------------------------------------------------------------------------------------------

    def _give_back(self, users: Sequence[str], roles: Sequence[str]) -> dict[str, t.Any]:
        off = {user: self._identities.disabled(user) for user in users}
        revoked = [role for role in roles if self._identities.is_revoked(role)]
        for user, keys in off.items():
            self.show(f"keys of user {user}", {key: "Inactive" for key in keys}, {key: "Active" for key in keys})
        said = [f"keys {', '.join(keys)} of user {user}" for user, keys in off.items() if keys]
        said += [f"sessions of role {role}" for role in revoked]
        if self.check_mode:
            self._planned += [f"enable_{user}" for user, keys in off.items() if keys]
            self._planned += [f"allow_{role}" for role in revoked]
        else:
            for user, keys in off.items():
                if keys or self.begun(f"enable_{user}"):
                    decision = {"reason": "as it was", "keys": keys}
                    self.step(f"enable_{user}", decision, functools.partial(self._identities.enable, user))
            for role in revoked:
                allow = functools.partial(self._identities.allow_sessions, role)
                self.step(f"allow_{role}", {"reason": "as it was"}, allow)
        verb = "would give back" if self.check_mode else "gave back"
        return {"codeblue": {"summary": f"{verb} {'; '.join(said)}" if said else "nothing is off, nothing was changed"}}

    def _summary(self, users: Sequence[str], roles: Sequence[str]) -> str:
        verb = "would switch off" if self.check_mode else "switched off"
        parts = [f"{verb} the keys of {', '.join(users)}"] if users else []
        revoke = "would revoke" if self.check_mode else "revoked"
        parts += [f"{revoke} the sessions of {', '.join(roles)}"] if roles else []
        refused = "; the old key is refused" if self._old_key == "refused" else ""
        return f"{' and '.join(parts)}{refused}{self.afterwards()}"
