# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings objects of a bucket back to what they were at a moment."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_object_versions import (
    LARGEST_COPY,
    Restoration,
    restorations,
)

# A page has up to 1,000 versions. More than that is restored prefix by prefix, or by S3 Batch Operations.
_MOST_PAGES = 500
# Between two signs of life.
_AT_ONCE = 200
# Of a part of a large object; S3 takes 10,000 parts of 5 MiB to 5 GiB.
_PART = 512 * 1024**2
_CHECKSUMS = ("ChecksumCRC64NVME", "ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC32C", "ChecksumCRC32")


@dataclass
class Restored:
    """What came of it.

    :param failed: keys that could not be brought back, to the reason. Keys can tell of patients: they go to the
        action's caller as a count.
    """

    copied: int = 0
    removed: int = 0
    already: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class BucketHistory:
    """The objects of one bucket.

    :param region: of the bucket.
    """

    def __init__(self, account: AwsAccount, bucket: str, region: str) -> None:
        self._account = account
        self._bucket = bucket
        self._region = region
        self.what = f"bucket {bucket}"

    def require_versions(self) -> None:
        """See that S3 keeps what is written over.

        :raises BadInput: it does not.
        """
        if self._ask_versions("get_bucket_versioning").get("Status") not in ("Enabled", "Suspended"):
            raise BadInput(f"{self.what} keeps no versions", "there is nothing to go back to; restore from a copy")

    def differences(
        self, prefix: str, moment: datetime.datetime, most: int, renew: Callable[[], None]
    ) -> list[Restoration]:
        """What is not as it was at that moment.

        :param most: so many at most are told.
        :raises Refused: there are more.
        """
        found: list[Restoration] = []
        # All versions of a key come one after the other; those of the last one may go on on the next page.
        pending: tuple[list[t.Any], list[t.Any]] = ([], [])
        onward: dict[str, t.Any] = {}
        for _page in range(_MOST_PAGES):
            answer = self._ask_versions("list_object_versions", Prefix=prefix, **onward)
            versions = [*pending[0], *(answer.get("Versions") or ())]
            markers = [*pending[1], *(answer.get("DeleteMarkers") or ())]
            last = max((str(each["Key"]) for each in (*versions, *markers)), default="")
            more = bool(answer.get("IsTruncated"))
            pending = ([], [])
            if more:
                pending = ([v for v in versions if v["Key"] == last], [m for m in markers if m["Key"] == last])
                versions = [each for each in versions if each["Key"] != last]
                markers = [each for each in markers if each["Key"] != last]
            found += restorations(versions, markers, moment)
            if len(found) > most:
                raise Refused(
                    f"more than {most} objects of {self.what} are not as they were, nothing was changed",
                    "name a narrower prefix, or allow more with `most`",
                )
            if not more:
                return found
            renew()
            onward = {
                "KeyMarker": answer["NextKeyMarker"],
                **({"VersionIdMarker": answer["NextVersionIdMarker"]} if answer.get("NextVersionIdMarker") else {}),
            }
        raise Refused(
            f"{self.what} has more than {_MOST_PAGES * 1000} versions there, nothing was changed",
            "name a narrower prefix",
        )

    def restore(self, differences: Sequence[Restoration], remove: bool, renew: Callable[[], None]) -> Restored:
        """Bring them back, many at once; what cannot be brought back does not keep the others from it.

        :param remove: whether what came later is taken away; its versions stay.
        """
        done = Restored()

        def work(each: Restoration) -> tuple[str, str]:
            try:
                return each.key, self._bring_back(each)
            except AwsError as error:
                return each.key, f"failed: {error.message}"

        chosen = [each for each in differences if remove or not each.removes]
        for start in range(0, len(chosen), _AT_ONCE):
            for key, how in AwsAccount.side_by_side(chosen[start : start + _AT_ONCE], work):
                if how == "copied":
                    done.copied += 1
                elif how == "removed":
                    done.removed += 1
                elif how == "already":
                    done.already += 1
                else:
                    done.failed[key] = how
            renew()
        return done

    def same_content(self, each: Restoration) -> bool:
        """Whether an object has the content already that its version had.

        With a key of one's own each copy has an ETag of its own, so checksums are compared.
        """
        if each.version is None or each.now is None or each.version["Size"] != each.now["Size"]:
            return False
        old, new = self._checksums(each.key, each.version), self._checksums(each.key, each.now)
        shared = [name for name in _CHECKSUMS if name in old and name in new]
        return bool(shared) and all(old[name] == new[name] for name in shared)

    def _bring_back(self, each: Restoration) -> str:
        if each.version is None:
            # Without a version this puts a marker on top; what was there stays.
            self._ask_versions("delete_object", Key=each.key)
            return "removed"
        if self.same_content(each):
            return "already"
        source = {"Bucket": self._bucket, "Key": each.key, "VersionId": each.version["VersionId"]}
        if int(each.version["Size"]) > LARGEST_COPY:
            self._copy_in_parts(each, source)
        else:
            self._ask_versions(
                "copy_object", Key=each.key, CopySource=source, MetadataDirective="COPY", TaggingDirective="COPY"
            )
        return "copied"

    def _checksums(self, key: str, version: t.Mapping[str, t.Any]) -> dict[str, str]:
        head = self._ask_versions("head_object", Key=key, VersionId=version["VersionId"], ChecksumMode="ENABLED")
        return {name: str(head[name]) for name in _CHECKSUMS if head.get(name)}

    def _copy_in_parts(self, each: Restoration, source: dict[str, str]) -> None:
        size = int(t.cast("dict[str, t.Any]", each.version)["Size"])
        head = self._ask_versions("head_object", Key=each.key, VersionId=source["VersionId"])
        kept = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata")
        # No checksum of parts can be the one of the whole; without one S3 makes its own.
        upload = self._ask_versions(
            "create_multipart_upload", Key=each.key, **{k: head[k] for k in kept if head.get(k)}
        )
        identity = str(upload["UploadId"])
        try:
            parts = []
            for number, first in enumerate(range(0, size, _PART), 1):
                span = f"bytes={first}-{min(first + _PART, size) - 1}"
                answer = self._ask_versions(
                    "upload_part_copy",
                    Key=each.key,
                    UploadId=identity,
                    PartNumber=number,
                    CopySource=source,
                    CopySourceRange=span,
                )
                parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            self._ask_versions(
                "complete_multipart_upload", Key=each.key, UploadId=identity, MultipartUpload={"Parts": parts}
            )
        except CodeblueError:
            # Parts that are left behind cost money and are seen by nobody.
            self._ask_versions("abort_multipart_upload", Key=each.key, UploadId=identity)
            raise

    def _ask_versions(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        return self._account.ask("s3", operation, self._region, self.what, Bucket=self._bucket, **parameters)
