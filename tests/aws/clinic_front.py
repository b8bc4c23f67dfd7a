# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands in front of a clinic's service on AWS, as moto simulates it: a load balancer, buckets, a distribution."""

from __future__ import annotations

import typing as t
from pathlib import Path

from operator_site import OperatorSite
from regions import PRIMARY, STANDBY, Regions

FRONTEND, COPY = "clinic-frontend", "clinic-frontend-dr"


def make_balancer(regions: Regions, region: str = PRIMARY) -> dict[str, str]:
    """A load balancer with two target groups; ARNs by what they are."""
    ec2, elb = regions.client("ec2", region), regions.client("elbv2", region)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    balancer = elb.create_load_balancer(Name="clinic", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    found = {
        name: elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")["TargetGroups"][
            0
        ]["TargetGroupArn"]
        for name in ("blue", "green")
    }
    for number, arn in enumerate(found.values()):
        elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": f"10.0.0.{number + 5}", "Port": 80}])
    actions = [{"Type": "forward", "TargetGroupArn": found["blue"]}]
    listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=actions)
    return {**found, "listener": listener["Listeners"][0]["ListenerArn"]}


def weights(regions: Regions, made: dict[str, str]) -> dict[str, int]:
    """How the listener shares traffic, by the names of the groups."""
    seen = regions.client("elbv2").describe_listeners(ListenerArns=[made["listener"]])["Listeners"][0]
    forward = seen["DefaultActions"][0]
    groups = forward.get("ForwardConfig", {}).get("TargetGroups") or [{"TargetGroupArn": forward["TargetGroupArn"]}]
    names = {arn: name for name, arn in made.items()}
    return {names[each["TargetGroupArn"]]: each.get("Weight", 1) for each in groups}


def make_buckets(regions: Regions) -> None:
    """The bucket of the pages, and its copy in the other region, both with versions."""
    for name, region in ((FRONTEND, PRIMARY), (COPY, STANDBY)):
        client = regions.client("s3", region)
        place = {} if region == PRIMARY else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        client.create_bucket(Bucket=name, **place)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def put(regions: Regions, key: str, text: str, bucket: str = FRONTEND) -> None:
    client = regions.client("s3", PRIMARY if bucket == FRONTEND else STANDBY)
    client.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/html")


def text_of(regions: Regions, key: str) -> str | None:
    """What clients get; None when it is not there."""
    client = regions.client("s3")
    try:
        return str(client.get_object(Bucket=FRONTEND, Key=key)["Body"].read().decode())
    except client.exceptions.NoSuchKey:
        return None


def make_distribution(regions: Regions) -> str:
    """A distribution with two origins; its id."""
    origins = [
        {"Id": name, "DomainName": f"{name}.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
        for name in ("one", "two")
    ]
    config = {
        "CallerReference": "clinic",
        "Comment": "clinic",
        "Enabled": True,
        "Origins": {"Quantity": 2, "Items": origins},
        "DefaultCacheBehavior": {
            "TargetOriginId": "one",
            "ViewerProtocolPolicy": "https-only",
            "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
            "MinTTL": 0,
        },
    }
    made = regions.client("cloudfront").create_distribution(DistributionConfig=config)
    return str(made["Distribution"]["Id"])


def front_site(root: Path, regions: Regions, **aws: t.Any) -> OperatorSite:
    """An operator's account with one service that has these parts."""
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "storage",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": PRIMARY, "standby_region": STANDBY, **aws},
    }
    return OperatorSite(root, {"frontend": variables}, regions.environment, "region_failover")
