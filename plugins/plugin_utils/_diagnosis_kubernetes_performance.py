# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service on Kubernetes answers late: its release, too few pods, or what it waits for. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings, judge
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

SCALE_OUT = "scale_out"
#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "slow_release": "rollback",
    "scaled_down": "scale",
    "overloaded": SCALE_OUT,
    "waits_for_dependency": "none",
    "healthy": "none",
}
# By so much a workload grows for the time being; twice as many pods may be too much for what is behind them.
_FACTOR = 1.5
# Without a record of when the service was last well, only a release this young is suspected.
_RECENT_SECONDS = 24 * 3600.0
_NEXT_STEPS = {
    "does_not_work": "It does not work, and is not only late: the runbook that brings it back comes first.",
    "no_earlier_revision": "There is no earlier revision to go back to: deploy a quicker one by hand.",
    "files_of_a_database": "A newer version of a database may have written its files: roll back by hand.",
    "database": "More pods make no database quicker: look for sessions that wait, and at its volume.",
    "autoscaled": "What scales it by itself sets the number of pods: look at its bounds.",
    "one_on_each_node": "It has a pod on each node: look at what the pods wait for.",
}


def judge_late(
    found: ServiceFindings, late: Sequence[CheckResult], last_well: str | None, now: float
) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param found: with all checks that failed.
    :param late: results that came late, of every service that was looked at.
    :param last_well: RFC 3339, when it was last measured while it was well; None when nobody did.
    :param now: Unix seconds.
    """
    failing = tuple(each for each in found.failing if each not in late and each.level != "signals")
    state = judge(dataclasses.replace(found, failing=failing), now)
    own = [each for each in late if each.target == found.service]
    if state["cause"] != "healthy":
        treatment = "none" if not own else "person"
        next_step = "" if not own else _NEXT_STEPS["does_not_work"]
        return {**state, "treatment": treatment, "next_step": next_step}
    cause, confidence, evidence = _cause(found, own, late, last_well, now)
    treatment, next_step = TREATMENTS.get(cause, "person"), ""
    if lacking := _lacking(found, cause):
        treatment, next_step = "person", _NEXT_STEPS[lacking]
    look = found.workload
    return {
        **state,
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence),
        "treatment": treatment,
        "next_step": next_step,
        "release": found.version,
        "replicas": more_pods(look.desired) if look is not None else 0,
    }


def more_pods(desired: int) -> int:
    """How many pods a workload gets for the time being."""
    return max(desired + 1, math.ceil(desired * _FACTOR))


def _cause(
    found: ServiceFindings, own: Sequence[CheckResult], late: Sequence[CheckResult], last_well: str | None, now: float
) -> tuple[str, float, list[str]]:
    if not own:
        return "healthy", PROVEN, ["no answer of it is late"]
    figures = [f"{each.id} took {each.seconds:.2f} s" for each in own[:3]]
    waits = sorted({each.target for each in late} & set(found.depends_on))
    if waits:
        return (
            "waits_for_dependency",
            LIKELY,
            [f"{name}, which it depends on, is late itself" for name in waits] + figures,
        )
    look = found.workload
    if look is not None and found.replicas is not None and look.desired < found.replicas.count and not found.scaled_by:
        said = f"it has {look.desired} pods and had {found.replicas.count} ({found.replicas.why})"
        return "scaled_down", LIKELY, [said, *figures]
    release = _release(found, last_well, now)
    if release is not None:
        return "slow_release", release[0], [release[1], *figures]
    return "overloaded", UNDECIDED, ["all its pods are ready, its release is older, what it needs is quick", *figures]


def _release(found: ServiceFindings, last_well: str | None, now: float) -> tuple[float, str] | None:
    """Whether the release came between when it was well and now."""
    if found.changed_at is None:
        return None
    when = datetime.datetime.fromtimestamp(found.changed_at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if last_well is not None:
        well = datetime.datetime.fromisoformat(last_well.replace("Z", "+00:00")).timestamp()
        if found.changed_at <= well:
            return None
        return PROVEN, f"release {found.version} came at {when}, after it was last well at {last_well}"
    if now - found.changed_at > _RECENT_SECONDS or not found.earlier:
        return None
    return LIKELY, f"release {found.version} came at {when}, within the last day; nobody measured before it"


def _lacking(found: ServiceFindings, cause: str) -> str:
    if cause == "slow_release":
        if found.kind == "database":
            return "files_of_a_database"
        return "" if found.earlier else "no_earlier_revision"
    if cause == "overloaded":
        if found.kind == "database":
            return "database"
        if found.workload is not None and found.workload.kind == "DaemonSet":
            return "one_on_each_node"
        return "autoscaled" if found.scaled_by else ""
    return ""
