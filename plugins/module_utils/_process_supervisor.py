# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisord over its unix socket: the XML-RPC that supervisorctl speaks, without starting one (200 ms)."""

from __future__ import annotations

import http.client
import socket
import typing as t
import xmlrpc.client

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    ManagerUnavailable,
    ProcessUnit,
    UnitStatus,
)

# supervisor/xmlrpc.py, class Faults.
_BAD_NAME = 10
_ALREADY_STARTED = 60
_NOT_RUNNING = 70
_NO_LOG = frozenset((20, 30, 80, 91))  # NO_FILE, FAILED, and what older versions answer

_STATES = {
    "STOPPED": STOPPED,
    "STARTING": STARTING,
    "RUNNING": RUNNING,
    "BACKOFF": RESTARTING,
    "STOPPING": STOPPING,
    "EXITED": STOPPED,
    "FATAL": FAILED,
    "UNKNOWN": FAILED,
}


class SupervisorUnit(ProcessUnit):
    """A program, or `group:program`, of one supervisord.

    :param socket_path: of its unix socket.
    """

    manager = "supervisor"

    def __init__(self, unit: str, socket_path: str) -> None:
        super().__init__(unit)
        self._socket_path = socket_path

    def status(self, deadline: Deadline) -> UnitStatus:
        """By getProcessInfo."""
        info = t.cast("t.Dict[str, t.Any]", self._call(deadline, "getProcessInfo", self.unit))
        word = str(info["statename"])
        state = _STATES.get(word, FAILED)
        exit_status = int(info["exitstatus"])
        if word == "EXITED" and exit_status != 0:
            state = FAILED
        ended = state in (STOPPED, FAILED, RESTARTING)
        return UnitStatus(
            state=state,
            manager_state=word,
            pid=int(info["pid"]) or None,
            started_at=float(info["start"]) or None,
            exit_status=exit_status if ended and info["stop"] else None,
            description=str(info["spawnerr"] or info["description"])[:300],
        )

    def request_start(self, deadline: Deadline) -> None:
        """By startProcess without waiting."""
        self._call(deadline, "startProcess", self.unit, False, tolerated=(_ALREADY_STARTED,))

    def request_stop(self, deadline: Deadline) -> None:
        """By stopProcess without waiting; supervisord sends its stop signal, later SIGKILL."""
        self._call(deadline, "stopProcess", self.unit, False, tolerated=(_NOT_RUNNING,))

    def log_tail(self, most_bytes: int, deadline: Deadline) -> str:
        """Standard output and standard error, as far as they are logged."""
        parts = []
        for method in ("tailProcessStdoutLog", "tailProcessStderrLog"):
            answer = self._call(deadline, method, self.unit, 0, most_bytes, tolerated=tuple(_NO_LOG))
            if isinstance(answer, (list, tuple)) and answer and answer[0]:
                parts.append(str(answer[0]))
        return "\n".join(parts)[-most_bytes:]

    def set_start_at_boot(self, wanted: bool, deadline: Deadline) -> bool:
        """supervisord reads that from its configuration only, which is not ours to edit."""
        return False

    def _call(self, deadline: Deadline, method: str, *arguments: t.Any, tolerated: t.Tuple[int, ...] = ()) -> object:
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=_UnixTransport(self._socket_path, deadline))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in tolerated:
                return None
            if fault.faultCode == _BAD_NAME:
                raise BadInput(
                    "supervisord at %s knows no unit %r" % (self._socket_path, self.unit),
                    "supervisorctl status lists them",
                ) from fault
            raise ManagerUnavailable("%s: %s: %s" % (self, method, fault.faultString)) from fault
        except xmlrpc.client.ProtocolError as error:
            raise ManagerUnavailable(
                "supervisord at %s refused %s: %s" % (self._socket_path, method, error.errmsg),
                "a unix_http_server with a password is not supported; protect the socket by its mode",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ManagerUnavailable(
                "supervisord at %s does not answer: %s" % (self._socket_path, reason), "is supervisord running?"
            ) from error


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, socket_path: str, deadline: Deadline) -> None:
        super().__init__()
        self._socket_path = socket_path
        self._deadline = deadline

    def make_connection(self, host: t.Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._socket_path, self._deadline)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, socket_path: str, deadline: Deadline) -> None:
        super().__init__("127.0.0.1")
        self._socket_path = socket_path
        self._deadline = deadline

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(max(0.05, self._deadline.remaining()))
        self.sock.connect(self._socket_path)
