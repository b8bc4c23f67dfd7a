"""How many more pods the quotas leave room for."""

from __future__ import annotations

import typing as t
from fractions import Fraction

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_quota import quantity, room_for

TEMPLATE = {
    "spec": {
        "containers": [
            {"resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "256Mi", "cpu": "1"}}},
            {"resources": {"requests": {"cpu": "250m"}}},
        ]
    }
}


def quota(hard: dict[str, str], used: dict[str, str], **spec: t.Any) -> dict[str, t.Any]:
    return {"metadata": {"name": "small"}, "spec": spec, "status": {"hard": hard, "used": used}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("500m", Fraction(1, 2)), ("1.5", Fraction(3, 2)), ("1Ki", 1024), ("2M", 2_000_000), ("1e3", 1000)],
)
def test_quantities(text: str, value: t.Any) -> None:
    assert quantity(text) == value
    with pytest.raises(ValueError, match="many"):
        quantity("many")


@pytest.mark.parametrize(
    ("hard", "used", "pods"),
    [
        ({"pods": "5"}, {"pods": "3"}, 2),
        ({"pods": "5", "requests.cpu": "2"}, {"pods": "1", "requests.cpu": "1500m"}, 1),
        # A request that is left out is the limit, as the API has it.
        ({"memory": "1Gi"}, {"memory": "512Mi"}, 2),
        ({"limits.cpu": "2"}, {"limits.cpu": "2"}, 0),
        ({"pods": "2"}, {"pods": "3"}, 0),
        ({"services": "1"}, {"services": "1"}, None),
        ({"requests.storage": "1Gi"}, {}, None),
    ],
)
def test_the_least_that_a_quota_leaves(hard: dict[str, str], used: dict[str, str], pods: int | None) -> None:
    room = room_for(TEMPLATE, [quota(hard, used)])
    assert (room.pods if room is not None else None) == pods


def test_a_quota_for_some_pods_only_is_left_out() -> None:
    scoped = quota({"pods": "0"}, {"pods": "0"}, scopes=["BestEffort"])
    assert room_for(TEMPLATE, [scoped]) is None
    several = room_for(TEMPLATE, [scoped, quota({"pods": "9"}, {}), quota({"pods": "4"}, {})])
    assert several is not None and (several.pods, several.why) == (4, "quota small, pods")
