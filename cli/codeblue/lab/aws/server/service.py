"""The listeners of the server: the control port, one endpoint for each region, and the clinic's edge."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from pathlib import Path

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

from codeblue.lab.aws.server.application import AccountApplication
from codeblue.lab.aws.server.calls import CallRecord
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.control import ControlApplication
from codeblue.lab.aws.server.history import service_deployments, service_revisions
from codeblue.lab.aws.server.identities import Identities
from codeblue.lab.aws.server.relational import switch_global
from codeblue.lab.aws.server.signals import Monitoring
from codeblue.lab.aws.server.simulation import Simulation, settle
from codeblue.lab.aws.server.traffic import Traffic
from codeblue.lab.aws.server.trail import Trail

if t.TYPE_CHECKING:
    import socket

    from codeblue.lab.aws.server.keeper import Settings

_PORT_PAUSE = 0.05
# How soon a server that is to end notices.
_POLL_SECONDS = 0.1
_PORT_TRIES = 100
_SETTLE_SECONDS = 10.0
# The answer that a server is to end is on its way.
_LAST_ANSWER_SECONDS = 0.05


class _Handler(MotoRequestHandler):
    """Keeps connections open, as AWS does, and writes no line for each request: those are in the record of calls."""

    protocol_version = "HTTP/1.1"
    # A connection that nobody uses; botocore notices and opens another.
    timeout = 60

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return


class _FillingHandler(_Handler):
    """One connection for one call: the only thread answers whoever comes next."""

    protocol_version = "HTTP/1.0"


def be_filled(settings: Settings, listener: socket.socket) -> dict[str, t.Any]:
    """Answer at the control port, in this thread, until told to serve; returns what the account was filled with."""
    conditions = Conditions()
    account = AccountApplication(CallRecord(Path(settings.calls)), conditions, {})
    servers: list[BaseWSGIServer] = []

    facts: dict[str, t.Any] = {}

    def stop(said: str) -> None:
        facts.update(json.loads(said))
        # From within the loop that is to end, `shutdown` would wait for itself.
        threading.Thread(target=servers[0].shutdown, daemon=True).start()

    def let_time_pass() -> None:
        settle(list(settings.regions), _SETTLE_SECONDS)

    control = ControlApplication(conditions, None, stop, settings.ports, None, let_time_pass, account)
    servers.append(
        make_server("127.0.0.1", settings.control, control, request_handler=_FillingHandler, fd=listener.fileno())
    )
    servers[0].serve_forever(_POLL_SECONDS)
    return facts


def serve(settings: Settings, listener: socket.socket, facts: dict[str, t.Any]) -> str:
    """Answer until told otherwise; returns why it ended.

    :param facts: what the account was filled with.
    """
    conditions = Conditions()
    record = CallRecord(Path(settings.calls))
    trail = Trail(record)
    identities = Identities()
    answerers = {
        ("cloudtrail", "LookupEvents"): trail.lookup,
        ("ecs", "ListServiceDeployments"): service_deployments,
        ("ecs", "DescribeServiceRevisions"): service_revisions,
        ("rds", "FailoverGlobalCluster"): switch_global,
        ("rds", "SwitchoverGlobalCluster"): switch_global,
    }
    ports = {str(port): region for region, port in settings.regions.items()}
    account = AccountApplication(record, conditions, ports, [identities.refuse], answerers)
    traffic = Traffic(conditions, list(settings.regions), Monitoring(conditions, record, list(settings.regions)))
    ended: list[str] = []
    over = threading.Event()

    def stop(why: str) -> None:
        ended.append(why)
        over.set()

    control = ControlApplication(conditions, traffic, stop, settings.ports, facts, lambda: None, account)
    simulation = Simulation(conditions, record, identities, list(settings.regions))
    simulation.start()
    _start(make_server("127.0.0.1", settings.control, control, True, request_handler=_Handler, fd=listener.fileno()))
    _start(_bound(settings.edge, traffic))
    for region, port in settings.fronts.items():
        _start(_bound(port, traffic.front(region)))
    doors = {region: _Door(port, account) for region, port in settings.regions.items()}
    while not over.wait(_PORT_PAUSE):
        with conditions.lock:
            closed = set(conditions.closed_regions)
        for region, door in doors.items():
            door.be(region not in closed)
    time.sleep(_LAST_ANSWER_SECONDS)
    return ended[0]


class _Door:
    """The endpoint of a region, that can be closed: then nobody listens there."""

    def __init__(self, port: int, application: t.Any) -> None:
        self._port = port
        self._application = application
        self._server: BaseWSGIServer | None = None
        self.be(True)

    def be(self, opened: bool) -> None:
        """Be open, or closed."""
        if opened and self._server is None:
            self._server = _bound(self._port, self._application)
            _start(self._server)
        elif not opened and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _bound(port: int, application: t.Any) -> BaseWSGIServer:
    """A server on a port that another worker may have held a moment ago.

    :raises OSError: somebody else holds it.
    """
    for left in range(_PORT_TRIES, -1, -1):
        try:
            return make_server("127.0.0.1", port, application, True, request_handler=_Handler)
        except (OSError, SystemExit):
            # werkzeug ends the process where the port is taken.
            if left == 0:
                raise
            time.sleep(_PORT_PAUSE)
    raise AssertionError("unreachable")


def _start(server: BaseWSGIServer) -> None:
    threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
