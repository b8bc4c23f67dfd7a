# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives secrets and parameters of a service on AWS new values, and has everybody who uses them start with these."""

from __future__ import annotations

import functools
import time
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import (
    GENERATED,
    WHOLE,
    RotatedValue,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._new_values import value_of_file
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._api_keys import new_key
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine_notes import cut_off
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_secret_consumers import (
        Consumer,
        ConsumerSearch,
        Wanted,
        deployment_of,
        readers,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_secrets import (
        CURRENT,
        LARGEST_PARAMETER,
        LARGEST_SECRET,
        AwsSecrets,
        ParameterLook,
        SecretLook,
        token_of,
    )

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 180.0
_PAUSE = 0.5
_MOST_TOLD_READERS = 5


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_secret_rotate.py."""

    STAGE = "rotate_secrets"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "names": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
        "rotation_within": {"type": "float", "default": 300.0},
        "rollout_within": {"type": "float", "default": 600.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        secrets, parameters = self._wanted(service, arguments["names"])
        self.connect(service, _CALL_SECONDS + 10 * arguments["rollout_within"])
        self._aws = AwsSecrets(self._account, self.target)
        if not secrets and not parameters:
            summary = f"{self.target}: codeblue_aws names no secrets and parameters, nothing was rotated"
            return self.ended({"rotated": [], "consumers": [], "codeblue": {"summary": summary}})
        given = {each.name: self._given(each, LARGEST_SECRET) for each in secrets}
        given |= {each.name: self._given(each, LARGEST_PARAMETER) for each in parameters}
        looks = {each.name: self._aws.look(each.name) for each in secrets}
        before = {each.name: self._aws.look_at_parameter(each.name) for each in parameters}
        consumers = self._consumers(looks, before)
        rolled = [each for each in consumers if each.rolled]
        self._told += [f"{each.said}: {each.advice}" for each in consumers if not each.rolled]
        if self.check_mode:
            self._plan(looks, before, rolled)
        else:
            for each in secrets:
                self._rotate(each, looks[each.name], given[each.name], arguments)
            for each in parameters:
                self._rotate_parameter(before[each.name], given[each.name], arguments["reason"])
            for consumer in rolled:
                self._restart(consumer, arguments["rollout_within"])
            self._prove(service, arguments["healthy_within"])
        self._tell_readers(looks)
        return self.ended(
            {
                "rotated": [
                    {"name": each.name, "keys": sorted(each.keys) if WHOLE not in each.keys else []}
                    for each in (*secrets, *parameters)
                ],
                "consumers": [each.said for each in consumers],
                "codeblue": {"summary": self._summary([*looks, *before], rolled)},
            }
        )

    # -- what --------------------------------------------------------------------------------------------------

    @staticmethod
    def _wanted(service: Service, names: Sequence[str]) -> tuple[list[RotatedValue], list[RotatedValue]]:
        security = service.require_aws().security
        known = {each.name for each in (*security.secrets, *security.parameters)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise BadInput(
                f"{service.name}: neither codeblue_aws.secrets nor .parameters names {unknown[0]}",
                f"known: {', '.join(sorted(known)) or 'none'}",
            )
        return (
            [each for each in security.secrets if not names or each.name in names],
            [each for each in security.parameters if not names or each.name in names],
        )

    def _given(self, value: RotatedValue, largest: int) -> dict[str, str]:
        """The values that files give, read before anything changes."""
        found = {
            key: value_of_file(self.target, origin, f"{key or 'the value'} of {value.name}", largest)
            for key, origin in value.keys.items()
            if origin != GENERATED
        }
        self._secrets.update(found.values())
        return found

    def _consumers(self, looks: dict[str, SecretLook], before: dict[str, ParameterLook]) -> list[Consumer]:
        wanted = Wanted(frozenset(each.name for each in looks.values()), frozenset(before))
        copies = {region for look in looks.values() for region in look.replicas}
        found = [
            each
            for region in dict.fromkeys((self._place.region, *sorted(copies)))
            for each in ConsumerSearch(self._account, region).find(wanted)
        ]
        own = self._place.ecs
        # Its own first: what the new values break is seen on the service that is being recovered.
        mine = (own.cluster, own.service) if own is not None else ("", "")
        return sorted(
            found, key=lambda each: ((each.place, each.name) != mine, each.region != self._place.region, each)
        )

    def _tell_readers(self, looks: dict[str, SecretLook]) -> None:
        """Who asks for a secret by its rights stands in no definition."""
        for look in looks.values():
            found, problem = readers(self._account, look.name)
            if problem:
                self._told.append(f"who else reads {look.name} is not known: {problem}")
            elif found:
                self._told.append(f"by CloudTrail {look.name} was read by {', '.join(found[:_MOST_TOLD_READERS])}")

    def _plan(self, looks: dict[str, SecretLook], before: dict[str, ParameterLook], rolled: Sequence[Consumer]) -> None:
        for name, look in looks.items():
            self._planned += [f"rotate_{name}"] if look.delegated else [f"pending_{name}", f"current_{name}"]
        self._planned += [f"parameter_{name}" for name in before]
        self._planned += [f"restart_{each.name}_{each.region}" for each in rolled]

    # -- doing -------------------------------------------------------------------------------------------------

    def _rotate(
        self, secret: RotatedValue, look: SecretLook, given: dict[str, str], arguments: dict[str, t.Any]
    ) -> None:
        name = secret.name
        token = token_of(f"{self.open_run().run_id}/{self.target}/{name}")
        reason = arguments["reason"] or "asked for by a person"
        undo = (
            f"aws secretsmanager update-secret-version-stage --secret-id {name} --version-stage {CURRENT} "
            f"--move-to-version-id {look.version_of(CURRENT)} --remove-from-version-id {token}"
        )
        if look.delegated:
            decision = {"reason": f"{reason}; {look.function or 'its own rotation'} makes the value", "undo": undo}
            self.step(f"rotate_{name}", decision, lambda: self._aws.begin_delegated(name, token))
            self._until_rotated(name, token, look.function, arguments["rotation_within"])
        else:
            decision = {"reason": reason, "keys": sorted(secret.keys), "undo": "it has no effect yet"}

            def new_value(key: str) -> str:
                value = given.get(key) or new_key()
                self._secrets.add(value)
                return value

            self.step(f"pending_{name}", decision, lambda: self._aws.put_pending(secret, token, new_value))
            current = functools.partial(self._aws.make_current, name, token)
            self.step(f"current_{name}", {"reason": reason, "undo": undo}, current)
        self._hold(name, token, arguments["rotation_within"])

    def _until_rotated(self, name: str, token: str, function: str, seconds: float) -> None:
        """Wait for a secret's own rotation.

        :raises CodeblueError: it does not come to its end.
        """
        budget = Budget(seconds)
        while not self._aws.is_current(name, token):
            if budget.left <= 0:
                who = function.rpartition(":")[2] or "its rotation"
                raise CodeblueError(
                    f"{self.target}: {who} has not given {name} a new value within {seconds:.0f} s",
                    f"see the log group /aws/lambda/{who}; the old value is in use still",
                )
            self.renew()
            time.sleep(_PAUSE)

    def _hold(self, name: str, token: str, seconds: float) -> None:
        """Everybody gets the new version, in every region that has a copy.

        :raises CodeblueError: not so.
        """
        if not self._aws.is_current(name, token):
            raise CodeblueError(
                f"{self.target}: somebody else has given {name} another version since", "find out who in CloudTrail"
            )
        budget = Budget(seconds)
        while late := self._aws.copies_under_way(name):
            if budget.left <= 0:
                raise CodeblueError(
                    f"{self.target}: the copy of {name} in {late[0]} still has the old value after {seconds:.0f} s",
                    "resume later",
                )
            self.renew()
            time.sleep(_PAUSE)

    def _rotate_parameter(self, before: ParameterLook, given: dict[str, str], reason: str) -> None:
        action = f"parameter_{before.name}"
        decided = self.decided(action)
        if decided is not None:
            # The one from before the first attempt, whatever has been done since.
            before = ParameterLook(before.name, int(decided["before_version"]), before.type, before.tier, before.key)
        decision = {
            "reason": reason or "asked for by a person",
            "before_version": before.version,
            "undo": f"aws ssm get-parameter --with-decryption --name {before.name}:{before.version}, and put it back",
        }

        def put() -> bool:
            value = given.get(WHOLE) or new_key()
            self._secrets.add(value)
            return self._aws.put_parameter(before, value)

        self.step(action, decision, put)

    def _restart(self, consumer: Consumer, seconds: float) -> None:
        """Have a service's tasks made anew, and wait for them before the next one's turn."""
        account = self._account

        def look() -> dict[str, t.Any]:
            return t.cast(
                "dict[str, t.Any]",
                account.ask(
                    "ecs",
                    "describe_services",
                    region=consumer.region,
                    about=consumer.name,
                    cluster=consumer.place,
                    services=[consumer.name],
                    include=["TAGS"],
                )["services"][0],
            )

        action = f"restart_{consumer.name}_{consumer.region}"
        # Looked at when the values were new already: any other deployment is one that has them.
        old = str((self.decided(action) or {}).get("deployment") or deployment_of(look()))

        def restart(_run: OpenRun) -> dict[str, t.Any]:
            accepted: dict[str, float] = {}
            if deployment_of(look()) == old:
                account.ask(
                    "ecs",
                    "update_service",
                    region=consumer.region,
                    about=consumer.name,
                    cluster=consumer.place,
                    service=consumer.name,
                    forceNewDeployment=True,
                )
                accepted["accepted_at"] = time.time()
            if not cut_off(look()):
                self._until_deployed(consumer, look, seconds)
            return {"changed": True, **accepted}

        decision = {
            "machine": consumer.said,
            "reason": "its tasks have the old values since their start",
            "deployment": old,
        }
        done = self.local_change(action[:120], decision, restart)
        self._changed |= bool(done.get("changed"))

    def _until_deployed(self, consumer: Consumer, look: t.Callable[[], dict[str, t.Any]], seconds: float) -> None:
        budget = Budget(seconds)
        while True:
            deployments = look().get("deployments") or []
            primary: dict[str, t.Any] = next((each for each in deployments if each["status"] == "PRIMARY"), {})
            if primary.get("rolloutState") == "FAILED":
                why = str(primary.get("rolloutStateReason") or "its deployment failed")[:200]
                raise CodeblueError(
                    f"{consumer.said} does not start with the new values: {why}",
                    "see the events of the service; the undo of the step leads back to the old values",
                )
            counts = [int(primary.get(key) or 0) for key in ("runningCount", "desiredCount")]
            if counts[0] >= counts[1] and len(deployments) == 1:
                return
            if budget.left <= 0:
                raise CodeblueError(
                    f"{consumer.said}: {counts[0]} of {counts[1]} tasks run with the new values after {seconds:.0f} s",
                    "see the events of the service, then resume",
                )
            self.renew()
            time.sleep(_PAUSE)

    def _prove(self, service: Service, given: float | None) -> None:
        def prove(_run: OpenRun) -> dict[str, t.Any]:
            if self._is_cut_off():
                return {"changed": False, "put_off": True}
            problem = self.until_healthy(service, given)
            if problem:
                raise CodeblueError(
                    f"{self.target} does not work with the new values: {problem}",
                    "see the logs of its tasks; the undo of the steps leads back to the old values",
                )
            return {"changed": False, "put_off": False}

        if self.local_change("prove_rotation", {"reason": "whether it works with the new values"}, prove)["put_off"]:
            self._told.append("it is in quarantine: whether it works is seen when it is given back")

    def _is_cut_off(self) -> bool:
        ecs = self._place.ecs
        if ecs is None:
            return False
        found = self._account.ask(
            "ecs",
            "describe_services",
            about=ecs.service,
            cluster=ecs.cluster,
            services=[ecs.service],
            include=["TAGS"],
        )["services"]
        return bool(found) and bool(cut_off(found[0]))

    def _summary(self, names: Sequence[str], rolled: Sequence[Consumer]) -> str:
        who = ", ".join(f"{each.name} in {each.region}" for each in rolled)
        verb = "would give" if self.check_mode else "gave"
        roll = f", and {'would deploy' if self.check_mode else 'deployed'} {who} anew" if who else ""
        return f"{verb} {', '.join(names)} new values{roll}{self.afterwards()}"
