"""Buckets: the pages of the frontend, data, reports, evidence that nobody can remove; images of containers."""

from __future__ import annotations

import json
import typing as t

from codeblue.lab.aws.blueprint import (
    DATA_LAKE,
    EVIDENCE,
    FRONTEND,
    FRONTEND_PREFIX,
    MAINTENANCE_PAGE,
    PAGE,
    PRIMARY,
    REGIONS,
    REPORTS,
    SERVICES,
    STANDBY,
    TASK_ROLE,
    TRAIL,
)
from codeblue.lab.aws.filling import Filling

_BLOCK_ALL = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def fill(filling: Filling) -> None:
    """Buckets of both regions, and the repositories of images."""
    for region in REGIONS:
        s3 = filling.account.client("s3", region)
        for name in (FRONTEND[region], DATA_LAKE[region]):
            _bucket(s3, name, region)
        prefix = FRONTEND_PREFIX[region]
        s3.put_object(Bucket=FRONTEND[region], Key=f"{prefix}index.html", Body=PAGE, ContentType="text/html")
        s3.put_object(
            Bucket=FRONTEND[region], Key=f"{prefix}maintenance.html", Body=MAINTENANCE_PAGE, ContentType="text/html"
        )
        s3.put_object(Bucket=DATA_LAKE[region], Key="metrics/2026/01/01.parquet", Body=b"lab")
        _images(filling.account.client("ecr", region))
    s3 = filling.account.client("s3", PRIMARY)
    for name in (REPORTS, TRAIL):
        _bucket(s3, name, PRIMARY)
    s3.put_object(Bucket=REPORTS, Key="2026/report-000001.pdf", Body=b"synthetic report of nobody\n")
    s3.create_bucket(Bucket=EVIDENCE, ObjectLockEnabledForBucket=True)
    s3.put_public_access_block(Bucket=EVIDENCE, PublicAccessBlockConfiguration=_BLOCK_ALL)
    rule = {
        "ID": "standby",
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": f"arn:aws:s3:::{DATA_LAKE[STANDBY]}"},
    }
    s3.put_bucket_replication(
        Bucket=DATA_LAKE[PRIMARY], ReplicationConfiguration={"Role": filling.facts[TASK_ROLE], "Rules": [rule]}
    )


def _bucket(s3: t.Any, name: str, region: str) -> None:
    # The first region of all is not named as a place.
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=name, **place)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=_BLOCK_ALL)


def _images(ecr: t.Any) -> None:
    for service in SERVICES.values():
        ecr.create_repository(repositoryName=service.repository)
        for version in service.versions:
            ecr.put_image(repositoryName=service.repository, imageTag=version, **image_manifest(version))


def image_manifest(tag: str) -> dict[str, str]:
    """What is pushed for an image that nobody runs; another one for each tag."""
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": {"digest": tag}})
    return {"imageManifest": manifest, "imageManifestMediaType": _MANIFEST}
