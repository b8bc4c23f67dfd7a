# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keys by which one service calls another, and how it is seen which of them are accepted."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

_NAME = re.compile(r"\A[A-Za-z0-9_]{1,40}\Z")
_HEADER = re.compile(r"\A[A-Za-z0-9-]+\Z")


@dataclass(frozen=True)
class ApiKey:
    """One of `codeblue_host.api_keys`, of the service that accepts it.

    :param header: in which a caller sends it.
    :param accepted_by: whose files hold the keys that are accepted for this caller, one a line.
    :param used_by: whose files hold the one key that they call with.
    :param check_urls: one for each process that accepts it, by itself and not through a gateway. GET with the key is
        answered by anything but 401 and 403; with any other key by one of those.
    :param ca_file: on the controller, whom to trust at `check_urls`; None for the system's authorities.
    """

    name: str
    header: str
    accepted_by: tuple[Consumer, ...]
    used_by: tuple[Consumer, ...]
    check_urls: tuple[str, ...]
    ca_file: str | None = None

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Everybody who has it."""
        return (*self.accepted_by, *self.used_by)


def read_api_key(values: TypedMapping, name: str, read_consumer: Callable[[TypedMapping], Consumer]) -> ApiKey:
    """Read one; what is wrong goes to the problems of the mapping."""
    key = ApiKey(
        name=name,
        header=values.text("header", default="X-Api-Key"),
        accepted_by=tuple(read_consumer(item) for item in values.listed("accepted_by")),
        used_by=tuple(read_consumer(item) for item in values.listed("used_by")),
        check_urls=values.texts("check_urls", required=True),
        ca_file=values.optional_text("ca_file"),
    )
    if not _NAME.match(name):
        values.problem("header", f"belongs to a key whose name is {name!r}, use letters, digits and _ only")
    if not _HEADER.match(key.header):
        values.problem("header", f"is no name of a header: {key.header!r}")
    for where, consumers in (("accepted_by", key.accepted_by), ("used_by", key.used_by)):
        if not consumers:
            values.problem(where, "is missing, name every machine that has the key")
    if "check_urls" in values and not key.check_urls:
        values.problem("check_urls", "is empty, name an address of each process that accepts the key")
    for url in key.check_urls:
        if not url.startswith(("http://", "https://")):
            values.problem("check_urls", "must begin with http:// or https://")
    values.finish()
    return key
