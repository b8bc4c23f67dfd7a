"""The clinic's own monitoring: what it sees of danger and of damage, answered at the edge's port.

`GET /signals/NAME/SERVICE` answers 200 while a signal is clear and 503 while it is not, in a few words.
`GET /database/NAME` answers whether a program of the clinic can log in and write there now.
"""

from __future__ import annotations

import json
import time
import typing as t

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.calls import CallRecord
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.databases import find, login
from codeblue.lab.aws.server.objects import is_public
from codeblue.lab.aws.server.relational import damaged_at
from codeblue.lab.aws.server.simulation import INTRUDER_ADDRESS

PREFIX = "/signals/"
DATABASE_PREFIX = "/database/"
FOREIGN_KEY_USE = "foreign_key_use"
PUBLIC_BUCKET = "public_bucket"
DAMAGED_DATA = "damaged_data"
# As long as the last calls of an intruder are taken for a danger that goes on.
_LATELY_SECONDS = 3.0
_ENDPOINT = "/healthcare-platform/database/endpoint"
_SECRET = "healthcare-platform/database"
_ANALYTICS = "healthcare-platform-analytics"
_REPORTS = "healthcare-platform-reports"

Reply = tuple[int, dict[str, str], bytes]


class Monitoring:
    """Answers both."""

    def __init__(self, conditions: Conditions, record: CallRecord, regions: t.Sequence[str]) -> None:
        self._conditions = conditions
        self._record = record
        self._regions = regions

    def signal(self, name: str, service: str) -> Reply:
        """Whether a signal is clear.

        :param service: that it is about.
        """
        known: dict[str, t.Callable[[], str]] = {
            FOREIGN_KEY_USE: self._foreign_key_use,
            PUBLIC_BUCKET: lambda: f"bucket {_REPORTS} can be read by anybody" if is_public(_REPORTS) else "",
            DAMAGED_DATA: lambda: self._damaged_data() if service == "patient_db" else "",
        }
        if name not in known:
            return _reply(404, "there is no such signal")
        said = known[name]()
        return _reply(503 if said else 200, said)

    def database(self, name: str) -> Reply:
        """Whether a program that starts now can log in and write."""
        if name == "patient_db":
            wrong = self._patient_db()
        elif name == "analytics_db":
            wrong = self._analytics()
        else:
            return _reply(404, "there is no such database")
        return _reply(503 if wrong else 200, wrong)

    def _patient_db(self) -> str:
        region = self._at_work()
        if region is None:
            return "no region answers"
        host = backend("ssm", region).get_parameter(_ENDPOINT)
        secrets = backend("secretsmanager", region).secrets
        secret = next((each for each in secrets.values() if each.name == _SECRET), None)
        if host is None or secret is None:
            return "its endpoint or its login is not written down"
        found = find(str(host.value))
        if found is not None and found[0] in self._conditions.closed_regions:
            return f"{found[0]} does not answer"
        text = next(
            each["secret_string"] for each in secret.versions.values() if "AWSCURRENT" in each["version_stages"]
        )
        groups = [each.id for each in backend("ec2", region).describe_security_groups() if each.name.endswith("-tasks")]
        values = {"DATABASE_HOST": str(host.value), "DATABASE_PASSWORD": str(json.loads(text)["password"])}
        return login(values, groups, region)

    def _analytics(self) -> str:
        for region in self._regions:
            if region in self._conditions.closed_regions:
                continue
            for cluster in backend("rds", region).clusters.values():
                alone = cluster.db_cluster_identifier == _ANALYTICS and not cluster.global_cluster_identifier
                if cluster.status == "available" and (cluster.is_writer or alone):
                    return ""
        return "no cluster takes writes"

    def _damaged_data(self) -> str:
        region = self._at_work() or self._regions[0]
        host = backend("ssm", region).get_parameter(_ENDPOINT)
        found = find(str(host.value)) if host is not None else None
        if found is None or damaged_at(found[1]) is None:
            return ""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(damaged_at(found[1])))
        return f"rows of {found[1].db_instance_identifier} do not fit their digests since {moment}"

    def _at_work(self) -> str | None:
        """The region whose settings programs read."""
        return next((each for each in self._regions if each not in self._conditions.closed_regions), None)

    def _foreign_key_use(self) -> str:
        since = time.time() - _LATELY_SECONDS
        for call in reversed(self._record.recent):
            if call.at < since:
                return ""
            if call.source == INTRUDER_ADDRESS and not call.error:
                return f"access key {call.operation.key} is used from {call.source}"
        return ""


def _reply(status: int, text: str) -> Reply:
    body = json.dumps({"clear": status == 200, "detail": text}).encode() + b"\n"
    return status, {"Content-Type": "application/json"}, body
