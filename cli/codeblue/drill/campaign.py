"""Several drills on one lab, which is started for them when none is up."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CheckFails, ShareFailing

from codeblue.drill.catalogue import Drill
from codeblue.drill.conduct import Conductor, Say
from codeblue.drill.interruption import Interruptions
from codeblue.drill.matrix import DetectionMatrix
from codeblue.drill.result import DrillResult
from codeblue.drill.site import DrillLab, Site, exclusive_drill


@dataclass
class Campaign:
    """What came of all drills.

    :param time_scale: how many times faster than the cards say failures are confirmed.
    :param profile: the same in words.
    :param facts: on what it was measured, for the report.
    :param runbooks: all that there are, by whose criteria every fault is judged.
    :param interrupted: a signal ended it; drills that were not begun have no result.
    """

    results: list[DrillResult] = field(default_factory=list)
    time_scale: float | None = None
    profile: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False
    runbooks: tuple[str, ...] = ()

    @property
    def matrix(self) -> DetectionMatrix:
        """Whose criteria fired for which fault."""
        control = {name for result in self.results for name in result.control_fired}
        rows = tuple(result.matrix_row for result in self.results)
        return DetectionMatrix(self.runbooks, rows, tuple(sorted(control)))

    @property
    def phases(self) -> dict[str, float]:
        """Where the time of all drills went."""
        total: dict[str, float] = {}
        for result in self.results:
            for phase, seconds in result.phases.items():
                total[phase] = total.get(phase, 0.0) + seconds
        return total

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def outcome(self) -> str:
        """In the words of the exit table."""
        if any(not result.undone for result in self.results):
            return "failed_unsafe"
        if self.interrupted:
            return "interrupted"
        return "recovered" if self.results and self.passed == len(self.results) else "failed_safe"


def conduct_all(
    drills: Sequence[Drill],
    cards: dict[str, Card],
    lab: DrillLab,
    open_site: Callable[[], Site],
    say: Say,
    *,
    keep: bool = False,
) -> Campaign:
    """Conduct drills one after the other. A lab that was started for them is stopped afterwards.

    :param cards: all of them, by the id of the runbook, also those that are not drilled.
    :param open_site: what is to be broken, once the lab is up.
    :param keep: leave a lab up that was started here.
    :raises Refused: the lab is none, is broken already, or another drill goes on in it.
    """
    campaign = Campaign(runbooks=tuple(cards))
    began = time.monotonic()
    with Interruptions() as interruptions:
        started_here = False
        try:
            up = lab.up()
            started_here = not up.already
            say("lab", f"{lab.directory} is up" + (f" after {up.seconds:.1f} s" if started_here else " already"))
            with exclusive_drill(lab):
                _conduct(campaign, drills, cards, lab, open_site, interruptions, say, renew=started_here)
        except KeyboardInterrupt:
            campaign.interrupted = True
            say("interrupted", "no further drill is begun")
        finally:
            if started_here and not keep:
                with interruptions.shielded():
                    lab.down()
                    say("lab", f"{lab.directory} is stopped")
    campaign.seconds = time.monotonic() - began
    return campaign


def _conduct(
    campaign: Campaign,
    drills: Sequence[Drill],
    cards: dict[str, Card],
    lab: DrillLab,
    open_site: Callable[[], Site],
    interruptions: Interruptions,
    say: Say,
    renew: bool,
) -> None:
    """:param renew: a lab that could not be brought back is made anew, for the drills that are left."""
    active = lab.active_faults()
    if active:
        raise Refused(f"the lab in {lab.directory} is broken already: {', '.join(active)}", "codeblue lab heal")
    site = open_site()
    campaign.facts = _facts(site)
    campaign.time_scale, campaign.profile = time_scale(site, cards[drills[0].runbook])
    say("profile", campaign.profile)
    conductor = Conductor(site, cards, interruptions, say)
    for number, drill in enumerate(drills, start=1):
        say("drill", f"{number} of {len(drills)}: {drill.runbook}, {drill.fault}")
        result = DrillResult(drill)
        campaign.results.append(result)
        conductor.conduct(drill, result)
        say("result", "passed" if result.passed else f"FAILED: {'; '.join(result.problems)}")
        if result.undone or number == len(drills):
            continue
        if not renew:
            say("stopped", "no drill is begun on a lab that is not normal; a new one: codeblue lab down")
            return
        with interruptions.shielded():
            lab.down()
            lab.up()
        say("lab", f"{lab.directory} was not normal and was made anew")
        site = open_site()
        # Nothing is left of the old one; what the new one still has to find out takes it a moment.
        site.deviations()
        conductor = Conductor(site, cards, interruptions, say)


def time_scale(site: Site, card: Card) -> tuple[float | None, str]:
    """How much faster than on the card failures are confirmed in the lab, as a factor and in words."""
    checks = [service.checks for service in site.watched(card).values()]
    every = max((each.interval for each in checks), default=0.0)
    times = max((each.consecutive for each in checks), default=1)
    for criterion in card.criteria:
        condition = criterion.condition
        if isinstance(condition, (CheckFails, ShareFailing)) and every > 0:
            scale = condition.every / every
            words = (
                f"lab: {times} failures in a row, {every:g} s apart, stand for {condition.consecutive} in a row,"
                f" {condition.every:g} s apart, in production (time scale 1:{scale:g})"
            )
            return scale, words
    return None, "lab: the card's criteria have no interval to shorten"


def _facts(site: Site) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        # Times of a drill mean little on a machine that is busy with something else.
        "machine": f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.machine()}",
        **site.facts(),
        "Python": platform.python_version(),
    }
