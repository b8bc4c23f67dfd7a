# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where messages go. Known only to the process that delivers; never written into a message.

CODEBLUE_TICKET_URL (an http or https endpoint, or `file:/path`), CODEBLUE_NOTIFY_URLS (Apprise addresses or
`file:/path`, separated by blanks) and CODEBLUE_ANCHORS; or a YAML file with `ticket_url`, `ticket_token_from`,
`notify_urls` and `anchors`, named by CODEBLUE_DESTINATIONS or found as `codeblue/destinations.yml` in
XDG_CONFIG_HOME. The environment stands above the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._anchors import (
    Anchor,
    AnchorFailed,
    append_line,
    parse_anchors,
)

ATTEMPT_SECONDS = 5.0
_LONGEST_RECEIPT = 200


class DeliveryFailed(CodeblueError):
    """A message could not be handed over; it is tried again."""


class Destination(t.Protocol):
    """One place that messages of a channel go to."""

    @property
    def name(self) -> str:
        """Names it in receipts and errors, without credentials."""

    def send(self, message_id: str, payload: Mapping[str, t.Any]) -> str:
        """Hand a message over.

        :param message_id: the idempotency key.
        :returns: the receipt.
        :raises DeliveryFailed: it was not accepted.
        """


@dataclass(frozen=True)
class FileDestination:
    """A line of JSON in a file."""

    path: Path

    @property
    def name(self) -> str:
        return f"file-{_short(str(self.path))}"

    def send(self, message_id: str, payload: Mapping[str, t.Any]) -> str:
        try:
            append_line(self.path, json.dumps({"message_id": message_id, **payload}, sort_keys=True))
        except OSError as error:
            raise DeliveryFailed(f"{self.name}: {error.strerror}") from error
        return "written"


@dataclass(frozen=True)
class HttpDestination:
    """A ticket system's endpoint: POST with JSON, and the message's id as `Idempotency-Key`."""

    url: str
    token_from: str | None = None

    @property
    def name(self) -> str:
        return f"http-{_short(self.url)}"

    def send(self, message_id: str, payload: Mapping[str, t.Any]) -> str:
        import httpx
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import parse_secret_reference

        headers = {"Idempotency-Key": message_id}
        if self.token_from:
            headers["Authorization"] = (
                f"Bearer {parse_secret_reference(self.token_from, 'ticket_token_from').resolve()}"
            )
        try:
            # Redirects are not followed: they would carry the credentials elsewhere.
            response = httpx.post(
                self.url, json=dict(payload), headers=headers, timeout=ATTEMPT_SECONDS, follow_redirects=False
            )
        except httpx.InvalidURL:
            raise DeliveryFailed(f"{self.name}: the ticket URL is not valid") from None
        except httpx.HTTPError as error:
            # Its text may hold the address with its credentials.
            raise DeliveryFailed(f"{self.name}: {type(error).__name__}") from None
        if not response.is_success:
            raise DeliveryFailed(f"{self.name}: HTTP {response.status_code}")
        return json.dumps({"status": response.status_code, "id": _ticket_id(response.content)})


@dataclass(frozen=True)
class AppriseDestination:
    """A chat, a pager or a mailbox, through Apprise."""

    url: str

    @property
    def name(self) -> str:
        return f"apprise-{self.url.partition(':')[0]}-{_short(self.url)}"

    def send(self, message_id: str, payload: Mapping[str, t.Any]) -> str:
        import logging

        import apprise

        # Its messages hold parts of addresses.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        sender = apprise.Apprise()
        if not sender.add(self.url):
            raise DeliveryFailed(f"{self.name}: Apprise does not know this address")
        if not sender.notify(title=str(payload.get("title", "")), body=str(payload.get("body", ""))):
            raise DeliveryFailed(f"{self.name}: was not accepted")
        return "accepted"


@dataclass(frozen=True)
class AnchorDestination:
    """A place for heads."""

    anchor: Anchor

    @property
    def name(self) -> str:
        return self.anchor.name

    def send(self, message_id: str, payload: Mapping[str, t.Any]) -> str:
        try:
            self.anchor.copy(payload)
        except AnchorFailed as error:
            raise DeliveryFailed(error.message) from error
        return "copied"


def load_destinations() -> dict[str, list[Destination]]:
    """Channel -> its destinations; a channel without one is left out.

    :raises BadInput: the file is wrong, or others can read it.
    """
    settings = {**_settings_from_file(), **_settings_from_environment()}
    found: dict[str, list[Destination]] = {}
    ticket = settings.get("ticket_url")
    if ticket:
        found["ticket"] = [_ticket_destination(str(ticket), settings.get("ticket_token_from"))]
    notify = [_notify_destination(url) for url in _list(settings.get("notify_urls"), "notify_urls")]
    if notify:
        found["notify"] = notify
    anchors = parse_anchors(" ".join(_list(settings.get("anchors"), "anchors")))
    if anchors:
        found["anchor"] = [AnchorDestination(anchor) for anchor in anchors]
    return found


def configured_anchors() -> list[Anchor]:
    """The anchors of this controller.

    :raises BadInput: they are written wrongly.
    """
    settings = {**_settings_from_file(), **_settings_from_environment()}
    return parse_anchors(" ".join(_list(settings.get("anchors"), "anchors")))


def _ticket_destination(url: str, token_from: t.Any) -> Destination:
    scheme, _colon, rest = url.partition(":")
    if scheme == "file":
        return FileDestination(Path(rest))
    if scheme in ("http", "https"):
        return HttpDestination(url, str(token_from) if token_from else None)
    raise BadInput("CODEBLUE_TICKET_URL is neither http, https nor file:/path", "see docs/audit.md")


def _notify_destination(url: str) -> Destination:
    return FileDestination(Path(url[5:])) if url.startswith("file:") else AppriseDestination(url)


def _settings_from_environment() -> dict[str, t.Any]:
    names = {
        "ticket_url": "CODEBLUE_TICKET_URL",
        "ticket_token_from": "CODEBLUE_TICKET_TOKEN_FROM",
        "notify_urls": "CODEBLUE_NOTIFY_URLS",
        "anchors": "CODEBLUE_ANCHORS",
    }
    return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}


def _settings_from_file() -> dict[str, t.Any]:
    given = os.environ.get("CODEBLUE_DESTINATIONS")
    base = os.environ.get("XDG_CONFIG_HOME")
    path = Path(given) if given else (Path(base) if base else Path.home() / ".config") / "codeblue/destinations.yml"
    if not given and not path.exists():
        return {}
    import yaml

    try:
        if path.stat().st_mode & 0o077:
            raise BadInput(f"{path} can be read by others and may hold credentials", f"chmod 600 {path}")
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "correct CODEBLUE_DESTINATIONS") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own message would show the line, with what it holds.
        raise BadInput(f"{path} is not YAML", "see docs/audit.md") from None
    known = {"ticket_url", "ticket_token_from", "notify_urls", "anchors"}
    if not isinstance(content, dict) or not set(content) <= known:
        raise BadInput(f"{path}: only {', '.join(sorted(known))} may stand there", "see docs/audit.md")
    return content


def _list(value: t.Any, name: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise BadInput(f"{name} must be a list of texts", "see docs/audit.md")


def _ticket_id(body: bytes) -> str | None:
    """What the ticket system calls the ticket, if it says so in one of the usual ways."""
    try:
        answer = json.loads(body[:65536])
    except ValueError:
        return None
    for holder in (answer, answer.get("result") if isinstance(answer, dict) else None):
        for name in ("id", "key", "number", "sys_id"):
            if isinstance(holder, dict) and isinstance(holder.get(name), (str, int)):
                return str(holder[name])[:_LONGEST_RECEIPT]
    return None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
