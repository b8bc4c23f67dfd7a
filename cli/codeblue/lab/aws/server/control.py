"""The control port: how `codeblue lab` talks to the server of its account.

Everything here is of the lab and not of AWS; no runbook and no action knows of it.
"""

from __future__ import annotations

import json
import os
import typing as t

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.relational import damage
from codeblue.lab.aws.server.traffic import Traffic

PREFIX = "/codeblue-lab/"
_MOST_BYTES = 1_000_000
_JSON = [("Content-Type", "application/json")]

Values = dict[str, t.Any]


class ControlApplication:
    """WSGI: `GET state`, and `POST` of what is to be so.

    :param stop: ends the serving of this process, and is told why.
    :param ports: that it listens on, for whoever joins.
    :param facts: what the account was filled with; None while it is filled.
    :param settle: lets the time pass that services need to be steady; for while it is filled.
    :param fallback: answers everything else.
    """

    def __init__(
        self,
        conditions: Conditions,
        traffic: Traffic | None,
        stop: t.Callable[[str], None],
        ports: t.Mapping[str, int],
        facts: Values | None,
        settle: t.Callable[[], None],
        fallback: t.Callable[..., t.Iterable[bytes]],
    ) -> None:
        self._conditions = conditions
        self._traffic = traffic
        self._stop = stop
        self._ports = ports
        self._facts = facts
        self._settle = settle
        self._fallback = fallback

    def __call__(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self._fallback(environ, start_response)
        body = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), _MOST_BYTES))
        try:
            values = json.loads(body) if body else {}
            answer, status = self._do(environ["REQUEST_METHOD"], path.removeprefix(PREFIX), values), "200 OK"
        except (ValueError, KeyError, TypeError) as error:
            answer, status = {"error": f"{type(error).__name__}: {error}"}, "400 Bad Request"
        content = json.dumps(answer).encode() + b"\n"
        start_response(status, [*_JSON, ("Content-Length", str(len(content)))])
        return [content]

    def _do(self, method: str, what: str, values: Values) -> Values:
        if (method, what) == ("GET", "state"):
            return self._state()
        if method != "POST":
            raise ValueError(f"{method} {what} is not known")
        conditions = self._conditions
        # In this order everywhere.
        with conditions.world, conditions.lock:
            if what == "serve":
                self._stop(json.dumps(values["facts"]))
            elif what == "settle":
                self._settle()
            elif what == "reset":
                self._stop("reset")
            elif what == "region":
                closed = conditions.closed_regions
                (closed.add if values["closed"] else closed.discard)(str(values["region"]))
            elif what == "database":
                self._set_database(str(values["region"]), str(values["name"]), values)
            elif what == "service":
                place = (str(values["region"]), str(values["service"]))
                conditions.latencies[place] = float(values.get("seconds", 0.0))
                conditions.error_rates[place] = float(values.get("error_rate", 0.0))
            elif what == "intruder":
                conditions.intruder_key = str(values["key"])
            elif what == "interfere":
                conditions.interfere(values)
            elif what == "leave-alone":
                conditions.interferences.clear()
            else:
                raise ValueError(f"POST {what} is not known")
        return {"done": what}

    def _set_database(self, region: str, name: str, values: Values) -> None:
        known = self._conditions.database(region, name)
        known.lag = float(values.get("lag", known.lag))
        instance = backend("rds", region).databases[name]
        if "status" in values:
            instance.status = str(values["status"])
        if "damaged" in values:
            damage(instance, bool(values["damaged"]))

    def _state(self) -> Values:
        conditions = self._conditions
        with conditions.world, conditions.lock:
            return {
                "serving": self._facts is not None,
                "facts": self._facts or {},
                "ports": dict(self._ports),
                # Another one after each reset.
                "worker": os.getpid(),
                "closed_regions": sorted(conditions.closed_regions),
                "interferences": len(conditions.interferences),
                "services": self._traffic.states() if self._traffic is not None else {},
            }
