"""The documents are what the cards and plays make, and nothing of a card is left out of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import read_card, steps_of
from codeblue.documents import differences, documents, main
from codeblue.runbook_document import render

ROOT = Path(__file__).parents[2]
CARDS = sorted((ROOT / "runbooks").glob("*/runbook.yml"))

HEADINGS = (
    "Scenario",
    "Detection criteria",
    "Immediate actions",
    "Diagnosis",
    "Resolution",
    "Rollback",
    "Validation",
    "Communication plan",
    "Post-incident actions",
)
PLAY = """
- name: Recover the database
  hosts: codeblue_databases
  tasks:
    - name: Recover
      block:
        - name: Open the run
          ansible.builtin.debug:
      rescue:
        - name: Make safe
          ansible.builtin.debug:
      always:
        - name: Close the run
          ansible.builtin.debug:
"""


def test_the_documents_in_the_repository_are_up_to_date() -> None:
    assert differences(ROOT) == [], "run: python -m codeblue.documents"


def test_the_check_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codeblue.documents", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["--wrong"]) == 2


@pytest.mark.parametrize("card", CARDS, ids=[card.parent.name for card in CARDS])
def test_every_step_command_and_message_is_in_the_document(card: Path) -> None:
    content = read_card(card)
    text = documents(ROOT)[card.parent / "README.md"]
    for number, heading in enumerate(HEADINGS, 1):
        assert f"\n## {number}. {heading}\n" in text
    for _path, step in steps_of(content):
        assert step["title"] in text and step["does"] in text
        for command in step.get("by_hand", ()):
            assert command["run"] in text
    for template in content["communication"]["templates"]:
        assert template["text"] in text
    assert "\n\n\n" not in text


def test_the_tasks_of_the_play_are_listed_with_what_happens_on_failure(tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY)
    text = render(CARDS[0], playbook)
    expected = [
        "**Recover the database**",
        "- Recover",
        "  - Open the run",
        "  - *when something fails:*",
        "    - Make safe",
        "  - *in any case:*",
        "    - Close the run",
    ]
    lines = [line for line in text.splitlines() if line]
    assert lines[-len(expected) :] == expected


def test_a_broken_play_is_named(tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text("hosts: all")
    with pytest.raises(BadInput, match=r"play\.yml: must be a list of plays"):
        render(CARDS[0], playbook)
