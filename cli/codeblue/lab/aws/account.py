"""How the lab itself speaks to its account, and to the server that keeps it."""

from __future__ import annotations

import http.client
import json
import time
import typing as t
import urllib.error
import urllib.request

import botocore.config
import botocore.exceptions
import botocore.session
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused

from codeblue.lab.aws.blueprint import MARKED, MARKER, REGIONS

# What calls of the lab carry in the record, so that those of a recovery can be told from them.
AGENT = "codeblue-lab"
_SECONDS = 10.0
_POLL_SECONDS = 0.03
_PREFIX = "/codeblue-lab/"


class LabAccount:
    """Clients of the services, by the lab's own key.

    :param url: that answers for every region.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = botocore.session.get_session()
        self._session.set_credentials("AKIALABLABLABLABLAB0", "lab")
        self._clients: dict[tuple[str, str], t.Any] = {}

    def client(self, service: str, region: str) -> t.Any:
        """Made once."""
        known = self._clients.get((service, region))
        if known is None:
            settings = botocore.config.Config(
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
                retries={"total_max_attempts": 2},
                user_agent_extra=AGENT,
                s3={"addressing_style": "path"},
            )
            known = self._session.create_client(service, region, endpoint_url=self.url, config=settings)
            self._clients[service, region] = known
        return known

    def mark(self) -> None:
        """Say that the account may be broken."""
        for region in REGIONS:
            self.client("ssm", region).put_parameter(Name=MARKER, Value=MARKED, Type="String", Overwrite=True)

    def require_lab(self, regions: t.Iterable[str] = REGIONS) -> None:
        """Ask whether the account may be broken.

        :param regions: those that answer.
        :raises Refused: nobody has said so.
        """
        for region in regions:
            try:
                found = self.client("ssm", region).get_parameter(Name=MARKER)["Parameter"]["Value"]
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
                found = ""
            if found != MARKED:
                raise Refused(
                    f"the account at {self.url} is not marked as a lab in {region}",
                    f"when it may be broken: aws ssm put-parameter --type String --name {MARKER} --value '{MARKED}'"
                    f" --region {region} --endpoint-url {self.url}",
                )


class ServerControl:
    """The control of the lab's server.

    :param url: of its control port.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def state(self) -> dict[str, t.Any]:
        """What it says of itself.

        :raises CodeblueError: it does not answer.
        """
        return self._ask("state")

    def answers(self) -> bool:
        """Whether such a server is there."""
        try:
            return "serving" in self.state()
        except CodeblueError:
            return False

    def do(self, what: str, **values: t.Any) -> dict[str, t.Any]:
        """Have something done.

        :raises CodeblueError: it does not answer, or does not know it.
        """
        return self._ask(what, values)

    def serve(self, facts: t.Mapping[str, t.Any]) -> None:
        """The account is filled: answer from now on.

        :param facts: for whoever joins.
        """
        self.do("serve", facts=dict(facts))
        self._wait(lambda state: bool(state["serving"]))

    def reset(self) -> None:
        """Go back to the account as it was filled."""
        before = self.state()["worker"]
        self.do("reset")
        self._wait(lambda state: state["worker"] != before and bool(state["serving"]))

    def _wait(self, so: t.Callable[[dict[str, t.Any]], bool]) -> None:
        ends = time.monotonic() + 6 * _SECONDS
        while True:
            try:
                if so(self.state()):
                    return
            except CodeblueError:
                # Between one worker and the next nobody answers.
                pass
            if time.monotonic() > ends:
                raise CodeblueError(f"the lab's server at {self._url} does not begin to serve", "see its server.log")
            time.sleep(_POLL_SECONDS)

    def _ask(self, what: str, values: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
        body = None if values is None else json.dumps(values).encode()
        request = urllib.request.Request(f"{self._url}{_PREFIX}{what}", body, method="GET" if body is None else "POST")
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return t.cast("dict[str, t.Any]", json.load(answer))
        except urllib.error.HTTPError as error:
            raise CodeblueError(
                f"the lab's server refuses {what}: {error.read(500).decode(errors='replace')}"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CodeblueError(f"the lab's server at {self._url} does not answer: {error}") from error
