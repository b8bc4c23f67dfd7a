# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that runs on AWS: in which regions, by which identity it is reached, and what it is made of."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import AwsDatabase, read_database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService, read_ecs
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_functions import (
    RecoveryFunction,
    read_functions,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import AwsSecurity, read_security
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_standby import StandbyNeeds, read_standby
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_storage import Bucket, read_bucket
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import (
    Distribution,
    DnsRoute,
    LoadBalancer,
    read_distribution,
    read_dns,
    read_load_balancer,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature, read_feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# As us-east-1, eu-central-2, us-gov-west-1.
_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,2}-\d")
_URL = re.compile(r"https?://[-.\w\[\]:]+(/[-./\w]*)?")


@dataclass(frozen=True)
class AwsPlatform:
    """What `codeblue_aws` says.

    :param region: in which it runs when all is well.
    :param standby_region: in which it can run instead; None when there is none.
    :param profile: of the AWS configuration files on the controller; None for the environment or the machine's role.
    :param endpoints: region to the URL at which its services answer, for a proxy or a laboratory.
    :param ecs: the ECS service that it is; None when it is none.
    :param dns: the record by which it is reached; None when it has none that moves.
    :param load_balancer: in front of it; None when it has none.
    :param distribution: of CloudFront in front of it; None when it has none.
    :param bucket: that holds its pages or data; None when it has none.
    :param functions: that take part in a recovery, by the name that they have here.
    :param standby: what it needs in the standby region.
    :param security: what a breach of it is contained by.
    :param database: the database in RDS that it is; None when it is none.
    """

    region: str
    standby_region: str | None = None
    profile: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    ecs: EcsService | None = None
    dns: DnsRoute | None = None
    load_balancer: LoadBalancer | None = None
    distribution: Distribution | None = None
    bucket: Bucket | None = None
    functions: Mapping[str, RecoveryFunction] = field(default_factory=dict)
    standby: StandbyNeeds = field(default_factory=StandbyNeeds)
    security: AwsSecurity = field(default_factory=AwsSecurity)
    database: AwsDatabase | None = None
    features: Mapping[str, Feature] = field(default_factory=dict)

    def require_database(self, name: str) -> AwsDatabase:
        """The database.

        :param name: of the service, for people.
        :raises BadInput: it is none.
        """
        if self.database is None:
            raise BadInput(f"{name}: has no codeblue_aws.database", "this is for databases in RDS")
        return self.database

    @property
    def place(self) -> tuple[str, str | None, tuple[tuple[str, str], ...]]:
        """The same for services that one client can ask about."""
        return self.region, self.profile, tuple(sorted(self.endpoints.items()))

    def __str__(self) -> str:
        known = (self.ecs, self.database, self.bucket, self.distribution)
        parts = [str(each) for each in known if each is not None]
        return f"{' and '.join(parts) or 'what it is'} in {self.region}"


def read_aws(values: TypedMapping, inventory_names: Collection[str] = ()) -> AwsPlatform:
    """Read `codeblue_aws`; what is wrong goes to the problems of the mapping.

    :param inventory_names: of services and machines.
    """
    ecs = values.optional_child("ecs")
    dns, balancer = values.optional_child("dns"), values.optional_child("load_balancer")
    distribution, bucket = values.optional_child("distribution"), values.optional_child("bucket")
    needs = values.optional_child("standby")
    database = values.optional_child("database")
    region = read_region(values, "region", values.text("region"))
    standby = values.optional_text("standby_region")
    platform = AwsPlatform(
        region=region,
        standby_region=read_region(values, "standby_region", standby) if standby is not None else None,
        profile=values.optional_text("profile"),
        endpoints=_read_endpoints(values),
        ecs=read_ecs(ecs) if ecs is not None else None,
        dns=read_dns(dns) if dns is not None else None,
        load_balancer=read_load_balancer(balancer) if balancer is not None else None,
        distribution=read_distribution(distribution) if distribution is not None else None,
        bucket=read_bucket(bucket) if bucket is not None else None,
        functions=read_functions(values, "functions"),
        standby=read_standby(needs) if needs is not None else StandbyNeeds(),
        security=read_security(values),
        database=read_database(database, region, standby) if database is not None else None,
        features={
            name: read_feature(item, name, inventory_names, region=region) for name, item in values.children("features")
        },
    )
    if standby is not None and standby == region:
        values.problem("standby_region", "is the region itself, name another one")
    if needs is not None and standby is None:
        values.problem("standby", "needs standby_region beside it")
    values.finish()
    return platform


def read_region(values: TypedMapping, key: str, text: str) -> str:
    """A region's name."""
    if text and not _REGION.fullmatch(text):
        values.problem(key, f"{quote(text)} is no region of AWS, write it like us-east-1")
    return text


def _read_endpoints(values: TypedMapping) -> dict[str, str]:
    child = values.optional_child("endpoints")
    if child is None:
        return {}
    found = {}
    for region in child.names():
        read_region(child, region, region)
        url = child.text(region)
        if url and not _URL.fullmatch(url):
            child.problem(region, "must be an http:// or https:// URL without credentials")
        found[region] = url
    child.finish()
    return found
