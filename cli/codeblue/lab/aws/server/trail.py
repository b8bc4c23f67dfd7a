"""CloudTrail's event history, which moto does not have: made from the record of calls."""

from __future__ import annotations

import datetime as dt
import json
import typing as t
import uuid

from codeblue.lab.aws.server.calls import Call, CallRecord
from codeblue.lab.aws.server.identities import user_of
from codeblue.lab.aws.server.operations import Operation
from codeblue.lab.aws.server.refusals import Answer

_SOURCES = {"elasticloadbalancing": "elasticloadbalancing", "monitoring": "monitoring"}
_MOST = 50
_JSON = [("Content-Type", "application/x-amz-json-1.1")]
# As CloudTrail, it keeps what is done to objects and data out of its history.
_DATA = frozenset({"GetObject", "PutObject", "HeadObject", "DeleteObject", "CopyObject", "ListObjectsV2"})
_NAMESPACE = uuid.UUID("6f1a0b51-9c0a-4c57-8c43-1f1a5a3a0c55")


class Trail:
    """Answers `LookupEvents` from what was recorded."""

    def __init__(self, record: CallRecord) -> None:
        self._record = record

    def lookup(self, operation: Operation, _environ: t.Mapping[str, t.Any], body: bytes) -> Answer:
        """The newest events first, of the region that is asked; those of services without a region are in us-east-1."""
        wanted = json.loads(body or b"{}")
        since, until = float(wanted.get("StartTime") or 0), float(wanted.get("EndTime") or 1e12)
        attributes = {each["AttributeKey"]: each["AttributeValue"] for each in wanted.get("LookupAttributes") or ()}
        skip = int(wanted.get("NextToken") or 0)
        size = min(_MOST, int(wanted.get("MaxResults") or _MOST))
        found = [
            event
            for call in reversed(list(self._record.recent))
            if call.operation.action
            and call.operation.action not in _DATA
            and _region(call) == operation.region
            and since <= call.at <= until
            and _matches(event := _event(call), attributes)
        ]
        page: dict[str, t.Any] = {"Events": found[skip : skip + size]}
        if len(found) > skip + size:
            page["NextToken"] = str(skip + size)
        return 200, _JSON, json.dumps(page).encode()


def _region(call: Call) -> str:
    from codeblue.lab.aws.server.application import GLOBAL_SERVICES

    return "us-east-1" if call.operation.service in GLOBAL_SERVICES else call.operation.region


def _event(call: Call) -> dict[str, t.Any]:
    """As `LookupEvents` gives it; https://docs.aws.amazon.com/awscloudtrail/latest/userguide/."""
    user, _active = user_of(call.operation.key)
    source = f"{_SOURCES.get(call.operation.service, call.operation.service)}.amazonaws.com"
    moment = dt.datetime.fromtimestamp(call.at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = str(uuid.uuid5(_NAMESPACE, f"{call.at} {call.digest}"))
    full: dict[str, t.Any] = {
        "eventVersion": "1.09",
        "userIdentity": {"type": "IAMUser", "userName": user, "accessKeyId": call.operation.key},
        "eventTime": moment,
        "eventSource": source,
        "eventName": call.operation.action,
        "awsRegion": call.operation.region,
        "sourceIPAddress": call.source,
        "userAgent": call.agent,
        "readOnly": not call.operation.changes,
        "eventID": name,
        "eventType": "AwsApiCall",
    }
    if call.error:
        full["errorCode"] = call.error
    return {
        "EventId": name,
        "EventName": call.operation.action,
        "ReadOnly": str(not call.operation.changes).lower(),
        "AccessKeyId": call.operation.key,
        "EventTime": call.at,
        "EventSource": source,
        "Username": user,
        "Resources": [],
        "CloudTrailEvent": json.dumps(full),
    }


def _matches(event: t.Mapping[str, t.Any], attributes: t.Mapping[str, str]) -> bool:
    return all(str(event.get(name, "")) == value for name, value in attributes.items())
