# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The card of a runbook: `runbooks/<id>/runbook.yml`.

`load_card` reads, typed and quickly, what a run needs and leaves the texts for people as they stand. `check_card`
holds the whole card against `runbooks/schema.json` and its parts against each other; it is for tests and `doctor`,
because importing a JSON Schema validator alone takes 60 ms of the time to the first action.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import LEVELS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import Criterion, read_criteria
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import ENVIRONMENTS, KINDS, Objectives
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

#: The nine sections, in the order in which people read them.
SECTIONS = (
    "scenario",
    "detection",
    "immediate_actions",
    "diagnosis",
    "resolution",
    "rollback",
    "validation",
    "communication",
    "post_incident",
)
SEVERITIES = ("SEV1", "SEV2", "SEV3", "SEV4")
#: What is at stake when the criteria fire, in the order in which it matters when several cards' do: what grows with
#: every minute and is destroyed by clumsy help comes before what is away, and that before what is slow.
PRECEDENCES = ("intrusion", "exposure", "integrity", "outage", "service", "performance")
APPROVERS = ("engineer", "technical_lead", "cto", "compliance_officer")
MOMENTS = ("detected", "acted", "recovered", "failed")
#: What a communication template may have in braces. All of it is known to the run; none of it is patient data.
TEMPLATE_FIELDS = frozenset(
    {
        "incident",
        "severity",
        "service",
        "since",
        "criteria",
        "cause",
        "action",
        "outcome",
        "duration",
        "lost_writes",
        "rto",
        "rpo",
        "run_id",
        "next_update",
    }
)
# Far above any real card; keeps a wrong path (a dump, a log) from being read into memory.
_LARGEST_CARD = 512 * 1024
_FIELD = re.compile(r"\{([^{}]*)\}")
_SHELL_VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)")
# Set and unset by a command itself.
_LOCAL_SHELL_VARIABLES = frozenset({"NEW"})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Irreversible:
    """An effect that cannot be undone.

    :param acceptance: what a person accepts, such as `data_loss`.
    :param states: what the person is told before.
    """

    effect: str
    acceptance: str
    when: str
    states: str


@dataclass(frozen=True)
class ApprovalPolicy:
    """Who has approved before the first change.

    :param required: approvals by environment; empty means none.
    :param break_glass: one person may go on alone, with a justification and a review afterwards.
    :param review_within: seconds.
    """

    change_type: str
    required: Mapping[str, tuple[str, ...]]
    break_glass: bool
    review_within: float


@dataclass(frozen=True)
class Template:
    """A message to people."""

    id: str
    moment: str
    audience: str
    channels: tuple[str, ...]
    subject: str
    text: str

    def fill(self, values: Mapping[str, t.Any]) -> tuple[str, str]:
        """Subject and text; what is not known yet stands as `(not known yet)`."""

        def value(match: re.Match[str]) -> str:
            return str(values.get(match[1], "(not known yet)"))

        return _FIELD.sub(value, self.subject), _FIELD.sub(value, self.text)


@dataclass(frozen=True)
class Card:
    """What a run needs of a card. `content` is the whole of it, for documents.

    :param precedence: one of `PRECEDENCES`; orders the cards whose criteria fire, see `_detection_order`.
    """

    id: str
    title: str
    severity: str
    objectives: Objectives
    kinds: tuple[str, ...]
    faults: tuple[str, ...]
    approval: ApprovalPolicy
    irreversible: tuple[Irreversible, ...]
    precedence: str
    criteria: tuple[Criterion, ...]
    findings: tuple[str, ...]
    validation_levels: tuple[str, ...]
    validation_stable: int
    templates: tuple[Template, ...]
    content: Mapping[str, t.Any] = field(repr=False)

    @property
    def acceptances(self) -> tuple[str, ...]:
        """Everything that can be accepted with `--accept`."""
        return tuple(dict.fromkeys(effect.acceptance for effect in self.irreversible))

    def is_automatic(self, finding: str) -> bool:
        """At least one branch of the finding acts by itself."""
        return any(
            branch.get("finding") == finding and branch.get("automatic")
            for branch in self.content["resolution"]["branches"]
        )


def load_card(path: Path) -> Card:
    """Read a card.

    :raises BadInput: it cannot be read, or what a run needs is missing or wrong; one line per problem.
    """
    content = read_card(path)
    problems = Problems(str(path))
    card = _read(TypedMapping(content, "", problems), content)
    if not problems.lines and card.id != path.parent.name:
        problems.add("id", f"is {card.id!r}, must be the name of the folder, {path.parent.name!r}")
    problems.raise_if_any()
    return card


def read_card(path: Path) -> dict[str, t.Any]:
    """The content of a card as it stands.

    :raises BadInput: it cannot be read, is no YAML or no mapping.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_CARD + 1)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}", "codeblue list shows the runbooks") from None
    if len(data) > _LARGEST_CARD:
        raise BadInput(f"{path}: is larger than {_LARGEST_CARD} bytes", "a card holds texts and conditions only")
    try:
        content = yaml.load(data, Loader=_LOADER)  # a safe loader, in C where there is one
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInput(f"{path}:{line} {error.problem or 'is no YAML'}", "mend the YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadInput(f"{path}: is no YAML", "mend the YAML") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: must be a mapping", "see runbooks/schema.json")
    return content


def _read(values: TypedMapping, content: Mapping[str, t.Any]) -> Card:
    for section in SECTIONS:
        if section not in values:
            values.problem(section, "is missing, a card has all nine sections")
    objectives = values.child("objectives")
    detection = values.child("detection")
    validation = values.child("validation")
    communication = values.child("communication")
    resolution = values.child("resolution")
    if not list(resolution.listed("branches")):
        resolution.problem("branches", "is missing, name at least one")
    return Card(
        id=values.text("id"),
        title=values.text("title"),
        severity=values.choice("severity", SEVERITIES),
        objectives=Objectives(objectives.duration("rto"), _duration_or_zero(objectives, "rpo")),
        kinds=values.texts("kinds", required=True, choices=KINDS),
        faults=values.texts("faults", required=True),
        approval=_read_approval(values.child("approval")),
        irreversible=tuple(_read_irreversible(item) for item in values.listed("irreversible")),
        precedence=detection.choice("precedence", PRECEDENCES),
        criteria=read_criteria(detection),
        findings=tuple(item.text("id") for item in values.child("diagnosis").listed("findings")),
        validation_levels=validation.texts("levels", required=True, choices=LEVELS),
        validation_stable=validation.integer("stable", least=1, most=100),
        templates=tuple(_read_template(item) for item in communication.listed("templates")),
        content=content,
    )


def _duration_or_zero(values: TypedMapping, key: str) -> float:
    return 0.0 if values.plain(key) in (0, "0s", "0m") else values.duration(key)


def _read_approval(values: TypedMapping) -> ApprovalPolicy:
    required = values.child("required")
    return ApprovalPolicy(
        change_type=values.choice("change_type", ("standard", "normal", "emergency")),
        required={name: required.texts(name, choices=APPROVERS) for name in ENVIRONMENTS},
        break_glass=values.boolean("break_glass"),
        review_within=values.duration("review_within"),
    )


def _read_irreversible(item: TypedMapping) -> Irreversible:
    return Irreversible(item.text("effect"), item.text("acceptance"), item.text("when"), item.text("states"))


def _read_template(item: TypedMapping) -> Template:
    return Template(
        id=item.text("id"),
        moment=item.choice("moment", MOMENTS),
        audience=item.text("audience"),
        channels=item.texts("channels", required=True),
        subject=item.text("subject"),
        text=item.text("text"),
    )


# -- the whole card ----------------------------------------------------------------------------------------------------


def check_card(path: Path, schema_path: Path) -> list[str]:
    """Everything that is wrong with a card, one line each; empty when it is sound.

    :param schema_path: `runbooks/schema.json`.
    """
    try:
        content = read_card(path)
    except BadInput as error:
        return [str(error)]
    problems = [
        f"{path}: {error.json_path.removeprefix('$.')}: {' '.join(error.message.split())[:200]}"
        for error in sorted(_validator(schema_path).iter_errors(content), key=lambda error: error.json_path)
    ]
    if problems:
        return problems
    try:
        load_card(path)
    except BadInput as error:
        return error.message.splitlines()
    return [f"{path}: {problem}" for problem in _inner_problems(content)]


@functools.lru_cache(maxsize=4)
def _validator(schema_path: Path) -> t.Any:
    # Imported here: it takes longer than everything else that a run does with a card.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema_path.read_text(encoding="utf-8")))


def steps_of(content: Mapping[str, t.Any]) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """Path and step of every step of a card, in the order of the sections."""
    for section in ("immediate_actions", "diagnosis", "resolution", "rollback", "validation"):
        part = content[section]
        if section == "resolution":
            for branch in part["branches"]:
                for step in branch["steps"]:
                    yield f"resolution.{branch['id']}.{step['id']}", step
        else:
            for step in part if isinstance(part, list) else part["steps"]:
                yield f"{section}.{step['id']}", step


def _inner_problems(content: Mapping[str, t.Any]) -> Iterator[str]:
    """What a schema cannot say: names that do not fit each other."""
    findings = [finding["id"] for finding in content["diagnosis"]["findings"]]
    branches = content["resolution"]["branches"]
    for branch in branches:
        if branch["finding"] not in findings:
            yield f"resolution.{branch['id']}: finding {branch['finding']!r} is not among diagnosis.findings"
    for finding in findings:
        if finding not in {branch["finding"] for branch in branches}:
            yield f"diagnosis.{finding}: no branch of resolution says what is done about it"
    yield from _repeated("detection.criteria", [criterion["id"] for criterion in content["detection"]["criteria"]])
    yield from _repeated("diagnosis.findings", findings)
    yield from _repeated("resolution.branches", [branch["id"] for branch in branches])
    yield from _repeated("steps", [path for path, _step in steps_of(content)])
    yield from _repeated("templates", [each["id"] for each in content["communication"]["templates"]])
    for moment in MOMENTS:
        if moment not in {each["moment"] for each in content["communication"]["templates"]}:
            yield f"communication.templates: none is for the moment {moment}"
    for each in content["communication"]["templates"]:
        for name in _FIELD.findall(each["subject"] + each["text"]):
            if name not in TEMPLATE_FIELDS:
                yield f"communication.templates.{each['id']}: field {{{name}}} is not known"
    yield from _variable_problems(content)


def _variable_problems(content: Mapping[str, t.Any]) -> Iterator[str]:
    declared = {variable["name"] for variable in content["by_hand"]["variables"]}
    used: set[str] = set()
    for path, step in steps_of(content):
        for command in step.get("by_hand", ()):
            names = set(_SHELL_VARIABLE.findall(command["run"])) - _LOCAL_SHELL_VARIABLES
            used |= names
            for name in sorted(names - declared):
                yield f"{path}: ${name} is not among by_hand.variables"
    for name in sorted(declared - used):
        yield f"by_hand.variables: {name} is used by no command"


def _repeated(where: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}: {name!r} is there twice"
