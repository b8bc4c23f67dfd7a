"""Network: in each region a VPC with two subnets, and security groups for the balancer, the tasks, the databases."""

from __future__ import annotations

from codeblue.lab.aws.blueprint import DATABASE_PORT, PLATFORM, PORT, PRIMARY
from codeblue.lab.aws.filling import Filling

_ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]


def fill(filling: Filling, region: str) -> None:
    """All of one region."""
    ec2 = filling.account.client("ec2", region)
    second = 10 if region == PRIMARY else 20
    vpc = ec2.create_vpc(CidrBlock=f"10.{second}.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": PLATFORM}])
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    filling.keep(region, "vpc", vpc)
    for number, zone in enumerate("ab"):
        subnet = ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.{second}.{number}.0/24", AvailabilityZone=f"{region}{zone}"
        )["Subnet"]
        filling.keep(region, f"subnet-{zone}", subnet["SubnetId"])
    groups = {
        name: ec2.create_security_group(GroupName=f"{PLATFORM}-{name}", Description=f"{PLATFORM} {name}", VpcId=vpc)[
            "GroupId"
        ]
        for name in ("balancer", "tasks", "databases", "closed")
    }
    # One that nobody comes through in either direction, for what is to be cut off.
    every = [{"IpProtocol": "-1", "IpRanges": _ANYWHERE}]
    ec2.revoke_security_group_egress(GroupId=groups["closed"], IpPermissions=every)
    for name, group in groups.items():
        filling.keep(region, f"group-{name}", group)
    for port in (80, 443):
        _allow(ec2, groups["balancer"], port, {"IpRanges": _ANYWHERE})
    for name, port, source in (("tasks", PORT, "balancer"), ("databases", DATABASE_PORT, "tasks")):
        _allow(ec2, groups[name], port, {"UserIdGroupPairs": [{"GroupId": groups[source]}]})


def _allow(ec2: object, group: str, port: int, source: dict[str, object]) -> None:
    permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])  # type: ignore[attr-defined]
