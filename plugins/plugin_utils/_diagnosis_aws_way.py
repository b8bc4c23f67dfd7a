# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether requests that should reach a service are led to a region that answers: its DNS record, its distribution.

A region of which only the endpoints are silent, while clients are served, is left alone.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import silent_region
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

# A region that is gone is asked for so long, once for all services.
_REGION_SECONDS = 4.0
# What says nothing of clients: the question was put to AWS and not to the service.
_NOT_OF_CLIENTS = frozenset(("api_unavailable", "controller"))
_MOST_EVIDENCE = 10


@dataclass(frozen=True)
class WayLook:
    """One way.

    :param what: it is, for people.
    :param at_standby: percent of the traffic that the standby region has; None when that cannot be said.
    :param said: why it cannot be said; empty when it can.
    :param region_silent: why the region itself gives no answer; empty when it does.
    """

    what: str
    at_standby: int | None
    said: str
    region_silent: str


def looks(
    account: AwsAccount, services: Mapping[str, AwsPlatform], one: Callable[[AwsPlatform], tuple[str, int]]
) -> dict[str, WayLook]:
    """The ways of some services in one account and region.

    :param one: what a way is for people, and the percent of its traffic that the standby region has.
    :raises AwsUnavailable: the service of AWS that leads gives no answer.
    """
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable

    def region() -> str:
        try:
            # Everybody may ask this.
            account.ask("sts", "get_caller_identity", patience=_REGION_SECONDS)
        except AwsUnavailable as error:
            return error.message
        return ""

    def look(name: str) -> tuple[str, int | None, str]:
        try:
            return *one(services[name]), ""
        except AwsUnavailable:
            raise
        except CodeblueError as error:
            return "its way", None, error.message

    names = list(services)
    questions: list[Callable[[], t.Any]] = [region, *((lambda name=each: look(name)) for each in names)]
    silent, *found = account.side_by_side(questions, lambda ask: ask())
    return {name: WayLook(what, at, said, silent) for name, (what, at, said) in zip(names, found, strict=True)}


def judge_way(found: AwsFindings) -> dict[str, t.Any]:
    """The judgement of a way."""
    look: WayLook | None = found.look
    failing = [each for each in found.own_failures if each.error_class not in _NOT_OF_CLIENTS]
    evidence = tuple(f"{each.id} fails ({each.error_class})" for each in failing[:_MOST_EVIDENCE])
    if not failing:
        return {"cause": "healthy", "confidence": PROVEN, "evidence": (), "treatment": "none", "next_step": ""}
    standby = found.platform.standby_region
    if look is not None and look.region_silent and standby is not None and look.at_standby != 100:
        told = silent_region(found)
        return {**told, "evidence": (look.region_silent, f"{look.what} leads there", *evidence)[:_MOST_EVIDENCE]}
    known = found.silent or (look.said if look is not None else "")
    where = ""
    if look is not None and look.at_standby is not None:
        where = f"{look.what} leads to {standby} with {look.at_standby} %"
    return {
        "cause": "inconclusive",
        "confidence": UNDECIDED,
        "evidence": tuple(each for each in (known, where, *evidence) if each)[:_MOST_EVIDENCE],
        "treatment": "person",
        "next_step": "Look at what stands behind it, first at the services that it leads to.",
    }
