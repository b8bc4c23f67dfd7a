# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether somebody is inside of a service on AWS, or works with its keys.

Processes and sockets of tasks are not seen through AWS. What is seen are keys that are used from elsewhere, by
CloudTrail, and tasks of its family that its ECS service did not start; and what the monitoring says.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_trail import ForeignUse

# CloudTrail is some minutes late; in a lab everything happens in seconds.
_WINDOW_SECONDS = {"lab": 60.0}
_USUAL_WINDOW_SECONDS = 3600.0
_MOST_STRAYS = 10
_BY_SERVICE = "ecs-svc/"
DISABLE = "disable_identities"
_RELEASE = (
    "Nobody here can see whether it is clean: look at the evidence and at its image, roll a good one out, then: "
    "codeblue run release_service --limit {name}."
)


@dataclass(frozen=True)
class BreachLook:
    """What was seen of one service.

    :param cut_off: by which run it is cut off on purpose; empty when it is not.
    :param strays: tasks that act as if they belonged to it, one sentence each.
    :param foreign: keys that are used from elsewhere.
    :param not_seen: what could not be looked at, one sentence each.
    """

    cut_off: str = ""
    strays: tuple[str, ...] = ()
    foreign: tuple[ForeignUse, ...] = ()
    not_seen: tuple[str, ...] = ()


def look_for_breach(account: AwsAccount, services: Mapping[str, Service]) -> dict[str, BreachLook]:
    """What is seen of some services, all in one account and region.

    :raises AwsUnavailable: no answer came in time.
    """
    names = list(services)
    return dict(zip(names, account.side_by_side(names, lambda name: _look(account, services[name])), strict=True))


def _look(account: AwsAccount, service: Service) -> BreachLook:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable

    not_seen: list[str] = []
    cut_off, strays, foreign = "", tuple[str, ...](), tuple["ForeignUse", ...]()
    try:
        cut_off, strays = _tasks(account, service)
    except AwsUnavailable:
        raise
    except AwsError as error:
        not_seen.append(f"its tasks cannot be looked at: {error.message}")
    try:
        foreign = _keys(account, service)
    except AwsUnavailable:
        raise
    except AwsError as error:
        not_seen.append(f"the use of its keys cannot be looked at: {error.message}")
    return BreachLook(cut_off, strays, foreign, tuple(not_seen))


def _tasks(account: AwsAccount, service: Service) -> tuple[str, tuple[str, ...]]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine_notes import cut_off

    ecs = service.require_aws().ecs
    if ecs is None:
        return "", ()
    found = account.ask(
        "ecs", "describe_services", about=ecs.service, cluster=ecs.cluster, services=[ecs.service], include=["TAGS"]
    )["services"]
    if not found:
        return "", ()
    family = str(found[0]["taskDefinition"]).rpartition("/")[2].partition(":")[0]
    names = account.ask("ecs", "list_tasks", about=ecs.service, cluster=ecs.cluster, family=family)["taskArns"]
    tasks = (
        account.ask("ecs", "describe_tasks", about=ecs.service, cluster=ecs.cluster, tasks=names)["tasks"]
        if names
        else []
    )
    strays = [
        f"task {str(task['taskArn']).rpartition('/')[2]} of its family was started by "
        f"{task.get('startedBy') or 'somebody'}, and not by an ECS service"
        for task in tasks
        if not str(task.get("startedBy") or "").startswith(_BY_SERVICE)
    ]
    return cut_off(found[0]), tuple(sorted(strays)[:_MOST_STRAYS])


def _keys(account: AwsAccount, service: Service) -> tuple[ForeignUse, ...]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_identities import AwsIdentities
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_trail import events, foreign_use

    security = service.require_aws().security
    if not security.known_networks:
        return ()
    since = time.time() - _WINDOW_SECONDS.get(service.environment, _USUAL_WINDOW_SECONDS)
    identities = AwsIdentities(account)
    found = []
    for user in security.users:
        for key in identities.keys_of(user):
            # One that is off is refused, and how often it is tried changes nothing.
            if key.active:
                use = foreign_use(
                    user, key.shown, events(account, "AccessKeyId", key.id, since), security.known_networks
                )
                found += [use] if use is not None else []
    return tuple(found)


def judge_breach(name: str, look: BreachLook, alarms: Sequence[CheckResult]) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param alarms: signals of the topic `intrusion` of this service that are not clear.
    """
    cause, confidence, treatment = _judged(look, bool(alarms))
    evidence = [each.said for each in look.foreign]
    evidence += [*look.strays, *(f"the monitoring says so: {each.id}" for each in alarms), *look.not_seen]
    if look.cut_off:
        evidence.append(f"it is cut off on purpose already, by run {look.cut_off}")
    next_step = _RELEASE.format(name=name) if treatment == "quarantine" or look.cut_off else ""
    if treatment == "person" and not look.cut_off:
        next_step = f"Find out who made them; to cut the service off: codeblue run quarantine_service --limit {name}."
    return {
        "cause": cause,
        "confidence": confidence,
        "treatment": treatment,
        "evidence": tuple(evidence),
        "next_step": next_step,
        # What the same runbook needs of services on machines.
        **{key: [] for key in ("machines", "peers", "callers")},
        "subjects": [each.user for each in look.foreign],
        "secrets_known": treatment == "quarantine" or any(each.reads_secrets for each in look.foreign),
        "strays": len(look.strays),
    }


def _judged(look: BreachLook, alarmed: bool) -> tuple[str, float, str]:
    if look.cut_off:
        return "cut_off", PROVEN, "person" if look.strays or alarmed else "none"
    if look.foreign:
        # Its keys are in other hands, not its tasks: it goes on, and they go off.
        return "stolen_key", PROVEN if alarmed else LIKELY, DISABLE
    if alarmed:
        # The monitoring sees what nobody can here. Cutting a clinical service off needs a person's word besides.
        return "intrusion", PROVEN if look.strays else LIKELY, "quarantine"
    if look.strays:
        return "inconclusive", UNDECIDED, "person"
    return "healthy", LIKELY, "none"
