"""Which objects lead to pods from outside, and what is left of an Ingress that is to lead to them no more."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_pod_logs import LogScan, PodLog
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_ways_in import (
    unasked,
    ways_in,
    without_backends,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy

_LABELS = {"app": "records", "tier": "api"}


def service(name: str, selector: dict[str, str], **spec: t.Any) -> dict[str, t.Any]:
    return {"metadata": {"name": name}, "spec": {"selector": selector, "type": "ClusterIP", **spec}}


def ingress(name: str, default: str = "", **paths: str) -> dict[str, t.Any]:
    spec: dict[str, t.Any] = {"defaultBackend": {"service": {"name": default}}} if default else {}
    if paths:
        found = [{"path": f"/{path}", "backend": {"service": {"name": to}}} for path, to in paths.items()]
        spec["rules"] = [{"host": "clinic.example", "http": {"paths": found}}]
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "public"),
    [
        ({}, False),
        ({"type": "NodePort"}, True),
        ({"type": "LoadBalancer"}, True),
        ({"externalIPs": ["203.0.113.7"]}, True),
        ({"type": "ExternalName"}, False),
    ],
)
def test_a_service_is_a_way_in_by_its_type_or_its_addresses(spec: dict[str, t.Any], public: bool) -> None:
    found = ways_in([service("records", {"app": "records"}, **spec)], [], _LABELS)
    assert [each.key for each in found] == (["Service/records"] if public else [])


def test_only_what_leads_to_these_pods_is_a_way_in() -> None:
    services = [
        service("records", {"app": "records"}),
        service("other", {"app": "other"}, type="LoadBalancer"),
        service("anybody", {}, type="LoadBalancer"),
    ]
    ingresses = [ingress("one", records="records"), ingress("two", other="other"), ingress("three", default="records")]
    found = ways_in(services, ingresses, _LABELS)
    assert [each.key for each in found] == ["Ingress/one", "Ingress/three"]
    assert "clinic.example/records" in found[0].how
    assert unasked(found, None) == [], "where the inventory says nothing, nothing is judged"
    assert [each.key for each in unasked(found, ["Ingress/one"])] == ["Ingress/three"]
    assert unasked(found, []) == found


def test_an_ingress_keeps_what_leads_elsewhere() -> None:
    shared = ingress("shared", records="records", other="other")
    left = without_backends(shared, ["records"])
    assert left is not None and [each["path"] for each in left["rules"][0]["http"]["paths"]] == ["/other"]
    assert without_backends(ingress("own", records="records"), ["records"]) is None
    assert without_backends(ingress("default", default="records"), ["records"]) is None
    mixed = without_backends(ingress("mixed", default="other", records="records"), ["records"])
    assert mixed is not None and mixed["rules"] == [] and mixed["defaultBackend"]["service"]["name"] == "other"
    assert [len(rule["http"]["paths"]) for rule in shared["spec"]["rules"]] == [2], "the object itself is left as it is"


def test_accesses_are_told_from_other_lines_of_the_same_log() -> None:
    lines = [
        b'2026-01-02T03:04:05Z {"path": "/p", "status": 200, "subject": "a", "patients": ["PT-000001"]}',
        b'2026-01-02T03:04:06Z {"method": "GET", "path": "/p/7", "status": 200, "patients": ["PT-000002"]}',
        b'2026-01-02T03:04:07Z {"message": "read", "patient_ref": "PT-000003"}',
        b"2026-01-02T03:04:08Z nothing about anybody",
        b"",
    ]
    content = b"\n".join(lines)
    policy = PhiPolicy(identifiers={"patient_ref": r"PT-\d{6}"}, access_containers=("main",))
    scan = LogScan(policy, b"key", keep_access=True)
    scan.add(PodLog("records-1", "uid-1", "main", "hash", content))
    assert (scan.lines, scan.first, scan.access.disclosures) == (1, "2026-01-02T03:04:07Z", 1)
    assert scan.access.paths == {"/p/{n}": 1} and len(scan.access_lines) == 1
    assert not any("PT-" in each for each in scan.evidence())
    other = LogScan(policy, b"key")
    other.add(PodLog("records-1", "uid-1", "sidecar", "hash", content))
    assert (other.lines, other.access.disclosures) == (3, 0), "a log of another container is searched whole"


def test_what_was_given_before_an_earlier_breach_ended_belongs_to_that_one() -> None:
    line = (
        b'2026-01-02T03:04:06Z {"time": "2026-01-02T03:04:06Z", "path": "/p", "status": 200, "patients": ["PT-000002"]}'
    )
    policy = PhiPolicy(access_containers=("main",))
    for since, number in (("2026-01-01T00:00:00Z", 1), ("2026-02-01T00:00:00Z", 0)):
        scan = LogScan(policy, b"key", since)
        scan.add(PodLog("records-1", "uid-1", "main", "hash", line))
        assert scan.access.disclosures == number
