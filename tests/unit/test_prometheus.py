"""What is asked of Prometheus and made of its answers: those of a real server (2.42), recorded, over a real socket."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _prometheus
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_metrics import Prometheus
from ansible_collections.codeblue.recovery.plugins.plugin_utils._prometheus import PrometheusAnswers, PrometheusReading
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference

RECORDED: dict[str, t.Any] = json.loads((Path(__file__).parent / "data" / "prometheus_answers.json").read_text())
NOW = 1795805577.246


class Recording(ThreadingHTTPServer):
    """Gives each query the answer that is recorded under its name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str], str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Recording

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, query, self.headers.get("authorization")))
        if query["query"] == "never":
            time.sleep(1.5)
            return
        if query["query"] == "html":
            status, body = 200, b"<html>log in</html>"
        elif query["query"] == "large":
            status, body = 200, b"x" * 1_100_000
        else:
            recorded = RECORDED[query["query"]]
            status, body = recorded["status"], json.dumps(recorded["body"]).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Recording]:
    recording = Recording()
    thread = threading.Thread(target=recording.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield recording
    recording.shutdown()
    recording.server_close()


def source(server: Recording, token: SecretReference | None = None, timeout: float = 2.0, **queries: str) -> Prometheus:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return Prometheus(url, token, None, timeout, 15.0, queries)


def asked(server: Recording, window: float | None, **queries: str) -> PrometheusAnswers:
    return PrometheusReading({"records": source(server, **queries)}, NOW, window).answers()


def test_a_window_is_asked_for_whole(server: Recording) -> None:
    found = asked(server, 10.0, error_rate="range")
    assert not found.problems
    assert [round(each.value, 2) for each in found.samples] == [0.7, 0.7, 0.65, 0.57, 0.47, 0.18]
    assert {each.target for each in found.samples} == {"records"} and found.samples[-1].at == NOW
    path, query, authorization = server.asked[0]
    assert path == "/api/v1/query_range" and authorization is None
    assert float(query["end"]) - float(query["start"]) == 10.0 and float(query["step"]) == 1.25


def test_the_values_of_now(server: Recording) -> None:
    found = asked(server, None, error_rate="instant", response="range_p95")
    assert server.asked[0][0] == "/api/v1/query" and "step" not in server.asked[0][1]
    assert {each.name for each in found.samples} == {"error_rate", "response"}


def test_of_several_series_the_highest_value_counts(server: Recording) -> None:
    found = asked(server, 4.0, response="range_series")
    assert [round(each.value, 2) for each in found.samples] == [1.33, 1.0, 1.0]


def test_no_number_is_no_value(server: Recording) -> None:
    assert asked(server, None, error_rate="nan") == PrometheusAnswers()
    assert asked(server, None, error_rate="empty") == PrometheusAnswers()
    assert [each.value for each in asked(server, None, response="scalar").samples] == [1.0]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("bad", "HTTP 400: Prometheus refuses the query (bad_data)"),
        ("string", "gives a string, not numbers"),
        ("html", "the answer is not Prometheus'"),
        ("large", "more than 1 MB"),
        ("range_series", "more than 1 for a share"),
    ],
)
def test_what_is_of_no_use_is_said_and_takes_nothing_else_away(server: Recording, query: str, words: str) -> None:
    found = asked(server, 10.0, cpu=query, error_rate="range")
    assert len(found.problems) == 1 and found.problems[0].startswith("records: cpu: ") and words in found.problems[0]
    assert {each.name for each in found.samples} == {"error_rate"}


def test_the_token_goes_to_prometheus_and_nowhere_else(server: Recording, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("very-secret-token\n")
    reference = SecretReference("file", str(token))
    found = PrometheusReading({"records": source(server, reference, cpu="bad")}, NOW, None).answers()
    assert server.asked[0][2] == "Bearer very-secret-token"
    assert "very-secret" not in repr(found)
    token.unlink()
    (problem,) = PrometheusReading({"records": source(server, reference, cpu="bad")}, NOW, None).answers().problems
    assert f"secret file:{token}: there is no such file" in problem and len(server.asked) == 1


def test_one_that_never_answers_is_not_waited_for(server: Recording) -> None:
    began = time.monotonic()
    found = PrometheusReading(
        {"records": source(server, None, 0.2, cpu="never", error_rate="range")}, NOW, 8.0
    ).answers()
    assert time.monotonic() - began < 1.4
    assert found.problems == ("records: cpu: Prometheus gave no answer within 0.2 s",)
    assert len(found.samples) == 6


def test_all_queries_have_one_deadline(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prometheus, "TOTAL_SECONDS", 0.2)
    found = PrometheusReading(
        {"records": source(server, None, 5.0, cpu="never", error_rate="range")}, NOW, 8.0
    ).answers()
    assert found.problems == ("1 of 2 queries to Prometheus were not answered in 0.2 s",)


def test_nobody_there(server: Recording) -> None:
    gone = source(server, cpu="nan")
    server.shutdown()
    server.server_close()
    (problem,) = PrometheusReading({"records": gone}, NOW, None).answers().problems
    assert "refused" in problem.lower()


def test_without_sources_nothing_is_started() -> None:
    before = threading.active_count()
    assert PrometheusReading({}, NOW, 10.0).answers() == PrometheusAnswers()
    assert threading.active_count() == before
