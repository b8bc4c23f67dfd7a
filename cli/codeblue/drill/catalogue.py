"""Which drills there are, and what each has to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card


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
    """The drills of runbooks, in the order of their cards.

    :param faults: with a single runbook these instead of those that its card names; with several only these of them.
    :raises BadInput: there is no such fault, it takes nothing away, or a card names none.
    """
    from codeblue.lab.faults import all_faults

    known = all_faults()
    named = {fault for card in cards for fault in card.faults}
    if len(cards) > 1 and (nobodys := sorted(set(faults) - named)):
        raise BadInput(f"no card names the fault {nobodys[0]!r}", f"choose of: {', '.join(sorted(named))}")
    drills = []
    for card in cards:
        if len(cards) > 1 and faults:
            names = tuple(each for each in card.faults if each in faults)
        else:
            names = tuple(faults) or card.faults
        if not names and not faults:
            raise BadInput(f"runbook {card.id}: its card names no fault to drill", "give one: --fault FAULT")
        for name in names:
            if name not in known:
                raise BadInput(f"there is no fault {name!r}", f"choose one of: {', '.join(known)}")
            if not known[name].hits:
                raise BadInput(
                    f"fault {name} takes nothing away: there would be nothing to recover",
                    f"the card of {card.id} names: {', '.join(card.faults)}",
                )
            rto = known[name].rto_target
            drills.append(Drill(card.id, name, card.objectives.rto if rto is None else rto, known[name].rpo_target))
    return drills
