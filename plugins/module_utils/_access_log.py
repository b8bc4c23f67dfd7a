# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who was given what, out of access logs: counts and keyed digests for the record, whole lines for the evidence."""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._phi import keyed_digest

State = t.Dict[str, t.Any]

# NCSA combined, as HAProxy (option httplog clf), nginx and Apache write it.
_COMBINED = re.compile(
    r"\A(?P<client>\S+) \S+ (?P<subject>\S+) \[(?P<time>[^\]]+)\] "
    r"\"(?P<method>[A-Z]+) (?P<path>\S+)[^\"]*\" (?P<status>\d{3}) "
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COMBINED_TIME = re.compile(r"\A(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}:\d{2}:\d{2}) ([+-])(\d{2})(\d{2})\Z")
_NUMBER = re.compile(r"\d+")
_MOST_ACCESSORS = 1000
_MOST_PATHS = 200
_LONGEST_PATH = 120


@dataclass(frozen=True)
class Access:
    """One request that was answered.

    :param time: UTC, RFC 3339; such texts sort by time.
    :param subject: who the service took the caller for; empty when it asked nobody.
    :param patients: whose data the answer held, or what tells them apart.
    """

    time: str
    subject: str
    client: str
    method: str
    path: str
    status: int
    patients: t.Tuple[str, ...]

    @property
    def disclosed(self) -> bool:
        """Patient data left the service."""
        return 200 <= self.status < 300 and bool(self.patients)

    @property
    def pattern(self) -> str:
        """The path without its query and its numbers, which may tell of patients."""
        plain = _NUMBER.sub("{n}", self.path.split("?", 1)[0].split("#", 1)[0])
        return re.sub(r"[^A-Za-z0-9/_.{}-]", "_", plain)[:_LONGEST_PATH]


def read_access(
    line: str, form: str, names: t.Mapping[str, str], resource: t.Optional[t.Pattern[str]]
) -> t.Optional[Access]:
    """One line of an access log; None when it is none.

    :param form: `json` or `combined`.
    :param names: our name of a field -> the log's own, for `json`.
    :param resource: for logs that do not name patients: what in a path tells them apart, as group `resource`.
    """
    found = _json_fields(line, names) if form == "json" else _combined_fields(line)
    if found is None:
        return None
    path = str(found.get("path") or "")
    patients = found.get("patients") or ()
    if not patients and resource is not None:
        match = resource.search(path)
        patients = (match.group("resource"),) if match else ()
    try:
        status = int(found.get("status") or 0)
    except (TypeError, ValueError):
        return None
    subject = str(found.get("subject") or "")
    return Access(
        time=str(found.get("time") or ""),
        subject="" if subject in ("-", "anonymous") else subject,
        client=str(found.get("client") or ""),
        method=str(found.get("method") or ""),
        path=path,
        status=status,
        patients=tuple(str(each) for each in patients if str(each)) if isinstance(patients, (list, tuple)) else (),
    )


@dataclass
class Accessor:
    """What one accessor got."""

    subject_known: bool
    network: str
    requests: int = 0
    patients: t.Set[str] = field(default_factory=set)
    first: str = ""
    last: str = ""

    def add(self, access: Access, patients: t.Iterable[str]) -> None:
        self.requests += 1
        self.patients.update(patients)
        self.first = min(self.first or access.time, access.time)
        self.last = max(self.last, access.time)


class AccessExtract:
    """Collects disclosures.

    :param key: of the digests.
    :param most_people: how many digests are kept.
    """

    def __init__(self, key: bytes, most_people: int) -> None:
        self._key = key
        self._most = most_people
        self.accessors: t.Dict[str, Accessor] = {}
        self.paths: t.Dict[str, int] = {}
        self.people: t.Set[str] = set()
        self.disclosures = 0
        self.truncated = False

    def add(self, access: Access) -> None:
        """Count one disclosure."""
        self.disclosures += 1
        name = keyed_digest(self._key, "accessor", "%s|%s" % (access.subject, access.client))
        if name not in self.accessors and len(self.accessors) >= _MOST_ACCESSORS:
            self.truncated = True
            name = "(others)"
        accessor = self.accessors.setdefault(name, Accessor(bool(access.subject), network_of(access.client)))
        patients = {keyed_digest(self._key, "patient", each) for each in access.patients}
        room = self._most - len(self.people)
        new = sorted(patients - self.people)
        self.truncated = self.truncated or len(new) > room
        self.people.update(new[: max(0, room)])
        accessor.add(access, patients)
        pattern = access.pattern
        if pattern in self.paths or len(self.paths) < _MOST_PATHS:
            self.paths[pattern] = self.paths.get(pattern, 0) + 1

    def as_dict(self) -> State:
        """Counts, digests and times."""
        return {
            "disclosures": self.disclosures,
            "paths": dict(sorted(self.paths.items())),
            "accessors": [
                {
                    "accessor": name,
                    "authenticated": each.subject_known,
                    "network": each.network,
                    "requests": each.requests,
                    "people": len(each.patients),
                    "first": each.first,
                    "last": each.last,
                }
                for name, each in sorted(self.accessors.items(), key=lambda item: -item[1].requests)
            ],
            "people": sorted(self.people),
            "truncated": self.truncated,
            "first": min((each.first for each in self.accessors.values() if each.first), default=None),
            "last": max((each.last for each in self.accessors.values()), default=None),
        }


def network_of(client: str) -> str:
    """The network of an address: enough to tell inside from outside, too little to name a person."""
    try:
        address = ipaddress.ip_address(client.strip("[]"))
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network("%s/%d" % (address, 24 if address.version == 4 else 48), strict=False))


def _json_fields(line: str, names: t.Mapping[str, str]) -> t.Optional[t.Dict[str, t.Any]]:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    return {name: values.get(names.get(name, name)) for name in Access.__dataclass_fields__}


def _combined_fields(line: str) -> t.Optional[t.Dict[str, t.Any]]:
    match = _COMBINED.match(line)
    if match is None:
        return None
    return {**match.groupdict(), "time": _utc(match.group("time"))}


def _utc(text: str) -> str:
    """`21/Nov/2026:05:00:00 +0100` as RFC 3339 in UTC; an empty text when it is none."""
    import datetime

    match = _COMBINED_TIME.match(text)
    if match is None or match.group(2) not in _MONTHS:
        return ""
    day, month, year, clock, sign, hours, minutes = match.groups()
    moment = datetime.datetime.strptime(
        "%s-%02d-%s %s" % (year, _MONTHS.index(month) + 1, day, clock), "%Y-%m-%d %H:%M:%S"
    )
    offset = datetime.timedelta(hours=int(hours), minutes=int(minutes))
    return (moment - offset if sign == "+" else moment + offset).strftime("%Y-%m-%dT%H:%M:%SZ")
