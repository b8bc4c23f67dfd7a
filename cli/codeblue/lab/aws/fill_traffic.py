"""The ways to the platform: load balancers, certificates, the CDN, names."""

from __future__ import annotations

import datetime as dt
import typing as t

from codeblue.lab.aws.blueprint import (
    API_NAME,
    BALANCER,
    FRONTEND,
    FRONTEND_PREFIX,
    PORT,
    PORTAL_NAME,
    PRIMARY,
    REGIONS,
    SERVICES,
    STANDBY,
    WEB_NAME,
    ZONE_NAME,
)
from codeblue.lab.aws.filling import Filling

_TTL = 60
_DAYS = 90
#: The zone of all distributions of CloudFront.
_CDN_ZONE = "Z2FDTNDATAQYW2"


def fill_balancer(filling: Filling, region: str) -> None:
    """A load balancer with a target group and a rule for each service, and a certificate."""
    elb = filling.account.client("elbv2", region)
    made = elb.create_load_balancer(
        Name=BALANCER[region],
        Subnets=[filling.fact(region, f"subnet-{zone}") for zone in "ab"],
        SecurityGroups=[filling.fact(region, "group-balancer")],
    )["LoadBalancers"][0]
    filling.keep(region, "balancer", made["LoadBalancerArn"])
    filling.keep(region, "balancer-name", made["DNSName"])
    filling.keep(region, "balancer-zone", made["CanonicalHostedZoneId"])
    groups = {}
    for service in SERVICES.values():
        groups[service.name] = elb.create_target_group(
            Name=service.target_group,
            Protocol="HTTP",
            Port=PORT,
            VpcId=filling.fact(region, "vpc"),
            TargetType="ip",
            HealthCheckPath="/health",
            HealthCheckIntervalSeconds=5,
            HealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        filling.keep(region, f"target-group-{service.name}", groups[service.name])
    listener = elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[_forward(groups["records"])],
    )["Listeners"][0]["ListenerArn"]
    filling.keep(region, "listener", listener)
    for service in SERVICES.values():
        paths = [service.path, f"{service.path}/*"]
        rule = elb.create_rule(
            ListenerArn=listener,
            Priority=service.priority,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": paths}}],
            Actions=[_forward(groups[service.name])],
        )["Rules"][0]["RuleArn"]
        filling.keep(region, f"rule-{service.name}", rule)
    certificate, key = _certificate(API_NAME)
    acm = filling.account.client("acm", region)
    arn = acm.import_certificate(Certificate=certificate, PrivateKey=key)["CertificateArn"]
    filling.keep(region, "certificate", arn)


def fill_names(filling: Filling) -> None:
    """The CDN and the zone with its records: `api` simple, `portal` weighted, `www` an alias of the CDN."""
    cdn = filling.account.client("cloudfront", PRIMARY)
    origins = [
        {
            "Id": f"frontend-{side}",
            "DomainName": f"{FRONTEND[region]}.s3.{region}.amazonaws.com",
            "OriginPath": f"/{FRONTEND_PREFIX[region]}".rstrip("/"),
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        for side, region in (("primary", PRIMARY), ("standby", STANDBY))
    ]
    made = cdn.create_distribution(
        DistributionConfig={
            "CallerReference": "codeblue-lab",
            "Comment": ZONE_NAME,
            "Enabled": True,
            "DefaultRootObject": "index.html",
            "Aliases": {"Quantity": 1, "Items": [WEB_NAME]},
            "Origins": {"Quantity": len(origins), "Items": origins},
            "DefaultCacheBehavior": {
                "TargetOriginId": "frontend-primary",
                "ViewerProtocolPolicy": "redirect-to-https",
                "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
                "MinTTL": 0,
            },
        }
    )["Distribution"]
    filling.facts["distribution"] = made["Id"]
    filling.facts["distribution-name"] = made["DomainName"]
    names = filling.account.client("route53", PRIMARY)
    zone = names.create_hosted_zone(Name=ZONE_NAME, CallerReference="codeblue-lab")["HostedZone"]["Id"]
    filling.facts["zone"] = zone.removeprefix("/hostedzone/")
    for region in REGIONS:
        check = names.create_health_check(
            CallerReference=f"codeblue-lab-{region}",
            HealthCheckConfig={
                "Type": "HTTP",
                "FullyQualifiedDomainName": filling.fact(region, "balancer-name"),
                "Port": 80,
                "ResourcePath": "/records/health",
                "RequestInterval": 10,
                "FailureThreshold": 3,
            },
        )["HealthCheck"]["Id"]
        filling.keep(region, "health-check", check)
    records: list[dict[str, t.Any]] = [
        {"Name": API_NAME, "Type": "CNAME", "TTL": _TTL, **_to(filling.fact(PRIMARY, "balancer-name"))},
        *(
            {
                "Name": PORTAL_NAME,
                "Type": "CNAME",
                "SetIdentifier": side,
                "Weight": weight,
                "TTL": _TTL,
                **_to(filling.fact(region, "balancer-name")),
            }
            for side, region, weight in (("primary", PRIMARY, 100), ("standby", STANDBY, 0))
        ),
        {
            "Name": WEB_NAME,
            "Type": "A",
            "AliasTarget": {"HostedZoneId": _CDN_ZONE, "DNSName": made["DomainName"], "EvaluateTargetHealth": False},
        },
    ]
    names.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": each} for each in records]},
    )


def _to(name: str) -> dict[str, t.Any]:
    return {"ResourceRecords": [{"Value": name}]}


def _forward(group: str) -> dict[str, t.Any]:
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": group, "Weight": 100}]}}


def _certificate(name: str) -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem), private
