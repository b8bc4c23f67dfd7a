# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service of ECS does not work, by its deployments, its tasks, its targets and what it needs.

The order of the questions is that of certainty: what AWS itself names as the reason comes before what follows from
figures.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_desired import DESIRED_KIND, known_desired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import OWN_CONTROLLER, EcsLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import silent_region
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

#: Under this kind the store keeps the task definitions that runs have left, and those that they have seen working.
VERSION_KIND = "aws_ecs"
#: Its tasks are replaced by others of the same task definition.
RENEW = "renew"
#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "healthy": "none",
    "image_unavailable": "rollback",
    "release_crashing": "rollback",
    "release_failing": "rollback",
    "rolling_back": "rollback",
    "scaled_to_zero": "scale",
    "scaled_down": "scale",
    "tasks_gone": RENEW,
    "targets_unhealthy": RENEW,
}
# A release that has worked for longer than this is not the change that broke it.
RECENT_SECONDS = 7 * 24 * 3600.0
_MOST_EVIDENCE = 10
_CRASHES = 2
# What a client sees of a service that nobody leads it to.
_ABSENCES = frozenset(("refused", "unreachable", "timeout", "name_resolution", "closed", "unavailable"))
_NEXT_STEPS: Mapping[str, str] = {
    "service_missing": "Create the service again from where it is described, or name the right one in codeblue_aws.",
    "configuration_missing": "Make again what is missing, from where it is kept; the tasks then start.",
    "no_capacity": (
        "Give the tasks a place: raise the quota or the capacity provider, add instances, or free addresses of the"
        " subnets."
    ),
    "dependency_down": "Bring the dependency back first; its own runbook does that. The release is not the cause.",
    "way_lost": "Every task runs and every target is healthy: look at the listener, its rules and at DNS.",
    "inconclusive": "Compare the logs of the tasks with those from when it worked.",
    "other_controller": "{controller} carries out its deployments: have it deploy the last good version again.",
    "no_number": "Nobody wrote down how many tasks it had: say it in codeblue_aws.ecs.desired.",
}

_Cause = tuple[str, float, list[str]]


class EcsPart:
    """See `AwsPart`."""

    def look(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, EcsLook | None]:
        """How the services are; None for one that is not there."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import read_closer, read_services

        return read_closer(account, read_services(account, _named(services)))

    def judge(self, found: AwsFindings, now: float) -> dict[str, t.Any]:
        """The judgement; `ecs` in it has the figures."""
        if found.silent:
            return silent_region(found)
        look: EcsLook | None = found.look
        cause, confidence, evidence = _cause(found, look, now)
        treatment = TREATMENTS.get(cause, "person")
        lacking = _lacking(found, look, treatment)
        treatment = "person" if lacking else treatment
        next_step = _NEXT_STEPS.get(lacking or cause, _NEXT_STEPS["inconclusive"]) if treatment == "person" else ""
        return {
            "cause": cause,
            "confidence": confidence,
            "evidence": tuple(evidence[:_MOST_EVIDENCE]),
            "treatment": treatment,
            "next_step": next_step.format(controller=look.controller if look is not None else ""),
            "missing": list(look.missing) if look is not None else [],
            "ecs": None
            if look is None
            else {
                "task_definition": look.task_definition,
                "desired": look.desired,
                "running": look.running,
                "pending": look.pending,
                "controller": look.controller,
                "circuit_breaker": look.breaker,
            },
        }

    def check(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, Finding]:
        """Whether a task of each runs, and a target of each group is healthy; of a silent region, in the other one."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_elsewhere import found_in_standby
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import (
            read_services,
            read_with_targets,
        )
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable

        elsewhere = any(each.standby_region is not None for each in services.values())
        # A region that is silent takes all the time that it is given.
        first = account.within(account.left / 2) if elsewhere else account
        try:
            looks = read_with_targets(first, read_services(first, _named(services)))
        except AwsUnavailable as error:
            if not elsewhere:
                raise
            return found_in_standby(account, services, error.message)
        return {name: _finding(look) for name, look in looks.items()}


def _named(services: Mapping[str, AwsPlatform]) -> dict[str, EcsService]:
    return {name: t.cast(EcsService, platform.ecs) for name, platform in services.items()}


def _finding(look: EcsLook | None) -> Finding:
    if look is None or look.status != "ACTIVE":
        return Finding("no_task_runs", "ECS has no such service")
    if not look.running:
        return Finding("no_task_runs", f"none of {look.desired} tasks runs")
    if look.unhealthy:
        group = look.unhealthy[0]
        return Finding("no_target_healthy", f"none of {group.total} targets of {group.group} is healthy")
    return Finding(None, look.figures)


def _lacking(found: AwsFindings, look: EcsLook | None, treatment: str) -> str:
    """What a treatment needs and is not there, as a key of the next steps; empty when it can be carried out."""
    if look is None:
        return ""
    if treatment in ("rollback", RENEW) and look.controller != OWN_CONTROLLER:
        return "other_controller"
    if treatment == "scale" and known_number(found, look) is None:
        return "no_number"
    return ""


def known_number(found: AwsFindings, look: EcsLook) -> int | None:
    """How many tasks it is known to have had when it worked; None when nobody has written it down."""
    stated = found.platform.ecs.desired if found.platform.ecs is not None else None
    known = known_desired(found.proven(DESIRED_KIND), stated, look.scaler)
    return known.count if known is not None else None


def _cause(found: AwsFindings, look: EcsLook | None, now: float) -> _Cause:
    if look is None or look.status != "ACTIVE":
        return "service_missing", PROVEN, [f"{found.platform.ecs} does not exist"]
    if look.rolling_back:
        return "rolling_back", PROVEN, [f"ECS goes back by itself: {_reason(look)}", look.figures]
    if not look.desired and look.scheduling == "REPLICA":
        return "scaled_to_zero", PROVEN, [f"{look.name} is scaled to no tasks", *_wanted(found, look)]
    named = None if look.steady else _by_reasons(look)
    if named is not None:
        return named
    if not look.steady:
        by_release = _by_release(found, look, now)
        if by_release is not None:
            return by_release
    return _by_way(found, look, now)


def _by_reasons(look: EcsLook) -> _Cause | None:
    """What AWS itself says."""
    if look.missing or look.said("needs"):
        return "configuration_missing", PROVEN, [*look.missing, *look.said("needs")[:3], look.figures]
    if look.image_gone or look.said("image"):
        gone = [look.image_gone] if look.image_gone else []
        return "image_unavailable", PROVEN, [*gone, *look.said("image")[:3], look.figures]
    if look.running < look.desired and look.said("place"):
        return "no_capacity", PROVEN, [*look.said("place")[:3], look.figures]
    return None


def _by_release(found: AwsFindings, look: EcsLook, now: float) -> _Cause | None:
    """What became of the deployment that is wanted."""
    primary = look.primary
    crashed = [each.text for each in look.crashes[:3]]
    if found.broken_dependencies and (crashed or found.own_failures):
        return "dependency_down", LIKELY, [*_dependencies(found), *crashed, look.figures]
    if primary is not None and primary.rollout == "FAILED":
        return "release_crashing", PROVEN, [f"its deployment failed: {_reason(look)}", *crashed, look.figures]
    if len(look.crashes) >= _CRASHES or (primary is not None and primary.failed >= _CRASHES):
        failed = [f"{primary.failed} tasks of {primary.task_definition} failed"] if primary and primary.failed else []
        return "release_crashing", PROVEN, [*crashed, *failed, _since(look), look.figures]
    if not look.running and not look.pending:
        return "tasks_gone", LIKELY, [look.figures, *(each.text for each in look.stopped[:3])]
    return None


def _by_way(found: AwsFindings, look: EcsLook, now: float) -> _Cause:
    """Tasks run: does what leads to them, and do they work?"""
    own = [f"{each.id} fails ({each.error_class})" for each in found.own_failures[:3]]
    if look.unhealthy:
        group = look.unhealthy[0]
        said = [f"none of {group.total} targets of {group.group} is healthy", *group.reasons]
        if found.broken_dependencies:
            return "dependency_down", PROVEN, [*_dependencies(found), *said, *own]
        if _recent(look, now):
            return "release_failing", LIKELY, [*said, _since(look), *own]
        return "targets_unhealthy", PROVEN, [*said, *own, look.figures]
    if not own:
        if look.steady or look.running >= look.desired:
            return "healthy", PROVEN, [look.figures]
        return "inconclusive", UNDECIDED, [look.figures, *(each.text for each in look.events[:3])]
    if found.broken_dependencies:
        return "dependency_down", PROVEN, [*_dependencies(found), *own]
    number = known_number(found, look)
    if number is not None and look.desired < number and (look.scaler is None or look.scaler.suspended):
        return "scaled_down", LIKELY, [f"{look.name} is to have {look.desired} tasks", *_wanted(found, look), *own]
    if all(each.error_class in _ABSENCES for each in found.own_failures):
        if look.steady and look.groups:
            return "way_lost", LIKELY, [*own, look.figures]
    elif _recent(look, now):
        return "release_failing", LIKELY, [*own, _since(look), look.figures]
    return "inconclusive", UNDECIDED, [*own, look.figures]


def _wanted(found: AwsFindings, look: EcsLook) -> list[str]:
    number = known_number(found, look)
    return [] if number is None else [f"it had {number}"]


def _dependencies(found: AwsFindings) -> list[str]:
    return [f"{name}, which it depends on, fails its own checks" for name in found.broken_dependencies]


def _reason(look: EcsLook) -> str:
    return (look.primary.reason if look.primary is not None else "") or "no more is said"


def _recent(look: EcsLook, now: float) -> bool:
    return look.primary is not None and now - look.primary.created_at <= RECENT_SECONDS


def _since(look: EcsLook) -> str:
    if look.primary is None or not look.primary.created_at:
        return "since when this task definition is wanted is not known"
    made = datetime.datetime.fromtimestamp(look.primary.created_at, datetime.UTC)
    return f"{look.task_definition} is deployed since {made:%Y-%m-%dT%H:%M:%SZ}"


PART = EcsPart()
