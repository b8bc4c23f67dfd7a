"""The document of one runbook as Markdown, made from its card and its play."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import PRECEDENCES, load_card

_MADE_BY = "<!-- Made from runbook.yml and the playbook by `python -m codeblue.documents`. Change those. -->"
_APPROVER_NAMES = {
    "engineer": "an engineer",
    "technical_lead": "the technical lead",
    "cto": "the CTO",
    "compliance_officer": "the compliance officer",
}
# More than one empty line in a row, as the pieces leave them.
_EMPTY_LINES = re.compile(r"\n{3,}")

Lines = Iterator[str]


def render(card_path: Path, playbook_path: Path | None = None) -> str:
    """The document of one runbook, as Markdown.

    :param playbook_path: its play, when there is one; the names of its tasks are listed.
    :raises BadInput: the card or the play cannot be read.
    """
    content = load_card(card_path).content
    lines: list[str] = []
    for part in _PARTS:
        lines += [*part(content), ""]
    if playbook_path is not None and playbook_path.is_file():
        lines += [*_tasks(playbook_path), ""]
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).rstrip() + "\n"


def _head(card: Mapping[str, Any]) -> Lines:
    objectives = card["objectives"]
    yield f"# {card['title']}"
    yield ""
    yield _MADE_BY
    yield ""
    yield "| severity | back within (RTO) | may be lost (RPO) | for services of kind |"
    yield "|---|---|---|---|"
    yield _row(card["severity"], objectives["rto"], objectives["rpo"], ", ".join(card["kinds"]))
    yield ""
    yield "```sh"
    yield f"codeblue plan {card['id']} -i INVENTORY    # what would be done; changes nothing"
    yield f"codeblue run {card['id']} -i INVENTORY     # do it"
    yield f"ansible-playbook codeblue.recovery.{card['id']} -i INVENTORY    # the same, without the command"
    yield "codeblue resume RUN                        # after a crash or Ctrl-C; no step is done twice"
    yield "```"
    yield ""
    yield from _approval(card)
    yield ""
    yield f"Proven in drills by the faults: {_code_list(card['faults'])}."


def _approval(card: Mapping[str, Any]) -> Lines:
    approval = card["approval"]
    needed = [
        f"{environment}: {' and '.join(_APPROVER_NAMES[who] for who in who_approves) or 'nobody'}"
        for environment, who_approves in approval["required"].items()
    ]
    text = f"Before the first change it is approved by ({'; '.join(needed)})."
    if approval["break_glass"]:
        text += " In need one person goes on alone with `--break-glass` and a justification."
    yield f"{text} It is reviewed within {approval['review_within']}."
    for effect in card["irreversible"]:
        yield ""
        yield f"> **Cannot be undone:** {effect['effect']} {effect['when']} Needs `--accept {effect['acceptance']}`."
        yield f"> {effect['states']}"


def _scenario(card: Mapping[str, Any]) -> Lines:
    scenario = card["scenario"]
    yield "## 1. Scenario"
    yield ""
    yield scenario["summary"]
    yield ""
    yield f"**For the clinic:** {scenario['clinical_impact']}"
    yield ""
    yield from _bullets(scenario["symptoms"])
    if scenario["other_runbook"]:
        yield ""
        yield "Take another runbook when:"
        yield ""
        yield from _bullets(f"{each['when'].rstrip('.')}: `{each['runbook']}`" for each in scenario["other_runbook"])


def _detection(card: Mapping[str, Any]) -> Lines:
    detection = card["detection"]
    yield "## 2. Detection criteria"
    yield ""
    yield detection["summary"]
    yield ""
    yield "| criterion | fires when | condition |"
    yield "|---|---|---|"
    for criterion in detection["criteria"]:
        yield _row(f"`{criterion['id']}`", criterion["description"], _condition(criterion))
    yield ""
    yield _precedence(detection["precedence"])
    yield ""
    yield (
        "These are the times of production. The lab divides them by 60. `codeblue run` confirms a finding with as many "
        "failures in a row, and as far apart, as the inventory says. Criteria over minutes are held against what "
        "`codeblue watch` kept and against the sources in `codeblue_metrics`; what cannot be judged is said. When none "
        'fires, nothing is changed without `--because "…"`.'
    )


def _precedence(own: str) -> str:
    """Where the card stands among those that may fire at the same time."""
    place = PRECEDENCES.index(own)
    before, after = PRECEDENCES[:place], PRECEDENCES[place + 1 :]
    parts = [f"after those for {', '.join(before)}"] if before else []
    parts += [f"before those for {', '.join(after)}"] if after else []
    return (
        f"When the criteria of several runbooks fire, this one is for `{own}` and comes {' and '.join(parts)}; "
        "`codeblue doctor -i INVENTORY --criteria` names the runbook to begin with."
    )


def _condition(criterion: Mapping[str, Any]) -> str:
    name = next(key for key in criterion if key not in ("id", "description", "kinds"))
    figures = ", ".join(f"{key} {_figure(value)}" for key, value in criterion[name].items())
    kinds = f"; kinds {', '.join(criterion['kinds'])}" if "kinds" in criterion else ""
    return f"`{name}`: {figures}{kinds}"


def _figure(value: Any) -> str:
    return " ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _immediate_actions(card: Mapping[str, Any]) -> Lines:
    yield "## 3. Immediate actions"
    yield ""
    yield from _steps(card["immediate_actions"])


def _diagnosis(card: Mapping[str, Any]) -> Lines:
    diagnosis = card["diagnosis"]
    yield "## 4. Diagnosis"
    yield ""
    yield diagnosis["summary"]
    yield ""
    yield from _steps(diagnosis["steps"])
    yield ""
    yield "| finding | means | seen by |"
    yield "|---|---|---|"
    for finding in diagnosis["findings"]:
        yield _row(f"`{finding['id']}`", finding["meaning"], " ".join(finding["evidence"]))


def _resolution(card: Mapping[str, Any]) -> Lines:
    resolution = card["resolution"]
    yield "## 5. Resolution"
    yield ""
    yield resolution["summary"]
    for branch in resolution["branches"]:
        yield ""
        yield f"### `{branch['finding']}`: {branch['id'].replace('_', ' ')}"
        yield ""
        who = "" if branch["automatic"] else " **The runbook stops here and calls a person.**"
        yield f"{branch['condition']}{who}"
        yield ""
        yield from _steps(branch["steps"])


def _rollback(card: Mapping[str, Any]) -> Lines:
    yield "## 6. Rollback"
    yield ""
    yield card["rollback"]["summary"]
    yield ""
    yield from _steps(card["rollback"]["steps"])


def _validation(card: Mapping[str, Any]) -> Lines:
    validation = card["validation"]
    yield "## 7. Validation"
    yield ""
    yield validation["summary"]
    yield ""
    yield (
        f"Levels {', '.join(validation['levels'])}; {validation['stable']} successes in a row; "
        f"within {validation['deadline']}."
    )
    yield ""
    yield from _steps(validation["steps"])


def _communication(card: Mapping[str, Any]) -> Lines:
    communication = card["communication"]
    fallback = communication["manual_fallback"]
    yield "## 8. Communication plan"
    yield ""
    yield (
        f"Alert level {communication['level']} by {_words(communication['channels'])}; an update every "
        f"{communication['updates_every']}."
    )
    yield ""
    yield "| alert | first | without an answer | after |"
    yield "|---|---|---|---|"
    for route in communication["routing"]:
        yield _row(route["alert"], route["first"], route["escalate_to"], route["after"])
    yield ""
    yield "### How the clinic works meanwhile"
    yield ""
    yield f"> {fallback['announce']}"
    yield ""
    yield from _numbered(fallback["steps"])
    yield ""
    yield f"This can go on for {fallback['longest']}. Back to normal:"
    yield ""
    yield from _numbered(fallback["return"])
    yield ""
    yield "### Messages"
    for template in communication["templates"]:
        yield ""
        yield (
            f"**When it is {template['moment']}, to {_words([template['audience']])}** by "
            f"{_words(template['channels'])}: *{template['subject']}*"
        )
        yield ""
        yield f"> {template['text']}"


def _post_incident(card: Mapping[str, Any]) -> Lines:
    yield "## 9. Post-incident actions"
    yield ""
    yield "| action | who | within |"
    yield "|---|---|---|"
    for each in card["post_incident"]:
        yield _row(each["action"], each["owner"], each["within"])


def _by_hand(card: Mapping[str, Any]) -> Lines:
    by_hand = card["by_hand"]
    yield "## Without Ansible"
    yield ""
    yield by_hand["summary"]
    yield ""
    yield "```sh"
    for variable in by_hand["variables"]:
        yield f"export {variable['name']}={variable['example']}    # {variable['from']}"
    yield "```"


def _tasks(playbook_path: Path) -> Lines:
    yield "## What the playbook does"
    yield ""
    yield f"The tasks of `playbooks/{playbook_path.name}`, in their order:"
    for play in _plays(playbook_path):
        yield ""
        yield f"**{play.get('name') or play.get('ansible.builtin.import_playbook') or 'a play'}**"
        yield ""
        for section in ("pre_tasks", "roles", "tasks", "post_tasks", "handlers"):
            yield from _task_names(play.get(section) or (), 0)


def _plays(playbook_path: Path) -> list[dict[str, Any]]:
    try:
        plays = yaml.safe_load(playbook_path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{playbook_path}: cannot be read: {str(error).splitlines()[0]}", "mend the playbook") from None
    if not isinstance(plays, list) or not all(isinstance(play, dict) for play in plays):
        raise BadInput(f"{playbook_path}: must be a list of plays", "mend the playbook")
    return plays


def _task_names(tasks: Sequence[Any], depth: int) -> Lines:
    indent = "  " * depth
    for task in tasks:
        if not isinstance(task, dict):
            yield f"{indent}- {task}"
            continue
        yield f"{indent}- {task.get('name') or task.get('role') or 'a task without a name'}"
        yield from _task_names(task.get("block") or (), depth + 1)
        for clause, words in (("rescue", "when something fails"), ("always", "in any case")):
            if task.get(clause):
                yield f"{indent}  - *{words}:*"
                yield from _task_names(task[clause], depth + 2)


# -- pieces ------------------------------------------------------------------------------------------------------------


def _steps(steps: Sequence[Mapping[str, Any]]) -> Lines:
    for number, step in enumerate(steps, 1):
        who = "a person" if step.get("person") else f"`{step.get('role') or step.get('action')}`"
        yield f"{number}. **{step['title']}** ({who}). {step['does']}"
        if "undo" in step:
            yield f"   *Undo:* {step['undo']}"
        for command in step.get("by_hand", ()):
            yield from _command(command)


def _command(command: Mapping[str, Any]) -> Lines:
    yield ""
    yield f"   By hand ({command['at']}):"
    if "danger" in command:
        yield ""
        yield f"   **Careful:** {command['danger']}"
    yield ""
    yield "   ```sh"
    for line in command["run"].splitlines():
        yield f"   {line}"
    yield "   ```"
    if "expect" in command:
        yield ""
        yield f"   Expect: {command['expect']}"
    yield ""


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _bullets(items: Iterable[str]) -> Lines:
    for item in items:
        yield f"- {item}"


def _numbered(items: Sequence[str]) -> Lines:
    for number, item in enumerate(items, 1):
        yield f"{number}. {item}"


# In the order of the document; the play's tasks follow.
_PARTS = (
    _head,
    _scenario,
    _detection,
    _immediate_actions,
    _diagnosis,
    _resolution,
    _rollback,
    _validation,
    _communication,
    _post_incident,
    _by_hand,
)


def _code_list(items: Sequence[str]) -> str:
    return ", ".join(f"`{item}`" for item in items)


def _words(items: Sequence[str]) -> str:
    return ", ".join(item.replace("_", " ") for item in items)
