# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How services of AWS are asked, shown with a server on loopback that answers as they do when something is wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_access
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import (
    AccessDenied,
    AwsError,
    AwsUnavailable,
    BadCredentials,
    Conflict,
    NotFound,
)

REGION = "us-east-1"
SERVICES = {"services": [{"serviceName": "records"}], "failures": []}
Reply = tuple[int, dict[str, t.Any]]


def refusal(code: str, message: str = "no", status: int = 400) -> Reply:
    return status, {"__type": code, "message": message}


class Server(ThreadingHTTPServer):
    """Gives the replies in turn, the last one for ever; None hangs up without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply | None] = []
        self.asked: list[tuple[str, dict[str, t.Any]]] = []

    def next_reply(self) -> Reply | None:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.headers["X-Amz-Target"].rpartition(".")[2], json.loads(body)))
        reply = self.server.next_reply()
        if reply is None:
            self.close_connection = True
            return
        data = json.dumps(reply[1]).encode()
        self.send_response(reply[0])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: t.Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> Iterator[Server]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def account(server: Server, seconds: float = 20.0, **more: t.Any) -> AwsAccount:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return AwsAccount(AwsAccess(endpoints={REGION: url}), REGION, Budget(seconds), sleep=lambda _s: None, **more)


def describe(asking: AwsAccount, **more: t.Any) -> dict[str, t.Any]:
    return asking.ask("ecs", "describe_services", cluster="clinic", services=["records"], about="records", **more)


def update(asking: AwsAccount, **more: t.Any) -> dict[str, t.Any]:
    return asking.ask("ecs", "update_service", cluster="clinic", service="records", desiredCount=2, **more)


def test_an_answer_comes_without_its_metadata_and_is_counted(server: Server) -> None:
    server.replies = [(200, SERVICES)]
    asking = account(server)
    assert describe(asking) == SERVICES
    update(asking)
    assert (asking.calls, asking.writes) == (2, 1)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (refusal("ClusterNotFoundException", "Cluster not found."), NotFound, "ecs:DescribeServices on records in us-"),
        (refusal("AccessDeniedException"), AccessDenied, "may not ecs:DescribeServices on records"),
        (refusal("ConflictException"), Conflict, "ConflictException"),
        (refusal("UnrecognizedClientException"), BadCredentials, "does not accept"),
        (refusal("InvalidParameterException", "too long"), AwsError, "InvalidParameterException: too long"),
    ],
)
def test_what_is_refused_is_said_once_and_in_one_line(
    server: Server, reply: Reply, kind: type[AwsError], words: str
) -> None:
    server.replies = [reply]
    with pytest.raises(kind) as caught:
        describe(account(server))
    assert words in caught.value.message and "\n" not in str(caught.value)
    # Credentials are looked for once more; everything else is not asked again.
    assert len(server.asked) == (2 if kind is BadCredentials else 1)


def test_keys_in_a_message_of_a_service_are_left_out(server: Server) -> None:
    server.replies = [refusal("InvalidParameterException", "AKIAABCDEFGHIJKLMNOP is used by records")]
    with pytest.raises(AwsError) as caught:
        describe(account(server))
    assert "AKIA" not in str(caught.value) and "is used by records" in str(caught.value)


@pytest.mark.parametrize(
    "trouble",
    [refusal("ThrottlingException"), refusal("ServerException", status=500), refusal("Odd", status=503), None],
)
def test_trouble_that_passes_is_outlived(server: Server, trouble: Reply | None) -> None:
    server.replies = [trouble, trouble, (200, SERVICES)]
    assert describe(account(server)) == SERVICES
    assert len(server.asked) == 3


def test_trouble_that_stays_ends_with_the_budget(server: Server) -> None:
    server.replies = [refusal("ServerException", status=500)]
    made = account(server)
    # Not of the budget that is meant: a client takes its time on a busy machine.
    made._client("ecs", REGION)
    asking, began = made.within(0.5), time.monotonic()
    with pytest.raises(AwsUnavailable, match=r"ecs:DescribeServices on records in us-east-1 in time: ServerException"):
        describe(asking)
    assert time.monotonic() - began < 5 and len(server.asked) >= 2


def test_ended_credentials_are_looked_for_again(server: Server) -> None:
    server.replies = [refusal("ExpiredTokenException"), (200, SERVICES)]
    assert describe(account(server)) == SERVICES
    server.replies = [refusal("ExpiredTokenException")]
    with pytest.raises(BadCredentials, match="have ended"):
        describe(account(server))


def test_what_must_not_be_done_twice_is_left_in_doubt(server: Server) -> None:
    server.replies = [None, (200, {})]
    with pytest.raises(AwsUnavailable) as caught:
        update(account(server), repeat=False)
    assert caught.value.sent and len(server.asked) == 1
    # That it was throttled is a clear no.
    server.replies = [refusal("ThrottlingException"), (200, {})]
    assert update(account(server), repeat=False) == {}


def test_nobody_listens_is_no_doubt(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        asking = AwsAccount(AwsAccess(endpoints={REGION: url}), REGION, Budget(0.3))
        with pytest.raises(AwsUnavailable) as caught:
            update(asking)
    assert not caught.value.sent


def test_check_mode_cannot_change_anything(server: Server) -> None:
    asking = account(server, read_only=True)
    with pytest.raises(AssertionError, match="ecs:UpdateService"):
        update(asking)
    assert server.asked == [] and asking.writes == 0


def test_all_pages_are_read(server: Server) -> None:
    server.replies = [(200, {"serviceArns": ["a", "b"], "nextToken": "on"}), (200, {"serviceArns": ["c"]})]
    assert account(server).ask_all("ecs", "list_services", "serviceArns", cluster="clinic") == ["a", "b", "c"]
    assert [body.get("nextToken") for _name, body in server.asked] == [None, "on"]


def test_many_things_are_asked_in_batches_and_stay_in_order(server: Server) -> None:
    server.replies = [(200, {})]
    asking = account(server)

    def look(names: t.Sequence[str]) -> list[str]:
        asking.ask("ecs", "describe_services", cluster="clinic", services=list(names))
        return [name.upper() for name in names]

    assert asking.batches([f"s{n}" for n in range(23)], 10, look) == [f"S{n}" for n in range(23)]
    assert sorted(len(body["services"]) for _name, body in server.asked) == [3, 10, 10]


def test_a_value_of_the_wrong_form_is_not_repeated(server: Server) -> None:
    with pytest.raises(BadInput) as caught:
        account(server).ask("ecs", "update_service", cluster="clinic", service={"hunter2": 1})
    assert "hunter2" not in str(caught.value) and server.asked == []


def test_no_credentials_are_said_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BadInput, match="has no AWS credentials"):
        account(server)
    with pytest.raises(BadInput, match="there is no AWS profile oncall"):
        AwsAccess(profile="oncall").session()


def test_a_process_for_credentials_that_hangs_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text("[profile slow]\ncredential_process = sleep 2\n", encoding="utf-8")
    monkeypatch.setattr(_aws_access, "_CREDENTIALS_SECONDS", 0.2)
    with pytest.raises(CodeblueError, match=r"no AWS credentials came for profile slow within 0\.2 s"):
        AwsAccess(profile="slow").session()


def test_operations_are_told_apart_by_their_names() -> None:
    reading = ["describe_services", "get_object", "list_tasks", "batch_get_image", "head_bucket", "lookup_events"]
    assert not any(is_change(each) for each in reading)
    assert all(is_change(each) for each in ("update_service", "invoke", "promote_read_replica", "put_object"))
