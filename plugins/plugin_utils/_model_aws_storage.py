# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket of S3 in which a service keeps its pages or its data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# Names for all regions, as S3 has them since 2018.
_BUCKET = re.compile(r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class ObjectPlace:
    """One object.

    :param bucket: its name.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Page:
    """A page that gives way to another one in maintenance.

    :param key: of the object that clients are given.
    :param maintenance: the object that takes its place.
    """

    key: str
    maintenance: ObjectPlace


@dataclass(frozen=True)
class Copy:
    """A bucket into which S3 replicates.

    :param name: of the bucket in the standby region.
    :param critical: prefixes of keys without which the service cannot work there; all keys when empty.
    """

    name: str
    critical: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bucket:
    """What `codeblue_aws.bucket` says.

    :param name: of the bucket in the region itself.
    :param page: None when there is none for maintenance.
    :param copy: None when nothing is replicated.
    """

    name: str
    page: Page | None = None
    copy: Copy | None = None

    def __str__(self) -> str:
        return f"bucket {self.name}"


def read_bucket(values: TypedMapping) -> Bucket:
    """Read `codeblue_aws.bucket`; what is wrong goes to the problems of the mapping."""
    page, copy = values.optional_child("page"), values.optional_child("copy")
    name = _bucket_name(values, "name")
    found = Bucket(
        name=name,
        page=_read_page(page) if page is not None else None,
        copy=_read_copy(copy) if copy is not None else None,
    )
    if found.copy is not None and found.copy.name == name:
        values.problem("copy", "names the bucket itself, name the one in the standby region")
    values.finish()
    return found


def _read_page(values: TypedMapping) -> Page:
    source = values.child("maintenance")
    place = ObjectPlace(_bucket_name(source, "bucket"), source.text("key"))
    source.finish()
    found = Page(key=values.text("key"), maintenance=place)
    values.finish()
    return found


def _read_copy(values: TypedMapping) -> Copy:
    found = Copy(name=_bucket_name(values, "name"), critical=values.texts("critical"))
    values.finish()
    return found


def _bucket_name(values: TypedMapping, key: str) -> str:
    text = values.text(key)
    if text and not _BUCKET.fullmatch(text):
        values.problem(key, f"{quote(text)} is no name of a bucket, write small letters, digits, '.' and '-'")
    return text
