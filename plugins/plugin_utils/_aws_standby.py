# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a service can work in a region before traffic moves there: everything is looked at at once.

Nothing here asks the region that may be gone, but to compare, for which it gets a few seconds.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import name_of_arn, region_of_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_copies import copied_objects
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_fitness import Fitness, fit, unfit
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_load_balancer import group_complaint
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby_replica import looked_at_replica
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby_tasks import looked_at_tasks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_standby import Quota
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import STANDBY

# A region that is gone costs so long, once, while the others are asked anyway.
_OTHER_SECONDS = 4.0
# Clients refuse a certificate from its last second on; what ends within the hour will not last for the recovery.
_LEAST_VALID = datetime.timedelta(hours=1)
_SOON = datetime.timedelta(days=14)
# The parameter store takes so many names in one filter.
_MOST_NAMES = 50

Look = Callable[[], list[Fitness]]


@dataclass(frozen=True)
class Destination:
    """Where traffic is to go.

    :param side: `standby` or `primary`.
    :param region: of that side.
    :param other: the region that it leaves; None when it is not to be asked.
    """

    side: str
    region: str
    other: str | None

    def here(self, arns: Sequence[str]) -> list[str]:
        """Those that are in this region."""
        return [each for each in arns if region_of_arn(each) == self.region]


def destination(place: AwsPlatform, side: str) -> Destination | None:
    """The region of a side, and the other one; None when there is none."""
    if place.standby_region is None:
        return None
    regions = (place.standby_region, place.region)
    return Destination(side, *(regions if side == STANDBY else regions[::-1]))


def tasks_at(place: AwsPlatform, side: str) -> EcsService | None:
    """The ECS service of a side."""
    return place.standby.ecs or place.ecs if side == STANDBY else place.ecs


def look_at_standby(
    account: AwsAccount, place: AwsPlatform, to: Destination, rpo: float, now: datetime.datetime
) -> list[Fitness]:
    """Everything that the inventory says the service needs there.

    :param rpo: seconds of data that may be lost.
    :param now: with a time zone.
    """
    needs = place.standby
    looks: list[tuple[str, Look]] = []
    tasks = tasks_at(place, to.side)
    if tasks is not None:
        looks.append((str(tasks), partial(looked_at_tasks, account, tasks, to.region)))
    looks += [(f"secret {each}", partial(_secret, account, each, to)) for each in needs.secrets]
    for start in range(0, len(needs.parameters), _MOST_NAMES):
        looks.append(("parameters", partial(_parameters, account, needs.parameters[start : start + _MOST_NAMES], to)))
    looks += [
        (f"certificate for {host}", partial(_certificate, account, host, arn, now))
        for host, arn in needs.certificates.items()
        if to.here([arn])
    ]
    looks += [(f"quota {each.code}", partial(_quota, account, each, to.region)) for each in needs.quotas]
    looks += [
        (f"target group {name_of_arn(arn)}", partial(_targets, account, arn, tasks))
        for arn in to.here(needs.target_groups)
    ]
    looks += [
        (str(each), partial(_function, account, each.function, to.region))
        for each in place.functions.values()
        if each.side == to.side
    ]
    replica = place.database.replica if place.database is not None else None
    if replica is not None and replica.place.region == to.region:
        looks.append((f"replica {replica}", partial(looked_at_replica, account, replica, rpo, now)))
    if place.bucket is not None and place.bucket.copy is not None and to.side == STANDBY:
        looks.append((str(place.bucket), partial(copied_objects, account, place.bucket, to, rpo, now)))

    def look(each: tuple[str, Look]) -> list[Fitness]:
        try:
            return each[1]()
        except AwsError as error:
            # What nobody could look at is not known to be fit.
            return [unfit(each[0], f"cannot be looked at: {error.message}")]

    return [found for answer in AwsAccount.side_by_side(looks, look) for found in answer]


def other_side(ask: Callable[[], t.Any]) -> t.Any | None:
    """What the region says that traffic leaves; None when it says nothing."""
    try:
        return ask()
    except AwsUnavailable:
        return None
    except NotFound:
        return None


def _secret(account: AwsAccount, name: str, to: Destination) -> list[Fitness]:
    what = f"secret {name}"

    def described(region: str, patience: float | None = None) -> dict[str, t.Any]:
        return account.ask("secretsmanager", "describe_secret", region, what, patience, SecretId=name)

    here = described(to.region)
    if here.get("DeletedDate"):
        return [unfit(what, "is to be deleted")]
    version = _current(here)
    if version is None:
        return [unfit(what, "has no current version")]
    if to.other is None:
        return [fit(what, "is there")]
    other = to.other
    there = other_side(lambda: described(other, _OTHER_SECONDS))
    if there is None:
        return [fit(what, f"is there; {other} was not compared")]
    replications = [*(there.get("ReplicationStatus") or ()), *(here.get("ReplicationStatus") or ())]
    own = [each for each in replications if each.get("Region") in (to.region, other)]
    failed = next((each for each in own if each.get("Status") == "Failed"), None)
    if failed is not None:
        return [unfit(what, f"is not replicated: {str(failed.get('StatusMessage') or 'it failed')[:200]}")]
    if own or here.get("PrimaryRegion") or there.get("PrimaryRegion"):
        # A replica has the versions of its source under their own names.
        if _current(there) != version:
            return [unfit(what, f"has another version than in {other}")]
        return [fit(what, f"has the version of {other}")]
    # Two secrets of one name, each with versions of its own. That one was changed later may be a rotation that was
    # forgotten here, or how they were made: it is told.
    later = _moment(there) > _moment(here)
    return [fit(what, f"is there; it was changed in {other} after it was here" if later else "is there")]


def _moment(secret: dict[str, t.Any]) -> datetime.datetime:
    found = secret.get("LastChangedDate") or secret.get("CreatedDate")
    return t.cast(datetime.datetime, found) if found else datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _current(secret: dict[str, t.Any]) -> str | None:
    stages = secret.get("VersionIdsToStages") or {}
    return next((version for version, names in stages.items() if "AWSCURRENT" in names), None)


def _parameters(account: AwsAccount, names: Sequence[str], to: Destination) -> list[Fitness]:
    filters = [{"Key": "Name", "Option": "Equals", "Values": list(names)}]

    def described(region: str, patience: float | None = None) -> dict[str, dict[str, t.Any]]:
        found = account.ask_all(
            "ssm", "describe_parameters", "Parameters", region, "parameters", patience, ParameterFilters=filters
        )
        return {str(each["Name"]): each for each in found}

    here = described(to.region)
    other = to.other
    there = other_side(lambda: described(other, _OTHER_SECONDS)) if other is not None else None
    result = []
    for name in names:
        what = f"parameter {name}"
        own, model = here.get(name), (there or {}).get(name)
        if own is None:
            result.append(unfit(what, f"is not there in {to.region}"))
        elif model is not None and _changed(model) > _changed(own):
            # There is no replication of parameters, and many, such as addresses, are not the same in two regions.
            result.append(fit(what, f"is there; it was changed in {other} after it was here"))
        else:
            result.append(fit(what, "is there" if there is not None else f"is there; {other} was not compared"))
    return result


def _changed(parameter: dict[str, t.Any]) -> datetime.datetime:
    return t.cast(datetime.datetime, parameter["LastModifiedDate"])


def _certificate(account: AwsAccount, host: str, arn: str, now: datetime.datetime) -> list[Fitness]:
    what = f"certificate for {host}"
    found = account.ask("acm", "describe_certificate", region_of_arn(arn), what, CertificateArn=arn)["Certificate"]
    if found["Status"] != "ISSUED":
        return [unfit(what, f"is {str(found['Status']).lower().replace('_', ' ')}")]
    names = {str(found.get("DomainName")), *map(str, found.get("SubjectAlternativeNames") or ())}
    if not any(_covers(name.lower(), host.lower()) for name in names):
        return [unfit(what, f"is for {', '.join(sorted(names))}")]
    left = found["NotAfter"] - now if found.get("NotAfter") else _SOON
    if left < _LEAST_VALID:
        return [unfit(what, f"ends at {found['NotAfter']:%Y-%m-%d %H:%M}")]
    return [fit(what, f"ends in {left.days} days" if left < _SOON else "is valid")]


def _covers(name: str, host: str) -> bool:
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _quota(account: AwsAccount, quota: Quota, region: str) -> list[Fitness]:
    what = f"quota {quota.code} of {quota.service}"
    names = {"ServiceCode": quota.service, "QuotaCode": quota.code}
    try:
        found = account.ask("service-quotas", "get_service_quota", region, what, **names)
    except NotFound:
        # Before somebody has asked for more there is only the one of AWS.
        found = account.ask("service-quotas", "get_aws_default_service_quota", region, what, **names)
    value, name = float(found["Quota"]["Value"]), str(found["Quota"].get("QuotaName") or quota.code)
    if value < quota.least:
        return [unfit(what, f"({name}) is {value:g}, {quota.least:g} are needed")]
    return [fit(what, f"({name}) is {value:g}")]


def _targets(account: AwsAccount, arn: str, tasks: EcsService | None) -> list[Fitness]:
    what = f"target group {name_of_arn(arn)}"
    reason = group_complaint(account, arn)
    if not reason:
        return [fit(what, "every target works")]
    if tasks is not None and "has no targets" in reason:
        return [fit(what, "gets its targets with the tasks")]
    return [unfit(what, reason)]


def _function(account: AwsAccount, name: str, region: str) -> list[Fitness]:
    what = f"function {name}"
    found = account.ask("lambda", "get_function_configuration", region, what, FunctionName=name)
    state = str(found.get("State") or "Active")
    # An inactive one is started by the next call.
    return [fit(what, "is there")] if state in ("Active", "Inactive") else [unfit(what, f"is {state.lower()}")]
