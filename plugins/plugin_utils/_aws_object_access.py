# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who was given what of a service on AWS: by its access logs in CloudWatch, and by CloudTrail's events about objects.

Keys of objects may tell of patients: they are counted by digests, and stand in the evidence alone.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._access_log import Access, AccessExtract, read_access
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import AwsSecurity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_phi import PhiPolicy

_MOST_PEOPLE = 50_000
# FilterLogEvents gives 10,000 events or 1 MiB in a page.
_MOST_PAGES = 100
# Bytes of lines that are kept as evidence.
_MOST_KEPT = 64 * 1024 * 1024
_READS = frozenset({"GetObject", "HeadObject", "SelectObjectContent"})
_ANONYMOUS = "ANONYMOUS_PRINCIPAL"


@dataclass
class AccessFound:
    """What was found.

    :param lines: for the evidence.
    :param left_out: what could not be read, one sentence each.
    """

    extract: AccessExtract
    lines: list[str] = field(default_factory=list)
    size: int = 0
    left_out: list[str] = field(default_factory=list)

    def add(self, access: Access, line: str) -> None:
        """Count one, and keep its line."""
        self.extract.add(access)
        self.size += len(line) + 1
        if self.size <= _MOST_KEPT:
            self.lines.append(line)
        elif "lines beyond 64 MiB are counted and not kept" not in self.left_out:
            self.left_out.append("lines beyond 64 MiB are counted and not kept")


class AccessReader:
    """Reads for one service.

    :param key: of the digests.
    :param since: Unix seconds from when on; what was given before belongs to an earlier breach.
    """

    def __init__(self, account: AwsAccount, security: AwsSecurity, policy: PhiPolicy, key: bytes, since: float) -> None:
        self._account = account
        self._security = security
        self._policy = policy
        self._since = since
        self.found = AccessFound(AccessExtract(key, _MOST_PEOPLE))

    def read(self, buckets: Sequence[str]) -> AccessFound:
        """Accesses of callers whom nobody had asked who they are.

        :param buckets: that were open to everybody.
        """
        for group in self._security.access_log_groups:
            self._messages(group, "", self._line)
        if not buckets:
            return self.found
        if self._security.data_events is None:
            self.found.left_out += [
                f"who read bucket {bucket} is not known: codeblue_aws.logs.data_events names no log group"
                for bucket in buckets
            ]
            return self.found
        for bucket in buckets:
            wanted = f'{{ $.requestParameters.bucketName = "{bucket}" }}'
            self._messages(self._security.data_events, wanted, self._event)
        return self.found

    def _messages(self, group: str, wanted: str, take: t.Callable[[str], None]) -> None:
        try:
            for message in self._pages(group, wanted):
                take(message)
        except AwsError as error:
            self.found.left_out.append(f"log group {group}: {error.message}")

    def _pages(self, group: str, wanted: str) -> Iterator[str]:
        onward: dict[str, str] = {"filterPattern": wanted} if wanted else {}
        for _page in range(_MOST_PAGES):
            answer = self._account.ask(
                "logs",
                "filter_log_events",
                about=group,
                logGroupName=group,
                startTime=int(self._since * 1000),
                **onward,
            )
            for event in answer.get("events") or ():
                yield str(event["message"])
            if not answer.get("nextToken"):
                return
            onward["nextToken"] = str(answer["nextToken"])
        self.found.left_out.append(f"log group {group}: what follows after {_MOST_PAGES} pages")

    def _line(self, message: str) -> None:
        resource = re.compile(self._policy.access_resource) if self._policy.access_resource else None
        access = read_access(message, self._policy.access_format, self._policy.access_fields, resource)
        if access is not None and access.disclosed and not access.subject:
            self.found.add(access, message)

    def _event(self, message: str) -> None:
        access = object_access(message)
        if access is not None and access.disclosed and not access.subject:
            self.found.add(access, message)


def object_access(message: str) -> Access | None:
    """An event of CloudTrail about an object as an access; None when it is none.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html
    """
    try:
        event = json.loads(message)
    except ValueError:
        return None
    if not isinstance(event, Mapping) or event.get("eventName") not in _READS:
        return None
    asked = event.get("requestParameters") or {}
    who = event.get("userIdentity") or {}
    anonymous = who.get("principalId") == "" or _ANONYMOUS in (who.get("accountId"), who.get("principalId"))
    key = str(asked.get("key") or "")
    return Access(
        time=str(event.get("eventTime") or ""),
        subject="" if anonymous or not who else str(who.get("arn") or who.get("accountId") or "somebody"),
        client=str(event.get("sourceIPAddress") or ""),
        method="GET",
        # Without the key, whose words may be a name.
        path=f"/{asked.get('bucketName', '')}",
        status=403 if event.get("errorCode") else 200,
        patients=(key,) if key else (),
    )
