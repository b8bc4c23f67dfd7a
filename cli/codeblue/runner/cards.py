"""The cards of runbooks, as far as the command shows them."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.collection import Runbook


def read_card(path: Path) -> dict[str, t.Any]:
    """A card as it stands.

    :raises BadInput: it cannot be read, is no YAML or no mapping.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        card = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(card, dict):
        raise BadInput(f"{path}: is no mapping")
    return card


def card_rto(runbook: Runbook) -> float | None:
    """The recovery time objective on the card in seconds; None when there is no card or it names none."""
    if not runbook.card_path.is_file():
        return None
    objectives = read_card(runbook.card_path).get("objectives")
    value = objectives.get("rto") if isinstance(objectives, dict) else None
    return parse_duration(value, f"{runbook.card_path}: objectives.rto") if value is not None else None
