# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run starts from: its card, its targets and the digests that must be the same when it is resumed."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card, load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, did_you_mean
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operations import load_operation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain

# With it a person says that a run is resumed although card, inventory or version are others than at its start.
CHANGED_INPUTS = "changed_inputs"
# About the call, not about the targets: a run is resumed with an id that it was perhaps not started with.
_OF_THE_CALL = frozenset(("codeblue_run_id", "codeblue_because", "codeblue_accept", "codeblue_inventory_sources"))


def collection_root() -> Path:
    """The collection's own directory, in a checkout and installed alike."""
    return Path(__file__).resolve().parent.parent.parent


def card_of(runbook: str) -> Card:
    """The card of a runbook.

    :raises BadInput: there is none, or it is wrong.
    """
    folder = collection_root() / "runbooks"
    path = folder / runbook / "runbook.yml"
    if not path.is_file():
        known = sorted(each.parent.name for each in folder.glob("*/runbook.yml"))
        raise BadInput(f"there is no runbook {runbook!r}{did_you_mean(runbook, known)}", f"known: {', '.join(known)}")
    return load_card(path)


@dataclass(frozen=True)
class OpeningCard:
    """What a run is opened from: the card of a runbook, or that of an operation beside the runbooks.

    :param kinds: kinds of services that it is for; empty for all.
    :param pre_approved: a standard change.
    :param emergency: a runbook; operations that give way leave their targets to it.
    """

    id: str
    severity: str
    kinds: tuple[str, ...]
    acceptances: tuple[str, ...]
    plan: str
    rollback: str
    path: Path
    pre_approved: bool = False
    emergency: bool = False


def opening_card_of(name: str) -> OpeningCard:
    """The card of an operation or of a runbook.

    :raises BadInput: there is none, or it is wrong.
    """
    operation_path = collection_root() / "operations" / name / "operation.yml"
    if operation_path.is_file():
        operation = load_operation(operation_path)
        return OpeningCard(
            id=operation.id,
            severity=operation.severity,
            kinds=operation.kinds,
            acceptances=operation.acceptances,
            plan=operation.plan,
            rollback=operation.rollback,
            path=operation_path,
            pre_approved=operation.change_type == "standard",
        )
    card = card_of(name)
    return OpeningCard(
        id=card.id,
        severity=card.severity,
        kinds=card.kinds,
        acceptances=card.acceptances,
        plan=plan_text(card),
        rollback=rollback_text(card),
        path=collection_root() / "runbooks" / card.id / "runbook.yml",
        emergency=True,
    )


def gives_way(name: str) -> bool:
    """Whether runs of this name leave their targets to an emergency."""
    path = collection_root() / "operations" / name / "operation.yml"
    return path.is_file() and load_operation(path).gives_way


def collection_version() -> str:
    """The version in galaxy.yml, or in MANIFEST.json where the collection was installed from its tarball.

    :raises BadInput: neither is there.
    """
    root = collection_root()
    galaxy = root / "galaxy.yml"
    if galaxy.is_file():
        for line in galaxy.read_text().splitlines():
            name, _colon, value = line.partition(":")
            if name == "version":
                return value.strip()
    manifest = root / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    raise BadInput(f"{root}: neither galaxy.yml nor MANIFEST.json tells the version", "install the collection again")


def fingerprint(card: OpeningCard, variables: Mapping[str, Mapping[str, t.Any]]) -> dict[str, str]:
    """Digests of all that a run depends on. Inventories hold references to secrets, so nothing is given away."""
    lasting = {
        target: {name: value for name, value in named.items() if name not in _OF_THE_CALL}
        for target, named in variables.items()
    }
    return {
        "card": hashlib.sha256(card.path.read_bytes()).hexdigest(),
        "inventory": hashlib.sha256(
            json.dumps(plain(lasting), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest(),
        "version": collection_version(),
    }


def changed_inputs(earlier: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the inputs that are no longer as they were."""
    return sorted(name for name in {*earlier, *now} if earlier.get(name) != now.get(name))


def check_targets(card: OpeningCard, services: Mapping[str, Service]) -> str:
    """Hold the targets against the card; returns the one environment that they are in.

    :raises BadInput: a kind does not fit, or the targets are of several environments.
    """
    if not services:
        raise BadInput("no target is left", "look at --limit, and whether the targets are in codeblue_services")
    for name, service in services.items():
        if card.kinds and service.kind not in card.kinds:
            raise BadInput(
                f"{name}: {card.id} is for kind {', '.join(card.kinds)}, this is {service.kind}",
                "choose another target",
            )
    environments = sorted({service.environment for service in services.values()})
    if len(environments) > 1:
        raise BadInput(
            f"codeblue_environment: the targets are in {' and '.join(environments)}",
            "use one inventory per environment",
        )
    return environments[0]


def origin() -> str:
    """How the run was started, as far as the environment tells."""
    if os.environ.get("CODEBLUE_ORIGIN") in ("cli", "drill"):
        return os.environ["CODEBLUE_ORIGIN"]
    return "awx" if os.environ.get("JOB_ID") and "AWX_HOST" in os.environ else "ansible-playbook"


def plan_text(card: Card) -> str:
    """The resolution's branches, for the change ticket."""
    branches = card.content["resolution"]["branches"]
    return "; ".join(f"{branch['finding']}: {branch['id']}" for branch in branches)


def rollback_text(card: Card) -> str:
    """How it is undone, for the change ticket."""
    return " ".join(str(card.content["rollback"]["summary"]).split())


def check_accepts(card: OpeningCard, accepts: Sequence[str]) -> None:
    """Only what a card names can be accepted; a misspelt acceptance must not look like one.

    :raises BadInput: an acceptance is unknown.
    """
    known = (*card.acceptances, CHANGED_INPUTS)
    for each in accepts:
        if each not in known:
            raise BadInput(
                f"codeblue_accept: {each!r} is nothing that {card.id} asks for", f"known: {', '.join(known)}"
            )
