"""What the monitoring of a lab on a cluster tells, from its objects."""

from __future__ import annotations

import base64
import typing as t

import pytest
from codeblue.drill.workload_witness import without_single_late_ones
from codeblue.lab.kubernetes.manifests import Manifest, read_manifests
from codeblue.lab.kubernetes.signals import (
    LATE_SECONDS,
    QUEUE_SECONDS,
    SimulatedAnswers,
    foreign_pods,
    leaked_secrets,
    secrets_of,
)
from codeblue.lab.measurement import Sample

VALUE = "a-value-of-some-length"
SERVICES = [{"metadata": {"name": "records"}, "spec": {"selector": {"app": "records"}}}]


def pod(name: str, app: str = "records", tag: str = "1.0.0", made: bool = True, ready: bool = True) -> dict[str, t.Any]:
    owners = [{"kind": "ReplicaSet", "name": "records-1", "controller": True}] if made else []
    return {
        "metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners},
        "spec": {"containers": [{"name": "main", "image": f"clinic/{app}:{tag}"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def ai() -> Manifest:
    manifests = read_manifests("clinic", lambda name, key: VALUE)
    return next(each for each in manifests if each.key == "Deployment/ai")


def test_a_pod_that_no_controller_made_is_foreign_while_the_service_leads_to_it() -> None:
    assert foreign_pods("records", [pod("a"), pod("b")], SERVICES) == ""
    assert foreign_pods("records", [pod("a"), pod("helper", app="other", made=False)], SERVICES) == ""
    assert "pod helper takes its traffic" in foreign_pods("records", [pod("a"), pod("helper", made=False)], SERVICES)
    going = pod("helper", made=False)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert foreign_pods("records", [going], SERVICES) == ""


@pytest.mark.parametrize(
    ("text", "leaked"),
    [(f"curl -H 'X-Api-Key: {VALUE}'", True), ("curl -H 'X-Api-Key: …'", False)],
)
def test_a_value_of_a_secret_in_a_config_map_is_told_without_the_value(text: str, leaked: bool) -> None:
    workload = ai()
    assert secrets_of(workload.body) == ["ai-api-key"]
    secret = {"metadata": {"name": "ai-api-key"}, "data": {"key": base64.b64encode(VALUE.encode()).decode()}}
    notes = {"metadata": {"name": "notes"}, "data": {"notes.txt": text}}
    said = leaked_secrets(workload, [secret], [notes], secrets_of(workload.body))
    assert bool(said) == leaked and VALUE not in said
    if leaked:
        assert "key of Secret ai-api-key stands in ConfigMap notes" in said
    # Once it was rotated, what stands there opens nothing.
    secret["data"]["key"] = base64.b64encode(b"another-value-of-some-length").decode()
    assert leaked_secrets(workload, [secret], [notes], ["ai-api-key"]) == ""


def test_answers_are_late_by_the_release_and_by_too_few_pods_after_a_while() -> None:
    answers = SimulatedAnswers()
    good = [pod("a"), pod("b")]
    assert answers.wait_seconds("records", 2, good, 0.0) == 0.0
    assert answers.wait_seconds("records", 2, [pod("a", tag="slow"), pod("b")], 0.0) == LATE_SECONDS
    # One that was lost for a moment makes nobody wait.
    assert answers.wait_seconds("records", 2, good[:1], 1.0) == 0.0
    assert answers.wait_seconds("records", 2, good, 2.0) == 0.0
    assert answers.wait_seconds("records", 2, good[:1], 3.0) == 0.0
    assert answers.wait_seconds("records", 2, good[:1], 3.0 + QUEUE_SECONDS) == LATE_SECONDS
    assert answers.wait_seconds("records", 2, [*good[:1], pod("b", ready=False)], 9.0) == LATE_SECONDS
    assert answers.wait_seconds("records", 2, good, 10.0) == 0.0


def test_one_late_answer_among_good_ones_is_no_outage() -> None:
    def seen(details: str, endpoint: str = "records") -> list[Sample]:
        words = {".": "", "s": "slow", "x": "no_ready_pod"}
        return [Sample(endpoint, n, n + 0.1, n, d == ".", words[d]) for n, d in enumerate(details)]

    def shown(details: str) -> str:
        return "".join("." if each.ok else each.detail[0] for each in without_single_late_ones(seen(details)))

    assert shown(".s.ss..") == "......."
    assert shown(".sss.") == ".sss."
    assert shown(".x.") == ".n." and shown(".sx.") == ".sn."
    both = without_single_late_ones([*seen("s.s"), *seen("sss", "ai")])
    assert [each.endpoint for each in both if not each.ok] == ["ai"] * 3
