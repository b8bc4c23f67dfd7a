# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service of ECS answers late: its release, too few tasks, or what it waits for. Pure."""

from __future__ import annotations

import datetime
import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_desired import known_desired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_metrics import Load

SCALE_OUT = "scale_out"
#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "slow_release": "rollback",
    "scaled_down": "scale",
    "overloaded": SCALE_OUT,
    "waits_for_dependency": "none",
    "healthy": "none",
}
# By so much a service grows for the time being; twice as many tasks may be too much for what is behind them.
_FACTOR = 1.5
# Without a record of when the service was last well, only a release this young is suspected.
_RECENT_SECONDS = 24 * 3600.0
_NEXT_STEPS = {
    "does_not_work": "It does not work, and is not only late: the runbook that brings it back comes first.",
    "autoscaled": "Application Auto Scaling sets the number of its tasks: look at its bounds, and at what it measures.",
    "other_controller": "Another controller carries out its deployments: roll back there.",
    "one_on_each_instance": "It has a task on each instance: look at what the tasks wait for.",
    "no_service": "The inventory names no service of ECS for it: look at what it is made of.",
}

_Cause = tuple[str, float, list[str]]


def judge_late_on_aws(
    service: Service,
    judged: Mapping[str, t.Any],
    look: EcsLook | None,
    load: Load | None,
    late: Sequence[CheckResult],
    last_well: str | None,
    now: float,
) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param judged: the usual judgement, by what does not work.
    :param look: None when it is no service of ECS, or could not be looked at.
    :param load: how busy its tasks are; None when nobody looked.
    :param late: results that came late, of every service that was looked at.
    :param last_well: RFC 3339, when it was last measured while it was well; None when nobody did.
    :param now: Unix seconds.
    """
    own = [each for each in late if each.target == service.name]
    if not own:
        said = {"cause": "healthy", "confidence": PROVEN, "evidence": ("no answer of it is late",)}
        return {**judged, **said, "treatment": "none", "next_step": ""}
    if look is None:
        return {**judged, "treatment": "person", "next_step": _NEXT_STEPS["no_service"]}
    if not look.steady or look.unhealthy:
        return {**judged, "treatment": "person", "next_step": _NEXT_STEPS["does_not_work"]}
    cause, confidence, evidence = _cause(service, look, load, own, late, last_well, now)
    treatment, next_step = TREATMENTS.get(cause, "person"), ""
    if lacking := _lacking(look, treatment):
        treatment, next_step = "person", _NEXT_STEPS[lacking]
    return {
        **judged,
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence),
        "treatment": treatment,
        "next_step": next_step,
        "release": look.task_definition,
        "replicas": more_tasks(look.desired),
    }


def more_tasks(desired: int) -> int:
    """How many tasks a service gets for the time being."""
    return max(desired + 1, math.ceil(desired * _FACTOR))


def _cause(
    service: Service,
    look: EcsLook,
    load: Load | None,
    own: Sequence[CheckResult],
    late: Sequence[CheckResult],
    last_well: str | None,
    now: float,
) -> _Cause:
    figures = [f"{each.id} took {each.seconds:.2f} s" for each in own[:3]]
    waits = sorted({each.target for each in late} & set(service.depends_on))
    if waits:
        said = [f"{name}, which it depends on, is late itself" for name in waits]
        return "waits_for_dependency", LIKELY, said + figures
    ecs = service.require_aws().ecs
    known = known_desired([], ecs.desired if ecs is not None else None, look.scaler)
    if known is not None and look.desired < known.count:
        said = [f"it has {look.desired} tasks and had {known.count} ({known.why})"]
        return "scaled_down", LIKELY, said + figures
    release = _release(look, last_well, now)
    if release is not None:
        return "slow_release", release[0], [release[1], *figures]
    busy = _busy(service, load)
    if busy:
        return "overloaded", LIKELY, [*busy, *figures]
    return "overloaded", UNDECIDED, ["all its tasks run, its release is older, what it needs is quick", *figures]


def _busy(service: Service, load: Load | None) -> list[str]:
    """What its tasks have too little of, by CloudWatch."""
    if load is None:
        return []
    limits = service.checks.thresholds
    pairs = (("CPU", load.cpu, limits.cpu), ("memory", load.memory, limits.memory))
    return [
        f"its tasks use {value:.0%} of their {name}, the limit is {limit:.0%}"
        for name, value, limit in pairs
        if value is not None and value > limit
    ]


def _release(look: EcsLook, last_well: str | None, now: float) -> tuple[float, str] | None:
    """Whether the release came between when it was well and now."""
    primary = look.primary
    if primary is None or not primary.created_at:
        return None
    when = datetime.datetime.fromtimestamp(primary.created_at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if last_well is not None:
        well = datetime.datetime.fromisoformat(last_well.replace("Z", "+00:00")).timestamp()
        if primary.created_at <= well:
            return None
        return PROVEN, f"release {look.task_definition} came at {when}, after it was last well at {last_well}"
    if now - primary.created_at > _RECENT_SECONDS:
        return None
    return LIKELY, f"release {look.task_definition} came at {when}, within the last day; nobody measured before it"


def _lacking(look: EcsLook, treatment: str) -> str:
    """What keeps a treatment from being carried out, as a key of the next steps."""
    if treatment == "rollback" and look.controller != "ECS":
        return "other_controller"
    if treatment in (SCALE_OUT, "scale") and look.scheduling != "REPLICA":
        return "one_on_each_instance"
    if treatment == SCALE_OUT and look.scaler is not None and not look.scaler.suspended:
        return "autoscaled"
    return ""
