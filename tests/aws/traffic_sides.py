# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two sides that answer requests, and a name in Route 53 that leads to them, as moto simulates it."""

from __future__ import annotations

import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from operator_site import OperatorSite
from regions import PRIMARY, STANDBY, Regions

NAME = "api.clinic.example"
TARGETS = {"primary": "one.us-east-1.elb.amazonaws.com", "standby": "two.us-west-2.elb.amazonaws.com"}


class Side(ThreadingHTTPServer):
    """A load balancer of a region, as clients meet it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = 200
        #: What was asked for, by the name that clients use.
        self.names: list[str] = []
        self.after = lambda: None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Side

    def do_GET(self) -> None:
        self.server.names.append(str(self.headers["Host"]))
        self.server.after()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: t.Any) -> None:
        pass


class Name:
    """The name, and the zone that it is in."""

    def __init__(self, regions: Regions, records: list[dict[str, t.Any]], zone: str = "clinic.example") -> None:
        self._client = regions.client("route53")
        made = self._client.create_hosted_zone(Name=zone, CallerReference=f"{zone}-{id(self)}")
        self.zone = str(made["HostedZone"]["Id"]).rpartition("/")[2]
        # Moto refuses what was once created in the same words, so nothing is created here.
        changes = [{"Action": "UPSERT", "ResourceRecordSet": {"Name": NAME, **each}} for each in records]
        if changes:
            self._client.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch={"Changes": changes})
        regions.forget()

    def records(self) -> list[dict[str, t.Any]]:
        listed = self._client.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return [each for each in listed if each["Name"] == f"{NAME}."]

    def weights(self) -> dict[str, int | None]:
        """Where it leads, to the weight; None for a simple record."""
        found = {}
        for each in self.records():
            target = each["AliasTarget"]["DNSName"] if "AliasTarget" in each else each["ResourceRecords"][0]["Value"]
            side = next(side for side, name in TARGETS.items() if name == target.rstrip("."))
            found[f"{side} {each['Type']}" if each["Type"] == "AAAA" else side] = each.get("Weight")
        return found


def cname(side: str = "primary", **more: t.Any) -> dict[str, t.Any]:
    """A record that leads to a side."""
    return {"Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": TARGETS[side]}], **more}


def site(root: Path, regions: Regions, name: Name, sides: dict[str, Side], **more: t.Any) -> OperatorSite:
    """An operator's account with a service behind that name. Clients of it are asked at the primary."""
    described = {
        side: {"target": TARGETS[side], "answers_at": sides[side].address, **more.get("sides", {})}
        for side in ("primary", "standby")
    }
    for side, zone in more.get("alias_zones", {}).items():
        described[side]["alias_zone"] = zone
    check = {
        "id": "health",
        "type": "http",
        "url": f"http://{more.get('asked_at', sides['primary'].address)}/health",
        "headers": {"Host": NAME},
    }
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "gateway",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_checks": {"interval": "50ms", "shallow": [check]},
        "codeblue_aws": {
            "region": PRIMARY,
            "standby_region": STANDBY,
            "dns": {"zone": name.zone, "name": NAME, **described},
        },
    }
    return OperatorSite(root, {"gateway": variables}, regions.environment, "region_failover")
