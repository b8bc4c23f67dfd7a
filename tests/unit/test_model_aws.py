# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `codeblue_aws` may say, and what is said about what it may not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService

ECS = {"cluster": "clinic", "service": "records"}


def load(**settings: t.Any) -> Service:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": settings,
    }
    return load_service("records", variables, ["records"])


def test_an_ecs_service_in_two_regions_is_read_whole() -> None:
    place = load(
        region="us-east-1",
        standby_region="us-west-2",
        profile="oncall",
        endpoints={"us-east-1": "http://127.0.0.1:5000"},
        ecs={**ECS, "desired": 3},
    ).require_aws()
    assert (place.region, place.standby_region, place.profile) == ("us-east-1", "us-west-2", "oncall")
    assert place.endpoints == {"us-east-1": "http://127.0.0.1:5000"}
    assert place.ecs == EcsService("clinic", "records", 3)
    assert str(place) == "ECS service records of cluster clinic in us-east-1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"region": "mars"}, "records: codeblue_aws.region: 'mars' is no region of AWS"),
        ({"region": "us-east-1", "standby_region": "us-east-1"}, "standby_region: is the region itself"),
        ({"region": "us-east-1", "reggion": 1}, "codeblue_aws.reggion: is not a known key here"),
        ({"region": "us-east-1", "ecs": {"cluster": "clinic"}}, "codeblue_aws.ecs.service: is missing"),
        ({"region": "us-east-1", "ecs": {**ECS, "service": "a b"}}, "ecs.service: 'a b' is no name in ECS"),
        ({"region": "us-east-1", "endpoints": {"us-east-1": "ftp://x"}}, "endpoints.us-east-1: must be an http"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(**settings)
    assert words in caught.value.message


def test_credentials_in_an_endpoint_are_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        load(region="us-east-1", endpoints={"us-east-1": "https://user:secret@host/"})
    assert "secret" not in caught.value.message


def test_an_action_for_another_platform_says_so() -> None:
    with pytest.raises(BadInput, match="records: is on platform aws"):
        load(region="us-east-1").require_kubernetes()
