# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a breach of a service on AWS is contained by: who may still speak with it, its secrets, identities, buckets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import read_networks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

#: In place of a path: a new random value is made.
GENERATED = "generated"
#: In place of a key of a JSON document: the secret is one text.
WHOLE = ""
_DAY = 86400.0
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
# What Secrets Manager, Systems Manager, IAM, S3 and CloudWatch Logs take as names.
_SECRET = re.compile(r"[-/_+=.@!\w]{1,512}", re.ASCII)
_PARAMETER = re.compile(r"[-/_.\w]{1,1011}", re.ASCII)
_IDENTITY = re.compile(r"[-+=,.@_\w]{1,128}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]")
_LOG_GROUP = re.compile(r"[-._/#A-Za-z0-9]{1,512}")


@dataclass(frozen=True)
class RotatedValue:
    """A secret or parameter that may be given a new value.

    :param keys: key of its JSON document, or `WHOLE`, to `GENERATED` or the path of a file on the controller.
    """

    name: str
    keys: Mapping[str, str]


@dataclass(frozen=True)
class LockedBucket:
    """`codeblue_aws.evidence_bucket`: where copies of evidence go that nobody can remove.

    :param retention: seconds for which each copy is kept.
    :param mode: `COMPLIANCE`, which nobody can shorten, or `GOVERNANCE`, which some identities can.
    :param legal_hold: whether each copy is held besides, until somebody lifts it.
    """

    bucket: str
    retention: float
    mode: str
    legal_hold: bool


@dataclass(frozen=True)
class AwsSecurity:
    """The parts of `codeblue_aws` that are about a breach.

    :param management: networks that a quarantine leaves open.
    :param instances: EC2 instances that run it, where it is no service of ECS.
    :param secrets: of Secrets Manager.
    :param parameters: of Systems Manager.
    :param users: IAM users whose keys it has.
    :param roles: IAM roles beside that of its tasks.
    :param known_networks: from which its users and roles work; a key that is used elsewhere is in foreign hands.
    :param new_keys: user to the secret that holds its access key, with `access_key_id` and `secret_access_key`.
    :param private_buckets: whose content nobody outside may read.
    :param log_groups: what it writes.
    :param access_log_groups: those of them that say who was answered what; see `codeblue_phi`.
    :param data_events: the log group that CloudTrail writes reads of objects to.
    """

    management: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    secrets: tuple[RotatedValue, ...] = ()
    parameters: tuple[RotatedValue, ...] = ()
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    known_networks: tuple[str, ...] = ()
    new_keys: Mapping[str, str] = field(default_factory=dict)
    private_buckets: tuple[str, ...] = ()
    log_groups: tuple[str, ...] = ()
    access_log_groups: tuple[str, ...] = ()
    data_events: str | None = None
    evidence_bucket: LockedBucket | None = None


def read_security(values: TypedMapping) -> AwsSecurity:
    """Read its keys out of `codeblue_aws`; what is wrong goes to the problems of the mapping."""
    quarantine = values.optional_child("quarantine")
    identities = values.optional_child("identities")
    logs = values.optional_child("logs")
    found = AwsSecurity(
        management=read_networks(quarantine, "management") if quarantine is not None else (),
        instances=_names(quarantine, "instances", _INSTANCE, "id of an EC2 instance"),
        secrets=_rotated(values, "secrets", _SECRET, documents=True),
        parameters=_rotated(values, "parameters", _PARAMETER, documents=False),
        users=_names(identities, "users", _IDENTITY, "name of an IAM user"),
        roles=_names(identities, "roles", _IDENTITY, "name of an IAM role"),
        known_networks=read_networks(identities, "known_networks") if identities is not None else (),
        new_keys=_new_keys(identities),
        private_buckets=_names(values, "private_buckets", _BUCKET, "name of a bucket"),
        log_groups=_names(logs, "groups", _LOG_GROUP, "name of a log group"),
        access_log_groups=_names(logs, "access", _LOG_GROUP, "name of a log group"),
        data_events=logs.optional_text("data_events") if logs is not None else None,
        evidence_bucket=_evidence_bucket(values),
    )
    for child in (quarantine, identities, logs):
        if child is not None:
            child.finish()
    return found


def _names(values: TypedMapping | None, key: str, form: re.Pattern[str], what: str) -> tuple[str, ...]:
    if values is None:
        return ()
    found = values.texts(key)
    for position, text in enumerate(found):
        if not form.fullmatch(text):
            values.problem(f"{key}[{position}]", f"{quote(text)} is no {what}")
    return found


def _rotated(values: TypedMapping, key: str, form: re.Pattern[str], documents: bool) -> tuple[RotatedValue, ...]:
    """Name to where the new value comes from, or, for a JSON document, to that of each of its keys."""
    given = values.plain(key)
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        values.problem(key, f"must name them, each with {GENERATED} or the path of a file")
        return ()
    found = []
    for name, origin in given.items():
        where = f"{key}.{name}"
        if not form.fullmatch(str(name)):
            values.problem(where, "is no name that AWS takes")
        if isinstance(origin, Mapping) and not documents:
            values.problem(where, f"a parameter is one text: write {GENERATED}, or the absolute path of a file")
            continue
        keys = origin if isinstance(origin, Mapping) else {WHOLE: origin}
        if not keys:
            values.problem(where, "names no key of its JSON document")
        for each, source in keys.items():
            if source != GENERATED and not str(source).startswith("/"):
                # Whoever writes the value itself here must not read it again in an error.
                at = f"{where}.{each}" if each else where
                values.problem(at, f"write {GENERATED}, or the absolute path of a file on the controller")
        found.append(RotatedValue(str(name), {str(each): str(source) for each, source in keys.items()}))
    return tuple(found)


def _new_keys(identities: TypedMapping | None) -> dict[str, str]:
    child = identities.optional_child("new_keys") if identities is not None else None
    if child is None or identities is None:
        return {}
    users = identities.texts("users")
    found = {user: child.text(user) for user in child.names()}
    for user, secret in found.items():
        if user not in users:
            child.problem(user, "is not among identities.users")
        if secret and not _SECRET.fullmatch(secret):
            child.problem(user, f"{quote(secret)} is no name of a secret")
    child.finish()
    return found


def _evidence_bucket(values: TypedMapping) -> LockedBucket | None:
    child = values.optional_child("evidence_bucket")
    if child is None:
        return None
    found = LockedBucket(
        bucket=child.text("bucket"),
        # S3 counts retention in whole days.
        retention=child.duration("retention", most=100 * 365 * _DAY),
        mode=child.choice("mode", ("COMPLIANCE", "GOVERNANCE"), default="COMPLIANCE"),
        legal_hold=child.boolean("legal_hold", default=False),
    )
    if found.bucket and not _BUCKET.fullmatch(found.bucket):
        child.problem("bucket", f"{quote(found.bucket)} is no name of a bucket")
    child.finish()
    return found
