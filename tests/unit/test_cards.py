"""Cards hold to the schema and to themselves, and what they promise by hand is valid shell."""

from __future__ import annotations

import copy
import json
import subprocess
import typing as t
from pathlib import Path

import ansible_collections.codeblue.recovery.plugins.plugin_utils._cards as cards
import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import ERROR_CLASSES
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CONDITIONS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_postgresql import CAUSES
from ansible_collections.codeblue.recovery.plugins.plugin_utils._failover_choice import DATA_LOSS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import KINDS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import METRICS

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
SCHEMA = RUNBOOKS / "schema.json"
PATHS = sorted(RUNBOOKS.glob("*/runbook.yml"))
NAMES = [path.parent.name for path in PATHS]


def test_all_eight_runbooks_have_a_card_a_play_and_two_faults() -> None:
    assert len(NAMES) == 8
    for name in NAMES:
        assert (RUNBOOKS.parent / "playbooks" / f"{name}.yml").is_file()
        assert len(set(cards.load_card(RUNBOOKS / name / "runbook.yml").faults)) >= 2, name


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_card_is_sound(path: Path) -> None:
    assert cards.check_card(path, SCHEMA) == []
    card = cards.load_card(path)
    assert card.severity in cards.SEVERITIES and card.criteria and card.templates
    assert list(cards.SECTIONS) == [key for key in card.content if key in cards.SECTIONS], "sections in their order"


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_error_classes_of_criteria_exist(path: Path) -> None:
    for criterion in cards.load_card(path).criteria:
        assert set(getattr(criterion.condition, "error_classes", ())) <= set(ERROR_CLASSES)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_commands_by_hand_are_valid_shell_and_hold_no_secret(path: Path) -> None:
    card = cards.load_card(path)
    commands = [command["run"] for _path, step in cards.steps_of(card.content) for command in step.get("by_hand", ())]
    assert len(commands) >= 5
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=10)
        assert "password=" not in command.lower() and "pgpassword" not in command.lower()


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_automatic_step_says_who_does_it_and_most_can_be_done_by_hand(path: Path) -> None:
    content = cards.load_card(path).content
    for branch in content["resolution"]["branches"]:
        for step in branch["steps"]:
            acts = branch["automatic"] and step["id"] != "watch"
            assert not acts or ("role" in step and step.get("by_hand") and step.get("undo")), (branch["id"], step["id"])
            assert branch["automatic"] or step.get("person"), "a branch that is not automatic calls a person"


def test_the_causes_of_the_diagnosis_are_the_findings_of_its_card() -> None:
    card = cards.load_card(RUNBOOKS / "database_connection_failure" / "runbook.yml")
    assert set(card.findings) == set(CAUSES)
    assert DATA_LOSS in card.acceptances
    assert card.is_automatic("primary_dead") and not card.is_automatic("inconclusive")
    assert not card.is_automatic("network_lost")


def test_schema_and_code_know_the_same_words() -> None:
    schema = json.loads(SCHEMA.read_text())
    definitions = schema["$defs"]
    assert definitions["kind"]["enum"] == list(KINDS)
    assert definitions["approver"]["enum"] == list(cards.APPROVERS)
    assert [each["required"][0] for each in definitions["criterion"]["oneOf"]] == list(CONDITIONS)
    assert definitions["criterion"]["properties"]["metric_over"]["properties"]["metric"]["enum"] == list(METRICS)
    assert definitions["template"]["properties"]["moment"]["enum"] == list(cards.MOMENTS)
    assert set(cards.SECTIONS) <= set(schema["required"])


def test_templates_are_filled_and_unknown_values_said() -> None:
    card = cards.load_card(RUNBOOKS / "database_connection_failure" / "runbook.yml")
    template = next(each for each in card.templates if each.id == "wards_recovered")
    _subject, text = template.fill({"duration": "12 s", "lost_writes": 0})
    assert "after 12 s" in text and "Lost entries: 0" in text
    assert "(not known yet)" in template.fill({})[1]


def broken(tmp_path: Path, change: t.Callable[[dict[str, t.Any]], t.Any]) -> Path:
    content = copy.deepcopy(cards.read_card(RUNBOOKS / "database_connection_failure" / "runbook.yml"))
    change(content)
    folder = tmp_path / "database_connection_failure"
    folder.mkdir()
    path = folder / "runbook.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.pop("rollback"), "rollback: is missing"),
        (lambda card: card.update(severity="SEV9"), "severity: is 'SEV9', must be one of SEV1"),
        (lambda card: card.update(id="other"), "id: is 'other', must be the name of the folder"),
        (lambda card: card["objectives"].update(rto="soon"), "objectives.rto: 'soon' is no duration"),
        (lambda card: card["approval"].pop("break_glass"), "approval.break_glass: is missing"),
        (lambda card: card["detection"]["criteria"][0].pop("check_fails"), "detection.criteria[0]: must hold exactly"),
    ],
)
def test_what_a_run_needs_is_checked_in_one_line(
    tmp_path: Path, change: t.Callable[[dict[str, t.Any]], t.Any], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        cards.load_card(broken(tmp_path, change))
    assert caught.value.exit_code == 2
    assert len(caught.value.message.splitlines()) == 1
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(extra=1), "'extra' was unexpected"),
        (lambda card: card["diagnosis"]["findings"].pop(0), "finding 'primary_dead' is not among"),
        (lambda card: card["resolution"]["branches"].pop(3), "OFFENDER is used by no command"),
        (lambda card: card["resolution"]["branches"].pop(), "no branch of resolution"),
        (lambda card: card["by_hand"]["variables"].pop(0), "$BIN is not among by_hand.variables"),
        (lambda card: card["communication"]["templates"][0].update(text="{patient}"), "field {patient} is not known"),
        (lambda card: card["communication"]["templates"].pop(), "none is for the moment failed"),
    ],
)
def test_the_whole_card_is_checked(tmp_path: Path, change: t.Callable[[dict[str, t.Any]], t.Any], words: str) -> None:
    found = cards.check_card(broken(tmp_path, change), SCHEMA)
    assert found and any(words in line for line in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "line"), ("- a", "must be a mapping"), ("\x00", "is no YAML"), (None, "No such file")],
)
def test_unreadable_cards_are_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "runbook.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=words):
        cards.load_card(path)
