"""Most of the platform is away at once: a dead region, no tasks, bad releases, a name that leads astray."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.aws.blueprint import API_NAME, PRIMARY, SERVICES
from codeblue.lab.aws.faults import AwsFault
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.aws.release_faults import BadRelease
from codeblue.lab.aws.service_faults import ScaledToZero

RUNBOOK = "complete_system_outage"
_APPLICATIONS = tuple(SERVICES)
_SECONDS = 180.0
_TTL = 60
_NOWHERE = f"old-balancer.{PRIMARY}.elb.amazonaws.com"


@dataclass(frozen=True)
class RegionDead(AwsFault):
    """Nothing of the primary region answers: neither its services nor the endpoints by which AWS is asked about it."""

    def damage(self, parts: AwsParts) -> None:
        parts.control.do("region", region=PRIMARY, closed=True)


@dataclass(frozen=True)
class NameWrong(AwsFault):
    """The record of the API leads to a host that is not there."""

    def damage(self, parts: AwsParts) -> None:
        record = {"Name": API_NAME, "Type": "CNAME", "TTL": _TTL, "ResourceRecords": [{"Value": _NOWHERE}]}
        parts.client("route53", PRIMARY).change_resource_record_sets(
            HostedZoneId=parts.state.facts["zone"],
            ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]},
        )


OUTAGE_FAULTS: tuple[AwsFault, ...] = (
    RegionDead(
        "region_dead",
        "the primary region does not answer: nobody listens at its endpoints, and its load balancers are away",
        (*_APPLICATIONS, "gateway", "patient_db"),
        RUNBOOK,
        _SECONDS,
    ),
    ScaledToZero(
        "clinic_scaled_to_zero", "records, auth and ai are scaled to no tasks", _APPLICATIONS, RUNBOOK, _SECONDS
    ),
    BadRelease(
        "clinic_images_missing", "records, auth and ai get images that nobody pushed", _APPLICATIONS, RUNBOOK, _SECONDS
    ),
    NameWrong(
        "api_name_wrong",
        "the record of the API leads to a load balancer that is not there",
        (*_APPLICATIONS, "gateway"),
        RUNBOOK,
        _SECONDS,
    ),
)
