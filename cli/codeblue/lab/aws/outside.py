"""Asks the clinic on AWS as people do: by its names, at its edge; and its own monitoring."""

from __future__ import annotations

import hashlib
import http.client
import time
from dataclasses import dataclass

from codeblue.lab.aws.blueprint import API_NAME, PAGE, SERVICES, WEB_NAME

SECONDS = 5.0
#: Of the platform's own monitoring, see `server.signals`.
FOREIGN_KEY_USE = "foreign_key_use"
PUBLIC_BUCKET = "public_bucket"
DAMAGED_DATA = "damaged_data"
#: How long people wait; it is told by the answer itself.
ANSWER_TIME = "answer_time"
# Normal are some hundredths; so long that a busy machine is not taken for a slow service.
LIMIT_SECONDS = 1.0
DATABASE_SERVICES = ("patient_db", "analytics_db")
_GATEWAY = "gateway"
_FRONTEND = "frontend"
#: Services of the inventory that are asked from outside.
ASKED = (*SERVICES, _GATEWAY, _FRONTEND, *DATABASE_SERVICES)
# What says that nobody leads to a service at all, whatever the service itself says.
_NO_WAY = (502, 504)


@dataclass(frozen=True)
class Answer:
    """What came back.

    :param status: of HTTP; 0 for none.
    :param seconds: until the last byte.
    """

    status: int
    body: bytes
    seconds: float


class Outside:
    """The way in from outside.

    :param host: of the lab's server.
    :param port: of its edge.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)

    def wrong(self, service: str) -> str | None:
        """What is wrong with a service of the inventory; None when it does its work.

        :param service: one of `ASKED`.
        """
        if service in DATABASE_SERVICES:
            return _status(self.get("", f"/database/{service}"))
        if service == _GATEWAY:
            answer = self.get(API_NAME, "/")
            return f"HTTP {answer.status}" if answer.status in (*_NO_WAY, 0) else None
        if service == _FRONTEND:
            answer = self.get(WEB_NAME, "/")
            same = hashlib.sha256(answer.body).digest() == hashlib.sha256(PAGE).digest()
            return _status(answer) or (None if same else "another page")
        path = SERVICES[service].path
        return _status(self.get(API_NAME, f"{path}/deep"))

    def not_clear(self, signal: str, service: str) -> bool:
        """Whether a signal tells of danger, or a service answers late."""
        if signal == ANSWER_TIME:
            return self.get(API_NAME, f"{SERVICES[service].path}/health").seconds > LIMIT_SECONDS
        return self.get("", f"/signals/{signal}/{service}").status == 503

    def get(self, host: str, path: str) -> Answer:
        """One request; an answer with status 0 when none came."""
        connection = http.client.HTTPConnection(*self._place, timeout=SECONDS)
        began = time.monotonic()
        try:
            connection.request("GET", path, headers={"X-Clinic-Host": host} if host else {})
            answer = connection.getresponse()
            body = answer.read()
            return Answer(answer.status, body, time.monotonic() - began)
        except (OSError, http.client.HTTPException):
            return Answer(0, b"", time.monotonic() - began)
        finally:
            connection.close()


def _status(answer: Answer) -> str | None:
    return None if answer.status == 200 else f"HTTP {answer.status}"
