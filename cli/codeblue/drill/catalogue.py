"""Which drills there are, and what each has to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card

from codeblue.drill.site import DrillFault


class _OwnedFault(DrillFault, Protocol):
    """A fault that says which runbook has to mend it; None for none."""

    @property
    def runbook(self) -> str | None: ...


@dataclass(frozen=True)
class Drill:
    """One fault, and the runbook that has to mend it.

    :param rto_target_seconds: how long the clinic may be away.
    :param rpo_target_seconds: from how long before the fault acknowledged writes may be lost.
    """

    runbook: str
    fault: str
    rto_target_seconds: float
    rpo_target_seconds: float


def choose_drills(cards: Sequence[Card], faults: Sequence[str] = ()) -> list[Drill]:
    """The drills of runbooks in the lab of hosts, in the order of their cards.

    :param faults: with a single runbook these instead of those that its card names; with several only these of them.
    :raises BadInput: there is no such fault, it takes nothing away, or a card names none.
    """
    from codeblue.lab.faults import all_faults

    return _choose(cards, faults, {card.id: card.faults for card in cards}, all_faults())


def choose_cluster_drills(cards: Sequence[Card], faults: Sequence[str] = ()) -> list[Drill]:
    """The same in the lab on a cluster, where a fault says which runbook has to mend it.

    :raises BadInput: likewise; of several runbooks those are left out that mend nothing there yet.
    """
    from codeblue.lab.kubernetes.faults import cluster_faults

    return _choose_by_fault(cards, faults, cluster_faults())


def choose_account_drills(cards: Sequence[Card], faults: Sequence[str] = ()) -> list[Drill]:
    """The same in the lab on AWS.

    :raises BadInput: likewise.
    """
    from codeblue.lab.aws.faults import aws_faults

    return _choose_by_fault(cards, faults, aws_faults())


def summary_of(fault: str, platform: str) -> str:
    """What a fault does in the lab of a platform: a fault of one may have the name of another's."""
    from codeblue.lab.aws.faults import aws_faults
    from codeblue.lab.faults import all_faults
    from codeblue.lab.kubernetes.faults import cluster_faults

    known: Mapping[str, DrillFault]
    if "aws" in platform:
        known = aws_faults()
    else:
        known = cluster_faults() if "kubernetes" in platform else all_faults()
    return known[fault].summary


def _choose_by_fault(cards: Sequence[Card], faults: Sequence[str], known: Mapping[str, _OwnedFault]) -> list[Drill]:
    """Where a fault says which runbook has to mend it; of several runbooks those without one are left out."""
    named = {card.id: tuple(name for name, each in known.items() if each.runbook == card.id) for card in cards}
    chosen = [card for card in cards if named[card.id]] if len(cards) > 1 else cards
    return _choose(chosen, faults, named, known)


def _choose(
    cards: Sequence[Card],
    faults: Sequence[str],
    of_card: Mapping[str, tuple[str, ...]],
    known: Mapping[str, DrillFault],
) -> list[Drill]:
    named = {fault for card in cards for fault in of_card[card.id]}
    if len(cards) > 1 and (nobodys := sorted(set(faults) - named)):
        raise BadInput(f"no card names the fault {nobodys[0]!r}", f"choose of: {', '.join(sorted(named))}")
    drills = []
    for card in cards:
        if len(cards) > 1 and faults:
            names = tuple(each for each in of_card[card.id] if each in faults)
        else:
            names = tuple(faults) or of_card[card.id]
        if not names and not faults:
            raise BadInput(f"runbook {card.id}: there is no fault to drill it with here", "give one: --fault FAULT")
        for name in names:
            if name not in known:
                raise BadInput(f"there is no fault {name!r}", f"choose one of: {', '.join(known)}")
            if not known[name].hits:
                raise BadInput(
                    f"fault {name} takes nothing away: there would be nothing to recover",
                    f"for {card.id} there are: {', '.join(of_card[card.id])}",
                )
            rto = known[name].rto_target
            drills.append(Drill(card.id, name, card.objectives.rto if rto is None else rto, known[name].rpo_target))
    return drills
