# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service on AWS does not work: each of its parts is judged by its own module, the first that is not well tells.

A part that is not well by what AWS itself says comes before one of which only the checks say that something is wrong.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import PARTS, AwsFindings, part, parts_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    PROVEN,
    UNDECIDED,
    diagnosis_of,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import Seen

#: No endpoint of the region answers: nothing can be judged or done there.
REGION_SILENT = "region_silent"
_UNDECIDED = ("healthy", "inconclusive")


@t.runtime_checkable
class AwsDiagnosis(t.Protocol):
    """What a runbook brings along that judges services on AWS in its own way."""

    def decide_aws(self, seen: Seen, looked: AwsSeen, judged: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        """The judgement; see `RunbookDiagnosis.decide`.

        :param looked: what was seen of the parts, and under `RUNBOOK` what the runbook itself looked at.
        :param judged: the usual judgement, by the parts.
        """


def refuse_on_aws(runbook: str, services: Mapping[str, Service]) -> None:
    """Say early which target a runbook cannot recover yet.

    :raises BadInput: a target runs on AWS, and the runbook works for none of its parts.
    """
    if isinstance(diagnosis_of(runbook), AwsDiagnosis):
        return
    for name, service in services.items():
        if service.aws is None:
            continue
        parts = parts_of(service.aws)
        if not any(runbook in PARTS[each].runbooks for each in parts):
            able = sorted({each for one in parts for each in PARTS[one].runbooks})
            has = f"with {' and '.join(parts)}" if parts else "without a part that can be recovered"
            raise BadInput(
                f"{name}: {runbook} does not work on platform aws {has} yet",
                f"{'there it works: ' + ', '.join(able) + '; ' if able else ''}to leave the service out: --limit",
            )


def judge_on_aws(
    service: Service,
    seen: AwsSeen,
    failing: Iterable[CheckResult],
    bad: Callable[[str], Collection[str]],
    proven: Callable[[str], Sequence[str]],
    now: float,
) -> dict[str, t.Any]:
    """The judgement about a service; `part` in it is the one that is not well.

    :param failing: checks of the service and of what it depends on, that failed last.
    :param bad: by kind, the versions that are marked bad.
    :param proven: by kind, what earlier runs have seen working, the latest first.
    :param now: Unix seconds.
    """
    failures = tuple(failing)
    judged = {
        name: judge_part(name, service, seen, failures, bad, proven, now) for name in parts_of(service.require_aws())
    }
    if not judged:
        return {
            "cause": "inconclusive",
            "confidence": UNDECIDED,
            "evidence": ("the inventory names no part of it that can be looked at",),
            "treatment": "person",
            "next_step": "Name what it is made of in codeblue_aws.",
            "part": "",
        }
    told = next((each for each in judged.values() if each["cause"] not in _UNDECIDED), None)
    if told is None:
        told = next((each for each in judged.values() if each["cause"] == "inconclusive"), None)
    if told is None:
        told = next(iter(judged.values()))
    return {**told, "parts": {name: each["cause"] for name, each in judged.items()}}


def judge_part(
    name: str,
    service: Service,
    seen: AwsSeen,
    failing: Iterable[CheckResult],
    bad: Callable[[str], Collection[str]],
    proven: Callable[[str], Sequence[str]],
    now: float,
) -> dict[str, t.Any]:
    """The judgement about one part of a service; see `judge_on_aws`.

    :param name: of the part.
    """
    others = {each: look for each, look in seen.looks.items() if each != name}
    look, silent = seen.looks.get(name), seen.silent.get(name, "")
    found = AwsFindings(service, look, silent, tuple(failing), bad, proven, others)
    return {**part(name).judge(found, now), "part": name}


def silent_region(found: AwsFindings) -> dict[str, t.Any]:
    """The judgement of a part whose region gives no answer."""
    platform = found.platform
    standby = platform.standby_region
    return {
        "cause": REGION_SILENT,
        "confidence": PROVEN,
        "evidence": (found.silent, *(f"{each.id} fails ({each.error_class})" for each in found.own_failures[:3])),
        "treatment": "person",
        "next_step": f"Nothing can be changed in {platform.region}: look at the AWS health page and at the network."
        + (f" It can run in {standby}: shift its traffic there." if standby is not None else ""),
    }
