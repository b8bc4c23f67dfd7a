"""What is kept for criteria over minutes: bounded, without torn lines, and read by a detection that says what lacks."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _samples
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card, load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import detect, evaluate_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import Metrics, questions
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import CounterReading, MetricSample
from ansible_collections.codeblue.recovery.plugins.plugin_utils._samples import keep_samples, read_samples
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import keep_look, kept_evidence
from codeblue.runner.collection import own_runbooks

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "codeblue" / "samples"


def answer(at: float, ok: bool = True, target: str = "ai", check: str = "predict") -> CheckResult:
    return CheckResult(target, check, "deep", "http", ok, 0.01, None if ok else "unavailable", "", at)


def card(name: str) -> Card:
    return next(load_card(each.card_path) for each in own_runbooks() if each.id == name)


def service(**metrics: object) -> Service:
    """An AI service of production that nobody can reach."""
    variables = {
        "codeblue_environment": "production",
        "codeblue_platform": "host",
        "codeblue_kind": "ai",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_host": {
            "instances": {"app1": {"address": "127.0.0.1", "port": 1, "process": {"manager": "systemd", "unit": "ai"}}},
            "gateway": {"machine": "lb1", "socket": "/run/h.sock", "backend": "ai", "servers": {"app1": "app1"}},
        },
        "codeblue_checks": {},
        **({"codeblue_metrics": metrics} if metrics else {}),
    }
    return load_service("ai", variables, ["ai", "app1", "lb1"])


def test_what_is_kept_comes_back(state: Path) -> None:
    metric = MetricSample("ai", "memory", 0.5, NOW, "app1", 0.0)
    counter = CounterReading("ai", "lb1", 100.0, 3.0, NOW)
    keep_samples("production", NOW, [answer(NOW - 1)], [metric], [counter])
    found = read_samples("production", NOW - 60)
    assert (found.checks, found.metrics, found.counters) == ((answer(NOW - 1),), (metric,), (counter,))
    assert found.last_at == NOW and found.problem is None
    assert read_samples("staging", 0.0) == _samples.Kept(), "environments are apart"
    late = read_samples("production", NOW + 60)
    assert late.checks == () and late.last_at == NOW, "since when there is nothing"
    assert state.stat().st_mode & 0o077 == 0 and (state / "production.jsonl").stat().st_mode & 0o077 == 0


def test_everything_of_a_check_is_kept_but_its_text(state: Path) -> None:
    assert {*_samples.CHECK_FIELDS, "detail"} == {each.name for each in dataclasses.fields(CheckResult)}
    keep_samples("production", NOW, [dataclasses.replace(answer(NOW), detail="John Doe, PT-123456")])
    assert "PT-123456" not in (state / "production.jsonl").read_text()


def test_lines_that_cannot_be_read_are_left_out(state: Path) -> None:
    keep_samples("production", NOW, [answer(NOW)])
    with (state / "production.jsonl").open("a") as stream:
        stream.write('{"at": 1800000001.0, "checks": [["cut o')
        stream.write("\n[]\n")
        stream.write(
            json.dumps({"at": NOW + 2, "checks": [["of another version"]], "metrics": [], "counters": []}) + "\n"
        )
    keep_samples("production", NOW + 3, [answer(NOW + 3)])
    assert [each.at for each in read_samples("production", NOW - 60).checks] == [NOW, NOW + 3]


def test_the_file_is_bounded_and_keeps_the_newest(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_samples, "LARGEST_FILE", 20_000)
    for number in range(400):
        keep_samples("production", NOW + number, [answer(NOW + number)])
        assert (state / "production.jsonl").stat().st_size <= 20_000
    found = read_samples("production", NOW)
    assert found.checks[-1].at == NOW + 399 and len(found.checks) > 50
    moments = [each.at for each in found.checks]
    assert moments == sorted(moments) and moments[-1] - moments[0] == len(moments) - 1, "without a hole"


def test_one_that_holds_the_lock_is_not_waited_for_long(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_samples, "_LOCK_SECONDS", 0.1)
    keep_samples("production", NOW)
    holder = os.open(state / "production.lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert "another process holds its lock" in (keep_look({"ai": service()}, NOW, [], Metrics()) or "")
    os.close(holder)
    assert keep_look({"ai": service()}, NOW, [], Metrics()) is None


def test_what_cannot_be_read_is_a_problem_and_no_error(state: Path) -> None:
    (state / "production.jsonl").mkdir(parents=True)
    found = kept_evidence({"ai": service()}, NOW, 120.0)
    assert found.checks == () and "Is a directory" in found.problems[0]
    assert kept_evidence({"ai": service()}, NOW, 0.0).problems == (), "nobody looks back: nothing is read"


def test_a_detection_judges_windows_by_what_was_kept() -> None:
    ai, now = {"ai": service()}, time.time()
    for n in range(13):
        looks = [answer(now - 120 + 10 * n, ok=n % 5 != 0), answer(now - 120 + 10 * n, check="health")]
        keep_samples("production", now - 120 + 10 * n, looks)
    found = detect(card("ai_service_unavailable"), ai)
    assert found.fired_ids() == ["ai_error_rate"], "nobody fails now, and one in ten failed for two minutes"


def test_a_detection_says_what_it_cannot_judge() -> None:
    ai, now = {"ai": service(gateway={})}, time.time()
    keep_samples("production", now - 100, [answer(now - 100, ok=False)])
    found = detect(card("ai_service_unavailable"), ai)
    assert not found.fired
    said = "; ".join(found.lacking())
    assert "ai_error_rate (ai: watched for 0 s of 120 s, no samples before that since 20" in said
    assert "ai_requests_fail (ai: no samples of error_rate)" in said


def test_counters_that_were_kept_and_one_reading_make_a_rate() -> None:
    ai = {"ai": service(gateway={"minimum_requests": 10})}
    for n in range(3):
        keep_samples(
            "production", NOW + 30 * n, [], [], [CounterReading("ai", "lb1", 100.0 * n, 20.0 * n, NOW + 30 * n)]
        )
    evidence = kept_evidence(ai, NOW + 60, 120.0)
    results = evaluate_card(card("ai_service_unavailable"), ai, [], NOW + 60, evidence)
    assert [each.id for each in results if each.fired] == ["ai_requests_fail"]
    fresh = Metrics(counters=(CounterReading("ai", "lb1", 300.0, 40.0, NOW + 90),))
    results = evaluate_card(card("ai_service_unavailable"), ai, [], NOW + 90, evidence.plus(fresh))
    assert not any(each.fired for each in results), "nothing failed in the last half minute"


def test_each_gateway_and_machine_is_asked_once() -> None:
    both = {"ai": service(gateway={}, machines={}), "copy": service(gateway={}, machines={"disks": ["/srv"]})}
    calls = [each.call for each in questions(both)]
    assert [(each.machine, each.module.rpartition(".")[2]) for each in calls] == [
        ("lb1", "haproxy_statistics"),
        ("app1", "machine_resources"),
        ("app1", "machine_resources"),
    ]
    assert questions({"ai": service()}) == []


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"prometheus": {"queries": {"cpu": "x"}}}, "prometheus.url: is missing"),
        ({"prometheus": {"url": "ftp://x", "queries": {"cpu": "x"}}}, "is no URL"),
        ({"prometheus": {"url": "http://u:p@x", "queries": {"cpu": "x"}}}, "holds credentials"),
        ({"prometheus": {"url": "http://x", "queries": {}}}, "queries"),
        ({"prometheus": {"url": "http://x", "queries": {"cpus": "x"}}}, "no metric that criteria know"),
        (
            {"prometheus": {"url": "http://x", "token_from": "s3cr3t", "queries": {"cpu": "x"}}},
            "no reference to a secret",
        ),
        ({"prometheus": {"url": "http://x", "timeout": "1m", "queries": {"cpu": "x"}}}, "at most 10s"),
        ({"gatway": {}}, "did you mean gateway"),
        ({"machines": {"disks": "/"}}, "must be a list"),
    ],
)
def test_wrong_keys_are_named(metrics: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        service(**metrics)
    assert "codeblue_metrics" in caught.value.message and "s3cr3t" not in caught.value.message
