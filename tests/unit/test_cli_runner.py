"""What the runner does without Ansible: environment, variables, events, failures, outcomes. Under a second."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from codeblue.output.messages import Difference, Message, Step
from codeblue.runner.collection import collections_path, find_runbook, own_runbooks
from codeblue.runner.environment import ansible_environment, scrubbed_environment
from codeblue.runner.events import EventReader
from codeblue.runner.extra_vars import Handover, Literals, VariablesFile, read_extra_vars, secrets_of
from codeblue.runner.failure import explain_start_failure, one_line, tidy_error
from codeblue.runner.outcome import outcome_of
from codeblue.runner.request import choose_forks, inventory_sources


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("PATH", True),
        ("LC_ALL", True),
        ("ANSIBLE_VAULT_PASSWORD_FILE", True),
        ("ANSIBLE_PRIVATE_KEY_FILE", True),
        ("CODEBLUE_TICKET_TOKEN_FROM", True),
        ("CODEBLUE_STATE_URL", True),
        ("AWS_PROFILE", True),
        ("AWS_CONFIG_FILE", True),
        ("ANSIBLE_BECOME_PASSWORD", False),
        ("ANSIBLE_BECOME_PASS", False),
        ("CODEBLUE_TICKET_TOKEN", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("AWS_ACCESS_KEY_ID", False),
        ("AWS_SESSION_TOKEN", False),
        ("PGPASSWORD", False),
        ("MY_OWN", False),
        ("ANSIBLE_SKIP_TAGS", False),
    ],
)
def test_only_listed_names_get_through(name: str, passes: bool) -> None:
    assert (name in scrubbed_environment({name: "value"})) is passes
    assert scrubbed_environment({name: "value"}, [name]) == {name: "value"}


def test_fixed_settings_win_over_the_operators_environment() -> None:
    given = {
        "ANSIBLE_GATHERING": "smart",
        "ANSIBLE_LOG_PATH": "/tmp/log",
        "ANSIBLE_STDOUT_CALLBACK": "yaml",
        "PATH": "/bin",
    }
    made = ansible_environment(given, run_id="01X", origin="cli", collections="/c")
    assert made["ANSIBLE_GATHERING"] == "explicit"
    assert made["ANSIBLE_LOG_PATH"] == "/dev/null"
    assert made["CODEBLUE_RUN_ID"] == "01X"
    # Whether host keys are checked is the operator's matter.
    assert "ANSIBLE_HOST_KEY_CHECKING" not in made


def test_pass_env_names_what_is_wrong_without_its_value() -> None:
    with pytest.raises(BadInput, match="'NAME' is no name") as caught:
        scrubbed_environment({}, ["NAME=hunter2"])
    assert "hunter2" not in str(caught.value)


def test_extra_vars_keep_their_order_and_types(tmp_path: Path) -> None:
    file = tmp_path / "vars.yml"
    file.write_text("a: 1\n", encoding="utf-8")
    sources = read_extra_vars(["a=1 b='two words'", '{"c": [1, true]}', f"@{file}", "a=3"])
    assert sources == [
        Literals({"a": "1", "b": "two words", "c": [1, True]}),
        VariablesFile(file),
        Literals({"a": "3"}),
    ]


@pytest.mark.parametrize("text", ["", "word", "a='open", "[1]", "{a: [", "1a=x", "codeblue_run_id=x", "@/nowhere"])
def test_wrong_extra_vars_are_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        read_extra_vars([text])


def test_errors_about_extra_vars_never_hold_a_value() -> None:
    for text in ("hunter2hunter2", "password='hunter2", "{password: [hunter2", '{"password": "hunter2"'):
        with pytest.raises(BadInput) as caught:
            read_extra_vars([text])
        assert "hunter2" not in str(caught.value)


def test_secrets_are_those_of_secret_names_and_all_long_values() -> None:
    sources = read_extra_vars(
        ['{"db_password": "short", "word": "short2", "region": "eu-central-1", "deep": {"x": ["12345678"]}}']
    )
    assert sorted(secrets_of(sources)) == ["12345678", "eu-central-1", "short"]


def test_handover_serves_every_reader_once_and_leaves_nothing(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    arguments = handover.arguments([Literals({"secret": "value"})])
    path = Path(arguments[1].removeprefix("@"))
    for _reader in range(20):
        assert json.loads(path.read_text(encoding="utf-8")) == {"secret": "value"}
    handover.close()
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "codeblue-extra-vars"]


def _ended(status: str, result: dict[str, object], **data: object) -> dict[str, object]:
    return {
        "event": f"runner_on_{status}",
        "event_data": {"host": "db", "task": "T", "res": result, **data},
        "stdout": "",
    }


def test_events_become_messages_without_raw_results() -> None:
    messages: list[Message] = []
    reader = EventReader(messages.append, 0.0, secrets=["hunter2hunter2"])
    said = {"stage": "failover", "target": "patient_db", "summary": "promoted with hunter2hunter2", "accepted_at": 5.0}
    reader.read(
        _ended(
            "ok",
            {
                "changed": True,
                "codeblue": {**said, "seconds": 0.5},
                "other": "raw",
                "diff": {"before": "a\n", "after": "b\n"},
            },
        )
    )
    reader.read(_ended("ok", {"changed": True, "codeblue": {**said, "accepted_at": 3.0}}))
    step, difference = messages[0], messages[1]
    assert isinstance(step, Step)
    assert (step.status, step.target, step.summary, step.seconds) == (
        "changed",
        "patient_db",
        "promoted with (hidden)",
        0.5,
    )
    assert isinstance(difference, Difference)
    assert difference.lines[-2:] == ["-a", "+b"]
    assert reader.first_accepted_at == 3.0
    assert "raw" not in str(messages)


def test_a_failure_that_the_play_goes_on_after_does_not_count() -> None:
    reader = EventReader(lambda _message: None, 0.0)
    reader.read(_ended("failed", {"msg": "no"}, ignore_errors=True))
    assert reader.failures == []
    reader.read(_ended("failed", {"msg": "censored", "censored": "the output has been hidden"}))
    assert reader.failures[0].error == "T: failed, its details are hidden (no_log)"


def test_memory_is_bounded_whatever_a_play_says() -> None:
    reader = EventReader(lambda _message: None, 0.0)
    for number in range(5000):
        reader.read(_ended("failed", {"msg": "x" * 2000}, host=f"h{number}"))
        reader.read({"event": "verbose", "stdout": "y" * 2000})
        reader.read(
            {
                "event": "runner_on_skipped",
                "event_data": {"host": f"h{number}", "task": "T"},
                "stdout": '{"false_condition": "a"}',
            }
        )
    assert len(reader.failures) <= 100
    assert len(reader.skipped) <= 1000
    assert len(reader.error_text) < 20_000


def test_tidy_error_keeps_the_place_and_drops_the_excerpt() -> None:
    text = (
        "[ERROR]: Task failed: 'nope' is undefined.\nOrigin: /plays/a.yml:7:9\n\n5 tasks:\n6   - x: y\n"
        "7     msg: hunter2\n          ^ column 9\n"
    )
    assert tidy_error(text) == "Task failed: 'nope' is undefined (/plays/a.yml:7:9)"
    assert one_line("a\x1b[31m b\n\n c") == "a b c"
    assert len(one_line("x" * 5000)) == 600


def test_start_failure_without_a_word_says_so() -> None:
    assert explain_start_failure("")[0] == "ansible-playbook ended without saying why"


def test_outcome_without_a_record() -> None:
    reader = EventReader(lambda _message: None, 0.0)
    assert outcome_of(0, reader, None, False, "R").exit_code == 2
    reader.read(_ended("ok", {}))
    assert outcome_of(0, reader, None, False, "R").outcome == "nothing_to_do"
    assert outcome_of(254, reader, None, True, "R").exit_code == 130
    reader.read(_ended("failed", {"codeblue": {"error": "held", "hint": "wait", "exit_code": 3}}))
    judged = outcome_of(2, reader, None, False, "R")
    assert (judged.outcome, judged.exit_code, judged.error, judged.hint) == ("refused", 3, "held", "wait")


def test_runbooks_are_found_by_their_names_with_dashes_too() -> None:
    collections = collections_path({}, Path.cwd())
    for runbook in own_runbooks():
        assert find_runbook(runbook.id.replace("_", "-"), collections) == runbook
    with pytest.raises(BadInput, match="did you mean database_connection_failure"):
        find_runbook("database_conection_failure", collections)
    for name in ("../x", "a.b", "A", "", "a/b"):
        with pytest.raises(BadInput):
            find_runbook(name, collections)


def test_own_collection_is_searched_first(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncollections_path = ./here:~/there\n", encoding="utf-8")
    own, here, there = collections_path({}, tmp_path).split(os.pathsep)
    assert (Path(own) / "ansible_collections" / "codeblue" / "recovery" / "plugins").is_dir()
    assert here == str(tmp_path / "here")
    assert there == str(Path("~/there").expanduser())
    assert collections_path({"ANSIBLE_COLLECTIONS_PATH": "/x"}, tmp_path).split(os.pathsep)[1:] == ["/x"]


def test_a_damaged_ansible_cfg_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("collections_path\n", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be read"):
        collections_path({}, tmp_path)


def test_inventory_sources_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("a\n", encoding="utf-8")
    assert inventory_sources(["hosts", "a,b,"], tmp_path) == (str(tmp_path / "hosts"), "a,b,")
    with pytest.raises(BadInput, match="inventory nope does not exist"):
        inventory_sources(["nope"], tmp_path)


def test_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_FORKS", raising=False)
    assert (choose_forks(None), choose_forks(7)) == (100, 7)
    monkeypatch.setenv("ANSIBLE_FORKS", "5")
    assert choose_forks(None) == 20
    monkeypatch.setenv("ANSIBLE_FORKS", "many")
    with pytest.raises(BadInput):
        choose_forks(None)
