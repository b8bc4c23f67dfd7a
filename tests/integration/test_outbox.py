"""The outbox against a real HTTP endpoint, real git repositories and files. About 5 s."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _tables
from ansible_collections.codeblue.recovery.plugins.plugin_utils._anchors import parse_anchors
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import deliver, messages
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store
from codeblue.main import main
from codeblue.verify import read_heads, verify_export
from store_support import isolate, opening

_PASSWORD = "canary-9d2e77"


@dataclass
class Endpoint:
    """A ticket system: keeps what it was sent, answers with `status`."""

    port: int = 0
    status: int = 201
    delay: float = 0.0
    received: list[tuple[dict[str, str], dict[str, object]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://codeblue:{_PASSWORD}@127.0.0.1:{self.port}/tickets"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(state.delay)
            state.received.append((dict(self.headers), body))
            answer = json.dumps({"result": {"number": f"CHG{len(state.received):07d}"}}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    isolate(monkeypatch, tmp_path)
    opened = open_store()
    yield opened
    opened.close()


def _closed_run(store: Store) -> str:
    run, _ = store.open_run(opening("a"))
    store.close_target(run.run_id, "a", "recovered", {"checks": 3})
    return run.run_id


def test_a_ticket_is_opened_and_closed_with_its_validation(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBLUE_TICKET_URL", endpoint.url)
    run_id = _closed_run(store)
    report = deliver(store)
    assert len(report.delivered) == 2
    (headers, opened), (_, closed) = endpoint.received
    assert headers["Idempotency-Key"] == f"{run_id}:run_opened:ticket"
    assert headers["Authorization"].startswith("Basic ")
    assert (opened["event"], closed["event"]) == ("run_opened", "run_closed")
    assert opened["requester"] == "alice"
    assert {"justification", "targets", "risk", "plan", "rollback", "type"} <= set(opened)
    assert closed["validation"] == {"a": {"outcome": "recovered", "checks": 3}}
    receipts = [message.receipts for message in messages(store, "delivered") if message.channel == "ticket"]
    assert all("CHG000000" in receipt for each in receipts for receipt in each.values())
    assert deliver(store).delivered == ()
    assert len(endpoint.received) == 2


def test_what_is_not_accepted_is_tried_again_later_and_in_order(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBLUE_TICKET_URL", endpoint.url)
    endpoint.status = 503
    _closed_run(store)
    report = deliver(store)
    assert [error.partition(": ")[2] for _, error in report.failed] == ["HTTP 503"]
    # The close waits for its opening, and that one for its pause.
    assert deliver(store).failed == ()
    endpoint.status = 200
    assert len(deliver(store, now_due=True).delivered) == 2
    assert [body["event"] for _, body in endpoint.received] == ["run_opened", "run_opened", "run_closed"]
    first = next(message for message in messages(store) if message.message_id.endswith("run_opened:ticket"))
    assert (first.attempts, first.state, first.last_error) == (2, "delivered", None)


def test_nothing_waits_for_a_ticket_system_that_is_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        # Accepts connections and never answers.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("CODEBLUE_TICKET_URL", f"http://codeblue:{_PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/")
        started = time.monotonic()
        _closed_run(store)
        assert time.monotonic() - started < 1
        report = deliver(store)
        assert time.monotonic() - started < 8
    assert [error.partition(": ")[2] for _, error in report.failed] == ["ReadTimeout"]
    assert report.waiting == 6


def test_credentials_are_neither_kept_nor_shown(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODEBLUE_TICKET_URL", endpoint.url)
    monkeypatch.setenv("CODEBLUE_NOTIFY_URLS", f"json://user:{_PASSWORD}@127.0.0.1:1/")
    endpoint.status = 500
    _closed_run(store)
    assert main(["outbox", "deliver", "--json"]) == 1
    assert main(["outbox", "list"]) == 0
    with store.database.read() as connection:
        rows = str(connection.execute(sa.select(_tables.outbox)).all())
    said = capsys.readouterr()
    assert _PASSWORD not in rows + said.out + said.err
    assert "HTTP 500" in said.out


def test_a_token_comes_from_a_reference(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(_PASSWORD + "\n")
    config = tmp_path / "destinations.yml"
    config.write_text(
        f"ticket_url: http://127.0.0.1:{endpoint.port}/\nticket_token_from: file:{tmp_path}/token\n"
        f"notify_urls: ['file:{tmp_path}/notices']\nanchors: ['file:{tmp_path}/heads']\n"
    )
    monkeypatch.setenv("CODEBLUE_DESTINATIONS", str(config))
    config.chmod(0o644)
    with pytest.raises(BadInput, match="read by others"):
        deliver(store)
    config.chmod(0o600)
    _closed_run(store)
    report = deliver(store)
    assert (len(report.delivered), report.waiting) == (4, 0)
    assert endpoint.received[0][0]["Authorization"] == f"Bearer {_PASSWORD}"
    assert len((tmp_path / "notices").read_text().splitlines()) == 2
    assert len(read_heads((tmp_path / "heads").read_text())) == 2


def test_notifications_go_out_through_apprise(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBLUE_NOTIFY_URLS", f"json://127.0.0.1:{endpoint.port}/")
    _closed_run(store)
    assert len(deliver(store).delivered) == 2
    assert [body["title"] for _, body in endpoint.received] == [
        "[SEV1] lab: database_connection_failure started",
        "[SEV1] lab: database_connection_failure ended: recovered",
    ]


def test_news_of_yesterday_is_not_told_but_tickets_are(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBLUE_TICKET_URL", endpoint.url)
    monkeypatch.setenv("CODEBLUE_NOTIFY_URLS", f"json://127.0.0.1:{endpoint.port}/")
    _closed_run(store)
    with store.database.write() as transaction:
        transaction.connection.execute(_tables.outbox.update().values(created_at="2020-01-01T00:00:00.000000Z"))
    deliver(store)
    assert {message.channel for message in messages(store, "expired")} == {"notify"}
    assert {body.get("event") for _, body in endpoint.received} == {"run_opened", "run_closed"}


def test_two_deliverers_send_each_message_once(
    store: Store, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBLUE_TICKET_URL", endpoint.url)
    endpoint.delay = 0.02
    for _ in range(8):
        _closed_run(store)
    store.close()
    command = [sys.executable, "-m", "codeblue", "outbox", "deliver", "--json"]
    deliverers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [json.loads(each.communicate(timeout=60)[0].splitlines()[-1])["delivered"] for each in deliverers]
    while deliver(store, now_due=True).delivered:
        pass
    keys = [headers["Idempotency-Key"] for headers, _ in endpoint.received]
    assert len(keys) == len(set(keys)) == 16
    assert sum(count > 0 for count in counts) > 1


def test_what_has_no_destination_waits_and_says_so(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _closed_run(store)
    assert main(["outbox", "deliver"]) == 0
    assert "2 wait for a destination of the channel ticket" in capsys.readouterr().out


# -- anchors -----------------------------------------------------------------------------------------------------


def test_heads_are_committed_to_a_repository(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repository = tmp_path / "anchors.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    monkeypatch.setenv("CODEBLUE_ANCHORS", f"git:{repository} file:{tmp_path}/heads")
    run_id = _closed_run(store)
    assert {message.state for message in messages(store) if message.channel == "anchor"} == {"pending"}
    assert len(deliver(store).delivered) == 2
    git = ["git", "--git-dir", str(repository)]
    names = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", "codeblue-heads"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(names) == 2
    assert all(name.startswith(f"heads/{run_id}/0-") for name in names)
    commits = subprocess.run(
        [*git, "log", "--format=%s", "codeblue-heads"], capture_output=True, text=True, check=True
    ).stdout
    assert len(commits.splitlines()) == 2
    last = subprocess.run(
        [*git, "show", f"codeblue-heads:{names[-1]}"], capture_output=True, text=True, check=True
    ).stdout
    assert verify_export(store.export(run_id), [store.ledger.key.public_pem.encode()], read_heads(last)).exit_code == 0
    # The file got them at once, and once.
    assert len((tmp_path / "heads").read_text().splitlines()) == 2


def test_heads_of_several_controllers_end_up_in_one_repository(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "anchors.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    anchor = parse_anchors(f"git:{repository}")[0]
    head = {"head": "x", "run_id": "R", "segment": 0, "seq": 0}
    anchor.copy(head)
    # Another controller has a cache of its own.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    anchor.copy(head | {"seq": 1})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    anchor.copy(head | {"seq": 2})
    anchor.copy(head | {"seq": 2})
    listed = subprocess.run(
        ["git", "--git-dir", str(repository), "log", "--format=%s", "codeblue-heads"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.split("\n")[:3] == [f"Head heads/R/0-{number:06d}.json" for number in (2, 1, 0)]


def test_heads_go_to_the_log(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(place))
        log.settimeout(2)
        monkeypatch.setenv("CODEBLUE_ANCHORS", f"syslog:{place}")
        run_id = _closed_run(store)
        lines = [log.recv(8192).decode() for _ in range(2)]
    heads = read_heads("\n".join(lines))
    assert verify_export(store.export(run_id), [store.ledger.key.public_pem.encode()], heads).exit_code == 0


def test_an_anchor_that_is_away_delays_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEBLUE_ANCHORS", f"file:{tmp_path}/none/heads syslog:{tmp_path}/none git:{tmp_path}/none.git")
    started = time.monotonic()
    _closed_run(store)
    assert time.monotonic() - started < 1
    report = deliver(store)
    # The later head waits for the earlier one.
    assert len(report.failed) == 1
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("CODEBLUE_ANCHORS", f"file:{tmp_path}/none/heads")
    assert len(deliver(store, now_due=True).delivered) == 2


@pytest.mark.parametrize(
    "text", ["ftp:/x", "file:", "git:", "nonsense", f"git:https://me:{_PASSWORD}@example.org/heads.git"]
)
def test_an_anchor_that_is_written_wrongly_is_named_and_stops_no_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(BadInput) as refused:
        parse_anchors(text)
    assert _PASSWORD not in str(refused.value)
    monkeypatch.setenv("CODEBLUE_ANCHORS", text)
    _closed_run(store)
    assert store.warnings
    assert _PASSWORD not in " ".join(store.warnings)
    assert os.environ["CODEBLUE_ANCHORS"] == text
