# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A page in a bucket that gives way to one for maintenance, and comes back exactly as it was.

The page for maintenance carries in its metadata which version it stands in front of: whoever takes it away again needs
no other record.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import Moved
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_storage import Bucket, Page

#: The key of the metadata. Its value is the version from before; `none` when there was no page.
STANDS_BEFORE = "codeblue-stands-before"
_NONE = "none"
# What a browser or CDN keeps of it would outlive the maintenance.
_CACHE_CONTROL = "no-cache, max-age=0"


@dataclass(frozen=True)
class PageSeen:
    """A page as it is.

    :param version: that clients get; None when there is none.
    :param before: the version that comes back after maintenance; None when it is not the page for maintenance.
    """

    version: str | None
    before: str | None

    @property
    def maintenance(self) -> bool:
        """Whether it is the page for maintenance."""
        return self.before is not None


class MaintenancePage:
    """The page of one bucket.

    :param region: of the bucket.
    """

    def __init__(self, account: AwsAccount, bucket: Bucket, region: str) -> None:
        if bucket.page is None:
            raise BadInput("codeblue_aws.bucket.page is missing", "name the page and the one for maintenance")
        self._account = account
        self._bucket = bucket.name
        self._page: Page = bucket.page
        self._region = region
        self.what = f"page {bucket.page.key} of {bucket}"

    def look(self) -> PageSeen:
        """The page as it is."""
        head = self._head(self._bucket, self._page.key)
        if head is None:
            return PageSeen(None, None)
        return PageSeen(str(head.get("VersionId") or "null"), (head.get("Metadata") or {}).get(STANDS_BEFORE))

    def put(self) -> Moved:
        """Put the page for maintenance in place.

        :raises BadInput: the bucket keeps no versions, or there is no such page.
        """
        seen = self.look()
        if seen.maintenance:
            return Moved(None)
        if self._ask_page("get_bucket_versioning", Bucket=self._bucket).get("Status") != "Enabled":
            raise BadInput(
                f"{self.what}: the bucket keeps no versions, the page would be lost", "switch versioning on for it"
            )
        source = self._page.maintenance
        head = self._head(source.bucket, source.key)
        if head is None:
            raise BadInput(f"{self.what}: {source} is not there", "put a page for maintenance there")
        self._ask_page(
            "copy_object",
            Bucket=self._bucket,
            Key=self._page.key,
            CopySource={"Bucket": source.bucket, "Key": source.key},
            MetadataDirective="REPLACE",
            ContentType=head.get("ContentType") or "text/html",
            CacheControl=_CACHE_CONTROL,
            Metadata={STANDS_BEFORE: seen.version or _NONE},
        )
        return Moved(time.time())

    def take_away(self) -> Moved:
        """Bring the page from before back; another one that somebody has put there meanwhile stays."""
        seen = self.look()
        if seen.before is None:
            return Moved(None)
        names = {"Bucket": self._bucket, "Key": self._page.key}
        if seen.before == _NONE:
            self._ask_page("delete_object", **names)
        else:
            self._ask_page(
                "copy_object",
                **names,
                CopySource={**names, "VersionId": seen.before},
                MetadataDirective="COPY",
                TaggingDirective="COPY",
            )
        return Moved(time.time())

    def _head(self, bucket: str, key: str) -> dict[str, t.Any] | None:
        try:
            return self._ask_page("head_object", Bucket=bucket, Key=key)
        except NotFound:
            return None

    def _ask_page(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        return self._account.ask("s3", operation, self._region, self.what, **parameters)
