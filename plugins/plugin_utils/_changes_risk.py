# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Of which type a change is, and how much it could do harm."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import RunOpening

_EMERGENCY_SEVERITIES = frozenset({"SEV0", "SEV1", "SEV2"})


@dataclass(frozen=True)
class Risk:
    """A score from 1 to 10 with the reasons for it."""

    score: int
    reasons: tuple[str, ...]

    @property
    def level(self) -> str:
        return "low" if self.score <= 3 else "medium" if self.score <= 6 else "high" if self.score <= 8 else "critical"


def change_type(severity: str, environment: str, pre_approved: bool = False) -> str:
    """`emergency`, `standard` or `normal`.

    :param pre_approved: the collection itself says that this operation is a standard change; no variable can.
    """
    if severity in _EMERGENCY_SEVERITIES:
        return "emergency"
    return "standard" if pre_approved or environment == "lab" else "normal"


def assess_risk(opening: RunOpening) -> Risk:
    """How much this change could do harm, from what is known when it opens.

    The weights are this collection's own judgement: where it acts, how much at once, what cannot be undone, and
    how hurried it is.
    """
    parts: list[tuple[int, str]] = [(1, "any change")]
    if opening.environment == "production":
        parts.append((3, "production"))
    elif opening.environment != "lab":
        parts.append((1, f"shared environment {opening.environment}"))
    if len(opening.targets) > 1:
        parts.append((1 if len(opening.targets) <= 5 else 2, f"{len(opening.targets)} targets at once"))
    if opening.accepts:
        parts.append((min(4, 2 * len(opening.accepts)), f"cannot be undone: {', '.join(opening.accepts)}"))
    if opening.because:
        parts.append((1, "detection criteria overridden by a person"))
    if opening.severity in ("SEV0", "SEV1"):
        parts.append((1, f"{opening.severity}: in haste"))
    if not opening.rollback:
        parts.append((1, "no way back stated"))
    return Risk(
        min(10, sum(weight for weight, _reason in parts)), tuple(f"{reason} +{weight}" for weight, reason in parts)
    )
