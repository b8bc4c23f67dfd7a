"""The inventory of a lab on a cluster: the shape of a production one."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import WORKLOAD_RESOURCES
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services

from codeblue.lab.files import make_directory, write_text
from codeblue.lab.kubernetes.manifests import SERVICE_NAMES, Manifest
from codeblue.lab.kubernetes.monitoring import LIMIT_SECONDS, signal_checks
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.signals import secrets_of

_HEADER = "# Written by `codeblue lab up --platform kubernetes`; gone with `codeblue lab down`. Holds no secrets.\n"
# Three failures in a row, so far apart, stand for three failures 30 s apart in production. A pod that was deleted is
# back within that time where pods are simulated.
_PACE = "300ms"
_SERVICES: t.Mapping[str, tuple[str, str, int, list[str], str]] = {
    "patient_db": ("codeblue_databases", "database", 0, [], "5m"),
    "gateway": ("codeblue_gateways", "gateway", 0, [], "5m"),
    "auth": ("codeblue_auth_services", "auth", 1, ["patient_db"], "15m"),
    "records": ("codeblue_application_services", "service", 2, ["patient_db", "auth"], "15m"),
    "ai": ("codeblue_ai_services", "ai", 3, [], "15m"),
}
_FEATURES: t.Mapping[str, dict[str, t.Any]] = {
    "ai": {
        "triage": {
            "used_by": "records",
            "enabled": "ai_enabled",
            "places": [{"config_map": "records-flags", "key": "flags.json"}],
        }
    }
}


# What the simulated Jobs of a recovery ask; an image of these tools is the site's affair.
_RULES = [
    {"id": "records_digests", "tables": ["records"], "violations": "SELECT count(*) FROM damaged_records"},
    {"id": "records_there", "tables": ["records"], "minimum_rows": 100},
]
# Who is made up, in the form that the clinic gives its patients; nobody leads to records but the gateway.
_PHI: t.Mapping[str, dict[str, t.Any]] = {
    "records": {
        "identifiers": {"patient_ref": r"PT-\d{6}"},
        "access_containers": ["records"],
        "organisation": "Clinic of the lab",
    }
}


def write_inventory(parts: ClusterParts) -> None:
    """Write `inventory/hosts.yml`."""
    import yaml

    make_directory(parts.layout.inventory.parent)
    write_text(parts.layout.inventory, _HEADER + yaml.safe_dump(inventory(parts), sort_keys=False, width=120))


def inventory(parts: ClusterParts) -> dict[str, t.Any]:
    """What is written."""
    groups: dict[str, t.Any] = {}
    for name, (group, kind, tier, needs, rto) in _SERVICES.items():
        groups[group] = {"hosts": {name: _service(parts, name, kind, tier, needs, rto)}}
    recipient = parts.layout.recipients.read_text(encoding="utf-8").strip()
    shared = {
        "codeblue_environment": "lab",
        "ansible_connection": "local",
        "codeblue_snapshot_recipients": [recipient],
        "codeblue_evidence_recipients": [recipient],
        "codeblue_snapshot_identity": str(parts.layout.identity),
        # Of its own: an earlier lab's snapshots are for another identity.
        "codeblue_snapshot_store": str(parts.layout.root / "snapshots"),
    }
    return {"all": {"vars": shared, "children": {"codeblue_services": {"children": groups}}}}


def services_of(parts: ClusterParts) -> dict[str, Service]:
    """The services as Ansible reads them from it."""
    written = inventory(parts)["all"]
    groups = written["children"]["codeblue_services"]["children"]
    variables = {
        name: {**written["vars"], **each} for group in groups.values() for name, each in group["hosts"].items()
    }
    return load_services(variables, list(variables))


def _service(parts: ClusterParts, name: str, kind: str, tier: int, needs: list[str], rto: str) -> dict[str, t.Any]:
    workload = parts.workload_of(name)
    port = parts.state.monitor_port
    assert workload.kind in WORKLOAD_RESOURCES and port is not None
    place: dict[str, t.Any] = {
        "namespace": parts.namespace,
        workload.kind.lower(): workload.name,
        "service": SERVICE_NAMES[name],
        "replicas": workload.body["spec"]["replicas"],
        "secrets": _rotated(parts, workload),
    }
    if name == "patient_db":
        place["database"] = _database(parts)
    if name in _FEATURES:
        place["features"] = _FEATURES[name]
    for key, value in (("kubeconfig", parts.state.kubeconfig), ("context", parts.state.context)):
        if value is not None:
            place[key] = value
    phi = {"codeblue_phi": _PHI[name]} if name in _PHI else {}
    if phi:
        place["ways_in"] = []
    return {
        **phi,
        "codeblue_platform": "kubernetes",
        "codeblue_kind": kind,
        "codeblue_tier": tier,
        "codeblue_depends_on": needs,
        "codeblue_objectives": {"rto": rto, "rpo": "5m"},
        "codeblue_kubernetes": place,
        "codeblue_checks": {
            "interval": _PACE,
            "consecutive": 3,
            "signals": signal_checks(port, name),
            "thresholds": {"response": f"{LIMIT_SECONDS:g}s", "p95_floor": f"{LIMIT_SECONDS:g}s"},
        },
    }


def _database(parts: ClusterParts) -> dict[str, t.Any]:
    return {
        "engine": "postgresql",
        "image": f"{parts.state.image}/database-tools:1.0.0",
        "name": "clinic",
        "credentials": {"secret": "patient-db-admin"},
        "dumps": {"nfs_server": "backups.clinic.example", "nfs_path": "/dumps"},
        "writers": ["deployment/records", "deployment/auth"],
        "integrity": _RULES,
    }


def _rotated(parts: ClusterParts, workload: Manifest) -> dict[str, dict[str, str]]:
    """The Secrets of a service that a breach has rotated, each key by a value that is made up."""
    names = secrets_of(workload.body)
    return {name: dict.fromkeys(parts.manifest("Secret", name).body["data"], "generated") for name in names}
