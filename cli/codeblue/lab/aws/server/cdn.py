"""CloudFront: from which origin it takes what it does not have, and what an invalidation makes it forget."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.objects import read_object

_BUCKET = re.compile(r"(?P<name>[a-z0-9][-.a-z0-9]+?)\.s3[.-](?:[-a-z0-9]+\.)?amazonaws\.com")

Reply = tuple[int, dict[str, str], bytes]


def fetch(distribution: t.Any, path: str, closed: t.Collection[str], ask: t.Callable[[str, str], Reply]) -> Reply:
    """What the CDN answers with what it does not have yet.

    :param closed: regions that are away.
    :param ask: asks another name of the clinic.
    """
    if not distribution.Enabled:
        return 403, {"Content-Type": "text/plain"}, b"the distribution is off\n"
    root = getattr(distribution.distribution_config, "DefaultRootObject", "")
    wanted = f"/{root}" if path == "/" and root else path
    reply: Reply = (502, {"Content-Type": "text/plain"}, b"no origin\n")
    for origin in _origins(distribution):
        reply = _from_origin(origin, wanted, closed, ask)
        if reply[0] < 500:
            return reply
    return reply


def forget_invalidated(distribution: t.Any, cache: dict[tuple[str, str], Reply]) -> None:
    """Forget what the account's invalidations name; each works once."""
    for each in backend("cloudfront", "aws").invalidations.get(distribution.distribution_id) or ():
        if getattr(each, "lab_done", False):
            continue
        each.lab_done = True
        for key in [key for key in cache if key[0] == distribution.distribution_id]:
            if any(fnmatch.fnmatchcase(key[1], pattern) for pattern in each.paths):
                cache.pop(key)


def _origins(distribution: t.Any) -> list[t.Any]:
    """The origin of the default behaviour; of a group the first, and then the one to fall back to."""
    known = {each.id: each for each in distribution.Origins["Items"]}
    target = distribution.DefaultCacheBehavior.target_origin_id
    for group in distribution.OriginGroups.get("Items") or ():
        if group["Id"] == target:
            return [known[each["OriginId"]] for each in group["Members"]["Items"] if each["OriginId"] in known]
    return [known[target]]


def _from_origin(origin: t.Any, path: str, closed: t.Collection[str], ask: t.Callable[[str, str], Reply]) -> Reply:
    bucket = _BUCKET.fullmatch(origin.domain_name)
    whole = f"{origin.origin_path}{path}"
    if bucket is None:
        return ask(origin.domain_name, whole)
    known = backend("s3", "aws").buckets.get(bucket["name"])
    if known is None or known.region_name in closed:
        return 504, {"Content-Type": "text/plain"}, b"the origin does not answer\n"
    body = read_object(bucket["name"], whole.lstrip("/"))
    if body is None:
        return 404, {"Content-Type": "text/plain"}, b"NoSuchKey\n"
    return 200, {"Content-Type": "text/html", "X-Region": known.region_name, "X-Bucket": bucket["name"]}, body
