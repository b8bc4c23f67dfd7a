# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks one side of a DNS record how it is, whatever the record says.

The service's own HTTP checks of that name are sent to the side itself: with the name that clients use, in the request
and for the certificate, but over a connection to the side's own address.
"""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    HttpCheck,
    PlannedCheck,
    SessionCheck,
    plan_checks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import DnsRoute

_PORTS = {"http": 80, "https": 443}


class SideChecks:
    """The checks of one side.

    :param side: `primary` or `standby`.
    """

    def __init__(self, service: Service, route: DnsRoute, side: str) -> None:
        self._side = side
        self._limit = service.checks.thresholds.response
        self._plan = [
            dataclasses.replace(planned, check=_led_to(planned.check, route.side(side).address))
            for planned in plan_checks({service.name: service.checks}, "deep")
            if isinstance(planned.check, HttpCheck) and _asks(planned, route.name)
        ]

    @property
    def known(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self._plan)

    def complaint(self) -> str:
        """The first thing that is wrong; empty when nothing is, or nothing can be asked."""
        for result in run_checks(self._plan):
            if not result.ok:
                return f"the {self._side} fails {result.id} ({result.error_class})"
            if result.tells_speed and result.seconds > self._limit:
                return f"the {self._side} took {result.seconds:.2f} s for {result.id}"
        return ""


def _asks(planned: PlannedCheck, name: str) -> bool:
    check = planned.check
    # A login shows its token to another address, which is on no side.
    return isinstance(check, HttpCheck) and not isinstance(check, SessionCheck) and _name_asked_for(check) == name


def _name_asked_for(check: HttpCheck) -> str:
    given = next((value for key, value in check.headers.items() if key.lower() == "host"), None)
    return given.lower() if isinstance(given, str) else (urlsplit(check.url).hostname or "").lower()


def _led_to(check: HttpCheck, address: str) -> HttpCheck:
    parts = urlsplit(check.url)
    host, _colon, port = address.partition(":")
    return dataclasses.replace(check, connect_to=(host, int(port or parts.port or _PORTS[parts.scheme])))
