# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which task definition a service of ECS goes back to: the last one with which it was steady.

That it was steady has to be attested: by tasks that serve now, by an earlier run, by ECS's own history of deployments,
or by ECS's word that all was steady at a time when it was the newest. The one before is not thereby a good one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_definitions import Definition, digest_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import (
    EcsLook,
    last_of,
    last_steady,
    seconds_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, BadCredentials

# Of the newest; older ones are nothing to go back to in an emergency.
_MOST_REVISIONS = 100
_MOST_DESCRIBED = 10
_MOST_DEPLOYMENTS = 20
# The history of deployments is asked for where nothing else tells; it is not worth more of the time for recovery.
_HISTORY_SECONDS = 3.0
_NAME = re.compile(r"(?P<family>.+):(?P<revision>\d+)")


@dataclass(frozen=True)
class Choice:
    """From which task definition to which, and why to that one.

    :param delegated: ECS itself is on its way there.
    """

    bad: str
    good: str
    reason: str
    delegated: bool = False


class Releases:
    """The task definitions of one service.

    :param look: how the service is.
    """

    def __init__(self, account: AwsAccount, look: EcsLook) -> None:
        self._account = account
        self._look = look
        self._definitions: dict[str, Definition] = {}

    def definition(self, name: str) -> Definition:
        """A task definition.

        :param name: as `records:7`.
        :raises AwsError: it cannot be read.
        """
        if name not in self._definitions:
            answer = self._account.ask("ecs", "describe_task_definition", about=name, taskDefinition=name)
            self._definitions[name] = answer["taskDefinition"]
        return self._definitions[name]

    def choose(self, proven: Sequence[str], marked: Collection[str]) -> Choice:
        """The last steady one to go back to.

        :param proven: what earlier runs have seen working, the latest first.
        :param marked: what is marked bad.
        :raises CodeblueError: nothing attests one.
        """
        look = self._look
        if look.rolling_back and look.task_definition not in marked:
            left = next((each.task_definition for each in look.older if each.rollout == "FAILED"), "")
            left = left or next((each.task_definition for each in look.older), look.task_definition)
            return Choice(left, look.task_definition, "the circuit breaker of ECS is on its way there", True)
        current = look.task_definition
        shut = {current, *marked}
        bodies = [self._body(each) for each in sorted(shut) if family_of(each) == family_of(current)][:_MOST_DESCRIBED]

        def fits(name: str) -> bool:
            """Not one of the bad ones, nor one that was registered again under another number."""
            if name in shut or not name:
                return False
            found = self._described(name)
            return found is not None and found.get("status") != "INACTIVE" and digest_of(found) not in bodies

        for reason, names in self._attested(proven):
            good = next((each for each in names() if fits(each)), None)
            if good is not None:
                return Choice(current, good, reason)
        left_out = f"; marked bad: {', '.join(sorted(marked))}" if marked else ""
        raise CodeblueError(
            f"{look.name}: nothing tells which task definition was steady before {current}{left_out}",
            "give the argument to, as records:6; codeblue bad-version list shows what is marked",
        )

    def _attested(self, proven: Sequence[str]) -> list[tuple[str, Callable[[], Sequence[str]]]]:
        """By which witness, and what it names; in the order of how sure it is. The later ones are asked only then."""
        serving = sorted(
            (each for each in self._look.older if each.running and each.rollout == "COMPLETED"),
            key=lambda each: (each.running, each.created_at),
            reverse=True,
        )
        running = serving[0].running if serving else 0
        return [
            (f"{running} tasks of it serve now", lambda: [each.task_definition for each in serving]),
            ("an earlier run saw it work", lambda: proven),
            ("its deployment was the last that ECS calls successful", self._succeeded),
            ("it was the newest one when ECS last said that all was steady", self._newest_when_steady),
        ]

    def _succeeded(self) -> list[str]:
        """By ECS's history of deployments, the newest first; nothing where that cannot be asked."""
        look = self._look
        try:
            found = self._account.ask(
                "ecs",
                "list_service_deployments",
                about=look.name,
                patience=_HISTORY_SECONDS,
                cluster=look.cluster,
                service=look.name,
                status=["SUCCESSFUL"],
                maxResults=_MOST_DEPLOYMENTS,
            ).get("serviceDeployments")
            revisions = [each["targetServiceRevisionArn"] for each in found or () if "targetServiceRevisionArn" in each]
            if not revisions:
                return []
            answer = self._account.ask(
                "ecs",
                "describe_service_revisions",
                about=look.name,
                patience=_HISTORY_SECONDS,
                serviceRevisionArns=list(dict.fromkeys(revisions)),
            )
        except BadCredentials:
            raise
        except AwsError:
            # It is there for some kinds of services only, and wants a right of its own: there are other witnesses.
            return []
        named = {
            each["serviceRevisionArn"]: each.get("taskDefinition") for each in answer.get("serviceRevisions") or ()
        }
        return list(dict.fromkeys(last_of(str(named[each])) for each in revisions if named.get(each)))

    def _newest_when_steady(self) -> list[str]:
        """By the events of the service, and the times at which its task definitions were registered."""
        primary = self._look.primary
        steady = last_steady(self._look.events, primary.created_at) if primary is not None else None
        if steady is None:
            return []
        for name in self._registered():
            found = self._described(name)
            if found is not None and 0 < seconds_of(found.get("registeredAt")) <= steady:
                return [name]
        return []

    def _registered(self) -> list[str]:
        """Those of the same family that can still be deployed, the newest first, as many as are looked at."""
        family = family_of(self._look.task_definition)
        answer = self._account.ask(
            "ecs",
            "list_task_definitions",
            about=family,
            familyPrefix=family,
            status="ACTIVE",
            sort="DESC",
            maxResults=_MOST_REVISIONS,
        )
        names = [last_of(str(each)) for each in answer.get("taskDefinitionArns") or ()]
        # A prefix fits other families too.
        own = [each for each in names if family_of(each) == family and each != self._look.task_definition]
        return sorted(own, key=revision_of, reverse=True)[:_MOST_DESCRIBED]

    def _described(self, name: str) -> Definition | None:
        try:
            return self.definition(name)
        except AwsError as error:
            # ECS has no code of its own for one that is not there.
            if error.code == "ClientException":
                return None
            raise

    def _body(self, name: str) -> str:
        found = self._described(name)
        return digest_of(found) if found is not None else ""


def family_of(name: str) -> str:
    """`records` of `records:7`."""
    found = _NAME.fullmatch(name)
    return found["family"] if found is not None else name


def revision_of(name: str) -> int:
    """7 of `records:7`."""
    found = _NAME.fullmatch(name)
    return int(found["revision"]) if found is not None else 0
