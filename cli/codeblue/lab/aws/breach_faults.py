"""Breaches: a key in foreign hands, a bucket that everybody reads, a page that is not the clinic's."""

from __future__ import annotations

import json
from dataclasses import dataclass

from codeblue.lab.aws.blueprint import DEPLOY_USER, FRONTEND, PRIMARY, REPORTS
from codeblue.lab.aws.faults import AwsFault
from codeblue.lab.aws.outside import FOREIGN_KEY_USE, PUBLIC_BUCKET
from codeblue.lab.aws.parts import AwsParts

BREACH = "security_breach_response"
EXPOSURE = "hipaa_compliance_violation"
_SECONDS = 120.0
_FOREIGN_PAGE = b"<!doctype html><title>Not the clinic</title>\n"


@dataclass(frozen=True)
class KeyLeaked(AwsFault):
    """Somebody uses the access key of the deployments from a foreign network, every second."""

    def damage(self, parts: AwsParts) -> None:
        parts.control.do("intruder", key=parts.state.facts[f"key-{DEPLOY_USER}"])


@dataclass(frozen=True)
class KeyMade(AwsFault):
    """Somebody has made a second access key for the user of the deployments, and uses that one."""

    def damage(self, parts: AwsParts) -> None:
        made = parts.client("iam", PRIMARY).create_access_key(UserName=DEPLOY_USER)["AccessKey"]
        parts.control.do("intruder", key=made["AccessKeyId"])


@dataclass(frozen=True)
class BucketListed(AwsFault):
    """A bucket with reports about patients gets a list of rights by which everybody reads it."""

    def damage(self, parts: AwsParts) -> None:
        s3 = parts.client("s3", PRIMARY)
        s3.delete_public_access_block(Bucket=REPORTS)
        s3.put_bucket_acl(Bucket=REPORTS, ACL="public-read")


@dataclass(frozen=True)
class BucketPublic(AwsFault):
    """A bucket with reports about patients is opened to everybody."""

    def damage(self, parts: AwsParts) -> None:
        s3 = parts.client("s3", PRIMARY)
        s3.delete_public_access_block(Bucket=REPORTS)
        everybody = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "s3:GetObject",
                    "Resource": f"arn:aws:s3:::{REPORTS}/*",
                }
            ],
        }
        s3.put_bucket_policy(Bucket=REPORTS, Policy=json.dumps(everybody))


@dataclass(frozen=True)
class PageOverwritten(AwsFault):
    """The first page is another one, and the CDN has taken it up."""

    def damage(self, parts: AwsParts) -> None:
        parts.client("s3", PRIMARY).put_object(
            Bucket=FRONTEND[PRIMARY], Key="index.html", Body=_FOREIGN_PAGE, ContentType="text/html"
        )
        parts.client("cloudfront", PRIMARY).create_invalidation(
            DistributionId=parts.state.facts["distribution"],
            InvalidationBatch={"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": self.name},
        )


BREACH_FAULTS: tuple[AwsFault, ...] = (
    KeyLeaked(
        "deploy_key_leaked",
        "the access key of deploy-bot is used from a foreign network",
        ("records",),
        BREACH,
        _SECONDS,
        signals=(FOREIGN_KEY_USE,),
    ),
    KeyMade(
        "deploy_key_made",
        "a second access key of deploy-bot, which nobody of the clinic made, is used from a foreign network",
        ("records",),
        BREACH,
        _SECONDS,
        signals=(FOREIGN_KEY_USE,),
    ),
    BucketListed(
        "reports_bucket_listed",
        "the bucket with reports about patients can be read by everybody, by its list of rights",
        ("records",),
        EXPOSURE,
        _SECONDS,
        signals=(PUBLIC_BUCKET,),
    ),
    BucketPublic(
        "reports_bucket_public",
        "the bucket with reports about patients can be read by everybody",
        ("records",),
        EXPOSURE,
        _SECONDS,
        signals=(PUBLIC_BUCKET,),
    ),
    PageOverwritten("page_overwritten", "the first page of the frontend is another one", ("frontend",)),
)
