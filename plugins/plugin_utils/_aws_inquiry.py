# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at all targets on AWS at once, in a process of its own, while the run is being opened.

Services of one identity and region are looked at together, each of their parts by its own module. A region that does
not answer takes nothing from what others say.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import part, parts_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._forked_work import ForkedWork
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

_LOOK_SECONDS = 20.0
# A region that gives no answer for so long is silent; the others are not waited for any longer because of it.
_PATIENCE_SECONDS = 8.0
# Beyond the calls' own budget: for the start of the process and the import of the client.
_AROUND_SECONDS = 10.0
#: Under this name is what a runbook itself wants to see, beside the parts.
RUNBOOK = "runbook"


@dataclass(frozen=True)
class AwsSeen:
    """What was seen of one service.

    :param looks: by part, what its module has seen.
    :param silent: by part, why there was no answer.
    """

    looks: Mapping[str, t.Any] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


@t.runtime_checkable
class LooksAtAws(t.Protocol):
    """A runbook that wants to see more than the parts, such as metrics or a trail of events."""

    def look_at_aws(self, account: AwsAccount, services: Mapping[str, Service]) -> Mapping[str, t.Any]:
        """As `AwsPart.look`."""


class AwsInquiry:
    """The services of the targets, asked from the moment this is made.

    :param runbook: its own diagnosis; None when it has none.
    """

    def __init__(self, services: Mapping[str, Service], runbook: object = None) -> None:
        self._work = ForkedWork(
            "the look at AWS", lambda: look_at_services(services, runbook), _LOOK_SECONDS + _AROUND_SECONDS
        )

    def answers(self) -> dict[str, AwsSeen]:
        """Wait for all, by target.

        :raises CodeblueError: a service of AWS refuses to be asked.
        """
        return self._work.result()

    def end(self) -> None:
        """End what is still under way."""
        self._work.end()


def look_at_services(services: Mapping[str, Service], runbook: object = None) -> dict[str, AwsSeen]:
    """What is seen of some services, in this process.

    :param runbook: its own diagnosis; None when it has none.
    :raises CodeblueError: a service of AWS refuses to be asked.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable

    platforms = {name: service.require_aws() for name, service in services.items()}
    budget = Budget(_LOOK_SECONDS)
    questions: list[tuple[AwsAccount, str, list[str]]] = []
    for names in _by_place(platforms).values():
        first = platforms[names[0]]
        access = AwsAccess(first.profile, first.endpoints)
        account = AwsAccount(access, first.region, budget, patience=_PATIENCE_SECONDS, read_only=True)
        by_part: dict[str, list[str]] = {}
        for name in names:
            for each in parts_of(platforms[name]):
                by_part.setdefault(each, []).append(name)
        if isinstance(runbook, LooksAtAws):
            by_part[RUNBOOK] = names
        questions += [(account, each, asked) for each, asked in by_part.items()]

    def ask(question: tuple[AwsAccount, str, list[str]]) -> Mapping[str, t.Any] | AwsUnavailable:
        account, name, asked = question
        try:
            if name == RUNBOOK:
                return t.cast(LooksAtAws, runbook).look_at_aws(account, {each: services[each] for each in asked})
            return part(name).look(account, {each: platforms[each] for each in asked})
        except AwsUnavailable as error:
            return error

    # Imported before the threads: they would wait for each other's imports.
    for _account, name, _asked in questions:
        if name != RUNBOOK:
            part(name)
    looks: dict[str, dict[str, t.Any]] = {name: {} for name in services}
    silent: dict[str, dict[str, str]] = {name: {} for name in services}
    for (_account, name, asked), answer in zip(questions, AwsAccount.side_by_side(questions, ask), strict=True):
        for each in asked:
            if isinstance(answer, AwsUnavailable):
                silent[each][name] = answer.message
            else:
                looks[each][name] = answer.get(each)
    return {name: AwsSeen(looks[name], silent[name]) for name in services}


def _by_place(platforms: Mapping[str, AwsPlatform]) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    for name, platform in platforms.items():
        found.setdefault(platform.place, []).append(name)
    return found
