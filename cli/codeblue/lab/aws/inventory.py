"""The inventory of a lab on AWS: the shape of a production one; and the files by which its account is reached."""

from __future__ import annotations

import typing as t

from codeblue.lab.aws.blueprint import (
    ANALYTICS,
    API_NAME,
    CLUSTER,
    DATABASE,
    DATABASE_PARAMETER,
    DATABASE_SECRET,
    DEPLOY_USER,
    FRONTEND,
    GLOBAL_CLUSTER,
    PRIMARY,
    PROFILE,
    RECOVERY_USER,
    REGIONS,
    REPORTS,
    SERVICES,
    STANDBY,
    WEB_NAME,
)
from codeblue.lab.aws.layout import AwsLayout
from codeblue.lab.aws.outside import (
    ANSWER_TIME,
    DAMAGED_DATA,
    DATABASE_SERVICES,
    FOREIGN_KEY_USE,
    LIMIT_SECONDS,
    PUBLIC_BUCKET,
)
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.aws.state import AwsLabState
from codeblue.lab.files import make_directory, write_text

_HEADER = "# Written by `codeblue lab up --platform aws`; gone with `codeblue lab down`. Holds no secrets.\n"
# Three failures in a row, so far apart, stand for three failures 30 s apart in production.
_PACE = "500ms"


def write_access(layout: AwsLayout, state: AwsLabState, secret: str) -> None:
    """The profile by which recoveries reach the account, and what a shell needs to know of it.

    :param secret: of the access key of the recovery's user.
    """
    make_directory(layout.aws_config.parent, 0o700)
    write_text(layout.aws_config, f"[profile {PROFILE}]\nregion = {PRIMARY}\nretries = 1\n", 0o600)
    key = state.facts[f"key-{RECOVERY_USER}"]
    text = f"[{PROFILE}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    write_text(layout.aws_credentials, text, 0o600)
    lines = [f"export {name}={value}" for name, value in environment(layout, state).items()]
    write_text(layout.environment, "\n".join(lines) + "\n")


def environment(layout: AwsLayout, state: AwsLabState) -> dict[str, str]:
    """What programs need in their environment to reach the account, and nothing else by mistake."""
    return {
        "AWS_CONFIG_FILE": str(layout.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(layout.aws_credentials),
        "AWS_PROFILE": PROFILE,
        "AWS_ENDPOINT_URL": state.url("control"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def write_inventory(parts: AwsParts) -> None:
    """Write `inventory/hosts.yml`."""
    import yaml

    make_directory(parts.layout.inventory.parent)
    write_text(parts.layout.inventory, _HEADER + yaml.safe_dump(inventory(parts), sort_keys=False, width=120))


def inventory(parts: AwsParts) -> dict[str, t.Any]:
    """What is written."""
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
    groups = {
        "codeblue_databases": {"patient_db": _patient_db(parts), "analytics_db": _analytics_db(parts)},
        "codeblue_gateways": {"gateway": _gateway(parts)},
        "codeblue_auth_services": {"auth": _ecs(parts, "auth", "auth", 1, ["patient_db"])},
        "codeblue_application_services": {
            "records": _records(parts),
        },
        "codeblue_storages": {"frontend": _frontend(parts)},
        "codeblue_ai_services": {"ai": _ecs(parts, "ai", "ai", 3, [])},
    }
    children = {group: {"hosts": hosts} for group, hosts in groups.items()}
    return {"all": {"vars": shared, "children": {"codeblue_services": {"children": children}}}}


def _service(
    parts: AwsParts, name: str, kind: str, tier: int, needs: list[str], rto: str, place: dict[str, t.Any]
) -> dict[str, t.Any]:
    checks = _checks_of(parts, name)
    common = {
        "region": PRIMARY,
        "standby_region": STANDBY,
        "profile": PROFILE,
        "endpoints": {region: parts.state.endpoint(region) for region in REGIONS},
    }
    return {
        "codeblue_platform": "aws",
        "codeblue_kind": kind,
        "codeblue_tier": tier,
        "codeblue_depends_on": needs,
        "codeblue_objectives": {"rto": rto, "rpo": "5m"},
        "codeblue_aws": {**common, **place},
        "codeblue_checks": {"interval": _PACE, "consecutive": 3, **checks},
    }


def _checks_of(parts: AwsParts, name: str) -> dict[str, t.Any]:
    """How a service is asked: by people's way in, and by the platform's own monitoring."""
    edge = parts.state.url("edge")

    def http(name: str, path: str, host: str = "", **further: t.Any) -> dict[str, t.Any]:
        headers = {"headers": {"Host": host}} if host else {}
        return {
            "id": name,
            "type": "http",
            "url": f"{edge}{path}",
            "status": 200,
            "timeout": "5s",
            **headers,
            **further,
        }

    def signal(signal: str, topic: str) -> dict[str, t.Any]:
        return http(signal, f"/signals/{signal}/{name}", topic=topic)

    if name in DATABASE_SERVICES:
        return {
            "shallow": [http("login", f"/database/{name}")],
            "signals": [signal(DAMAGED_DATA, "integrity")],
        }
    if name == "gateway":
        # Whether somebody answers by the name; what that is, is the affair of the services behind.
        return {"shallow": [http("name_leads_in", "/records/health", API_NAME, status=[200, 503])]}
    if name == "frontend":
        return {"shallow": [http("first_page", "/", WEB_NAME, body_has="Healthcare platform")]}
    path = SERVICES[name].path
    late = http(ANSWER_TIME, f"{path}/health", API_NAME, topic="performance", max_response=f"{LIMIT_SECONDS:g}s")
    found: dict[str, t.Any] = {"deep": [http("does_its_work", f"{path}/deep", API_NAME)], "signals": [late]}
    if name == "records":
        found["signals"] += [signal(FOREIGN_KEY_USE, "intrusion"), signal(PUBLIC_BUCKET, "exposure")]
    return found


def _ecs(parts: AwsParts, name: str, kind: str, tier: int, needs: list[str]) -> dict[str, t.Any]:
    service = SERVICES[name]
    ecs = {"cluster": CLUSTER, "service": service.service}
    group = parts.fact(STANDBY, f"target-group-{name}")
    place = {
        "ecs": {**ecs, "desired": service.tasks[PRIMARY]},
        "load_balancer": {
            "listener": parts.fact(PRIMARY, "listener"),
            "rule": parts.fact(PRIMARY, f"rule-{name}"),
            "target_groups": {"primary": parts.fact(PRIMARY, f"target-group-{name}")},
        },
        "standby": {
            "ecs": {**ecs, "desired": service.tasks[PRIMARY]},
            "secrets": sorted({each.partition(":")[0] for each in service.secrets.values() if each[0] != "/"}),
            "parameters": sorted(each for each in service.secrets.values() if each[0] == "/"),
            "certificates": {API_NAME: parts.fact(STANDBY, "certificate")},
            "target_groups": [group],
        },
        "logs": {"groups": [service.log_group]},
    }
    return _service(parts, name, kind, tier, needs, "15m", place)


def _records(parts: AwsParts) -> dict[str, t.Any]:
    """The service with patients' data: what a breach of it is contained by, and whose duty it is."""
    found = _ecs(parts, "records", "service", 2, ["patient_db", "auth"])
    found["codeblue_aws"] |= {
        # Everybody but an intruder is on this machine.
        "identities": {"users": [DEPLOY_USER], "known_networks": ["127.0.0.0/8"]},
        "private_buckets": [REPORTS],
    }
    found["codeblue_phi"] = {
        "organisation": "Example Clinic",
        "contact": {"telephone": "the number in the lab's handbook", "email": "privacy@clinic.invalid"},
        "state": "NY",
        "time_zone": "America/New_York",
    }
    return found


def _patient_db(parts: AwsParts) -> dict[str, t.Any]:
    place = {
        "database": {
            "instance": DATABASE[PRIMARY],
            "replica": {"instance": DATABASE[STANDBY]},
            "endpoints": [{"parameter": DATABASE_PARAMETER, "region": region} for region in REGIONS],
            "credentials": DATABASE_SECRET,
            "copies": [STANDBY],
            "closed_group": parts.fact(PRIMARY, "group-closed"),
        },
        "standby": {"secrets": [DATABASE_SECRET], "parameters": [DATABASE_PARAMETER]},
        "functions": {
            "update_endpoints": {
                "function": "update-database-endpoints",
                "side": "standby",
                "payload": {"new_endpoint": parts.fact(STANDBY, "database-endpoint")},
                "repeatable": True,
            }
        },
    }
    return _service(parts, "patient_db", "database", 0, [], "30m", place)


def _analytics_db(parts: AwsParts) -> dict[str, t.Any]:
    place = {
        "database": {
            "cluster": ANALYTICS[PRIMARY],
            "replica": {"cluster": ANALYTICS[STANDBY], "global_cluster": GLOBAL_CLUSTER},
            "copies": [STANDBY],
            "closed_group": parts.fact(PRIMARY, "group-closed"),
        }
    }
    return _service(parts, "analytics_db", "database", 2, [], "30m", place)


def _gateway(parts: AwsParts) -> dict[str, t.Any]:
    sides = {
        side: {
            "target": parts.fact(region, "balancer-name"),
            "health_check": parts.fact(region, "health-check"),
            "answers_at": parts.state.url(f"front-{region}").removeprefix("http://"),
        }
        for side, region in (("primary", PRIMARY), ("standby", STANDBY))
    }
    place = {
        "dns": {"zone": parts.state.facts["zone"], "name": API_NAME, **sides},
        "load_balancer": {"listener": parts.fact(PRIMARY, "listener")},
    }
    return _service(parts, "gateway", "gateway", 1, [], "15m", place)


def _frontend(parts: AwsParts) -> dict[str, t.Any]:
    maintenance = {"bucket": FRONTEND[PRIMARY], "key": "maintenance.html"}
    place = {
        "bucket": {"name": FRONTEND[PRIMARY], "page": {"key": "index.html", "maintenance": maintenance}},
        "distribution": {
            "id": parts.state.facts["distribution"],
            "primary": "frontend-primary",
            "standby": "frontend-standby",
        },
    }
    return _service(parts, "frontend", "storage", 2, [], "5m", place)
