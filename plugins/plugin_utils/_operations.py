# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The card of an operation: `operations/<id>/operation.yml`.

An operation is what is done to services while nothing is wrong, such as a snapshot, or what is left to do after a
recovery. It opens a run as a runbook does, with lease, journal, record and ticket, and needs no detection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import SEVERITIES, read_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import KINDS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

#: `standard` is approved beforehand; `normal` waits for a person outside the lab.
CHANGE_TYPES = ("standard", "normal")


@dataclass(frozen=True)
class Operation:
    """What a run of an operation needs of its card.

    :param kinds: kinds of services that it is for; empty for all.
    :param acceptances: what can be accepted with `--accept`.
    :param plan: what is done, for the change ticket.
    :param rollback: how it is undone, for the change ticket.
    :param gives_way: a runbook may take its targets at any moment; what it has begun is thrown away.
    """

    id: str
    title: str
    severity: str
    change_type: str
    kinds: tuple[str, ...]
    acceptances: tuple[str, ...]
    plan: str
    rollback: str
    gives_way: bool = False


def load_operation(path: Path) -> Operation:
    """Read a card.

    :raises BadInput: it cannot be read, or something is missing or wrong; one line per problem.
    """
    problems = Problems(str(path))
    values = TypedMapping(read_card(path), "", problems)
    operation = Operation(
        id=values.text("id"),
        title=values.text("title"),
        severity=values.choice("severity", SEVERITIES),
        change_type=values.choice("change_type", CHANGE_TYPES),
        kinds=values.texts("kinds", choices=KINDS),
        acceptances=values.texts("acceptances"),
        plan=" ".join(values.text("plan").split()),
        rollback=" ".join(values.text("rollback").split()),
        gives_way=values.boolean("gives_way", default=False),
    )
    values.finish()
    if not problems.lines and operation.id != path.parent.name:
        problems.add("id", f"is {operation.id!r}, must be the name of the folder, {path.parent.name!r}")
    problems.raise_if_any()
    return operation
