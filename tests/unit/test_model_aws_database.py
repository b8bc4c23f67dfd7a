# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `codeblue_aws.database` may say, and what is said about what it may not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import (
    DatabasePlace,
    Endpoint,
    ReplicaPlace,
)


def load(**database: t.Any) -> AwsPlatform:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "database",
        "codeblue_objectives": {"rto": "30m", "rpo": "15m"},
        "codeblue_aws": {"region": "us-east-1", "standby_region": "us-west-2", "database": database},
    }
    return load_service("patient_db", variables, ["patient_db"]).require_aws()


def test_an_instance_with_its_replica_in_the_other_region_is_read_whole() -> None:
    place = load(
        instance="clinic-prod",
        replica={"instance": "clinic-dr"},
        endpoints=[
            {"parameter": "/clinic/database/host"},
            {"secret": "clinic/database", "key": "hostname", "region": "us-west-2"},
            {"record": "db.clinic.example", "zone": "Z0123456789"},
        ],
        credentials="clinic/database",
        copies=["us-west-2"],
        keys={"us-west-2": "alias/backups"},
        closed_group="sg-0123456789abcdef0",
    )
    found = place.require_database("patient_db")
    assert found.place == DatabasePlace("us-east-1", "clinic-prod", cluster=False)
    assert found.replica == ReplicaPlace(DatabasePlace("us-west-2", "clinic-dr", cluster=False))
    assert found.endpoints == (
        Endpoint("parameter", "/clinic/database/host", "us-east-1"),
        Endpoint("secret", "clinic/database", "us-west-2", key="hostname"),
        Endpoint("record", "db.clinic.example", "us-east-1", zone="Z0123456789"),
    )
    assert (found.copies, found.keys) == (("us-west-2",), {"us-west-2": "alias/backups"})
    assert str(place) == "RDS instance clinic-prod in us-east-1"


def test_a_cluster_of_a_global_database_is_read() -> None:
    found = load(cluster="clinic", replica={"cluster": "clinic", "global_cluster": "clinic-world"}).database
    assert found is not None and found.replica is not None
    assert (found.replica.place.region, found.replica.global_cluster) == ("us-west-2", "clinic-world")


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ({}, "database.instance: name either an instance or an Aurora cluster"),
        ({"instance": "a", "cluster": "b"}, "exactly one of the keys"),
        ({"instance": "two--dashes"}, "database.instance: 'two--dashes' cannot be one"),
        ({"instance": "a", "replica": {"cluster": "b"}}, "replica.cluster: must be an instance"),
        ({"cluster": "a", "replica": {"instance": "b"}}, "replica.instance: must be an Aurora cluster"),
        ({"instance": "a", "replica": {"instance": "a", "region": "us-east-1"}}, "is the database itself"),
        ({"instance": "a", "replica": {"instance": "b", "global_cluster": "g"}}, "is for Aurora clusters"),
        ({"instance": "a", "copies": ["us-east-1"]}, "copies: us-east-1 is the region itself"),
        ({"instance": "a", "copies": ["mars"]}, "copies: 'mars' is no region"),
        ({"instance": "a", "endpoints": [{"record": "db.x"}]}, "endpoints[0].zone: is missing"),
        ({"instance": "a", "endpoints": [{}]}, "endpoints[0].parameter: name a parameter, a secret or a record"),
        ({"instance": "a", "closed_group": "closed"}, "closed_group: 'closed' cannot be one"),
        ({"instance": "a", "backup_days": 40}, "backup_days: must be a whole number from 1 to 35"),
    ],
)
def test_what_is_wrong_is_named(database: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(**database)
    assert words in caught.value.message


def test_who_has_no_database_is_told_so() -> None:
    with pytest.raises(BadInput, match=r"records: has no codeblue_aws\.database"):
        AwsPlatform("us-east-1").require_database("records")
