"""Whether somebody who proves to be a user of the clinic comes from an address that is none of the clinic's."""

from __future__ import annotations

import calendar
import ipaddress
import json
import os
import time
from typing import Any

# The lab's time scale: in production the last minutes count.
_WINDOW_SECONDS = 2.0
_TAIL_BYTES = 128 * 1024


def look(service: str, config: dict[str, Any]) -> str:
    known = [ipaddress.ip_network(each) for each in config["known_networks"]]
    since = time.time() - _WINDOW_SECONDS
    count = 0
    for instance in config["instances"].get(service, []):
        for line in _last_lines(instance["access_log"]):
            if line["status"] == 200 and line["subject"] and _time(line["time"]) >= since:
                address = ipaddress.ip_address(line["client"])
                count += not any(address in network for network in known)
    return f"{count} requests of users came from addresses that nobody knows" if count else ""


def _last_lines(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - _TAIL_BYTES))
            content = stream.read(_TAIL_BYTES)
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")[1 if size > _TAIL_BYTES else 0 : -1]
    return [json.loads(line) for line in lines]


def _time(text: str) -> float:
    whole, _dot, fraction = text.removesuffix("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
