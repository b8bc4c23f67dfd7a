"""Kills the runner, ansible-playbook and its worker at every step of every fault's recovery, and resumes each time.

Prints a table; exits 1 when a run did not end as an unkilled one does. About 10 s per kill. By default every fault of
every card, with so many kills of each step as `--per-step` says, chosen by a seed that is printed; 9 is all of them:

    python tests/soak/kill_sweep.py [--fault primary_dead …] [--runbook R …] [--per-step 9] [--bare]
    taskset -c 0,1 python tests/soak/kill_sweep.py --first --keep docs/soak.md
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from clinic_site import Site
from codeblue.drill.clinic import Clinic
from codeblue.lab import Lab
from codeblue.runner.collection import own_runbooks
from kill_and_resume import (
    MOMENTS,
    RUNBOOKS,
    VICTIMS,
    Kill,
    ended_well,
    kill_and_resume,
    recover,
    settled_end_state,
)
from soak_result import keep, measured_on

_LATE_SECONDS = 20.0
HEADING = "## Kills at every step"
CARDS = {card.id: card for card in (load_card(runbook.card_path) for runbook in own_runbooks())}


@dataclass
class Row:
    """All kills at one step of one fault."""

    fault: str
    step: str
    struck: int = 0
    in_doubt: int = 0
    late: int = 0
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> int:
    options = _options()
    started = time.monotonic()
    ends = started + options.minutes * 60
    rows: list[Row] = []
    with _lab(options.lab) as lab, contextlib.suppress(KeyboardInterrupt):
        # Taken in as they come, so that an interrupted sweep prints what it has.
        for fault in options.fault:
            for row in _sweep(lab, fault, options, ends):
                rows.append(row)
    section = _section(rows, time.monotonic() - started, options)
    print(section)
    if options.keep:
        keep(options.keep, HEADING, section)
    return 1 if not rows or any(row.failures for row in rows) else 0


def _sweep(lab: Lab, fault: str, options: argparse.Namespace, ends: float) -> Iterator[Row]:
    site = _fresh(lab)
    finished = recover(site, fault)
    if finished.code != 0:
        yield Row(fault, "(all)", failures=[f"is not recovered without a kill: {finished.summary}"])
        return
    wanted = _end_state(site)
    every = [(victim, moment) for victim in options.victim for moment in options.moment]
    names = [f"{step.target}/{step.stage}/{step.action}" for step in site.steps(site.runs()[0].run_id)]
    for number, name in enumerate(names):
        row = Row(fault, name)
        chance = random.Random(f"{options.seed}/{fault}/{number}")
        for victim, moment in chance.sample(every, min(options.per_step, len(every))):
            if time.monotonic() >= ends:
                return
            kill = Kill(victim, number, moment, options.bare)
            known = len(row.failures)
            _try(lab, kill, row, wanted)
            verdict = row.failures[-1] if len(row.failures) > known else f"{kill}: ok"
            print(f"{fault} {verdict}", file=sys.stderr, flush=True)
        yield row


def _end_state(site: Site) -> dict[str, t.Any]:
    """What a recovery leaves, and what every check and signal says about it: one that is late now may be so because of
    what else this machine does, and is asked again for some seconds."""
    settled = settled_end_state(site)
    deadline = time.monotonic() + _LATE_SECONDS
    while (failing := Clinic(site.lab).failing_checks()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return {**settled, "failing": failing}


def _try(lab: Lab, kill: Kill, row: Row, wanted: dict[str, t.Any]) -> None:
    try:
        site = _fresh(lab)
        resumed = kill_and_resume(site, row.fault, kill)
        row.struck += resumed.struck is not None
        row.late += resumed.struck is None
        row.in_doubt += resumed.in_doubt
        row.seconds.append(resumed.seconds)
        if not ended_well(resumed):
            said = resumed.finished.summary if resumed.finished.messages else resumed.finished.out[-300:]
            raise AssertionError(f"resume ended with {resumed.finished.code}: {said}")
        site.assert_no_step_twice(resumed.run_id)
        site.verify_record(resumed.run_id)
        state = _end_state(site)
        differing = sorted(name for name in wanted if state[name] != wanted[name])
        if differing:
            raise AssertionError(f"another end state: { {name: state[name] for name in differing} }")
    except AssertionError as error:
        row.failures.append(f"{kill}: {' '.join(str(error).split())[:400]}")


def _fresh(lab: Lab) -> Site:
    """The clinic in its normal state with somebody working in it, and a new account."""
    lab.heal()
    with lab.parts.postgresql.connect("db1", "clinic") as connection:
        connection.execute("update codeblue_check set checked_at = clock_timestamp()")
    return Site(lab, Path(tempfile.mkdtemp(prefix="kill-", dir=lab.directory.parent / "accounts")))


@contextlib.contextmanager
def _lab(directory: Path | None) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        parent = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cb-", dir="/var/tmp")))
        parent.mkdir(exist_ok=True)
        parent.chmod(0o755)
        (parent / "accounts").mkdir(mode=0o700, exist_ok=True)
        lab = Lab(parent / "lab")
        lab.up()
        stack.callback(lab.down)
        yield lab


def _section(rows: list[Row], seconds: float, options: argparse.Namespace) -> str:
    kills = sum(row.struck for row in rows)
    failed = sum(len(row.failures) for row in rows)
    way = "`ansible-playbook` alone" if options.bare else "`codeblue run` and `codeblue resume`"
    lines = [
        HEADING,
        "",
        f"{kills} kills in the recoveries of {len({row.fault for row in rows})} faults, {failed} failed, through {way};"
        f" made by `python tests/soak/kill_sweep.py`, {options.per_step} of each step, seed {options.seed}. Each run is"
        " resumed and has to end as one without a kill does, with no step done twice and a record that verifies.",
        "",
        measured_on(seconds),
        "",
        "| runbook | fault | step | kills | in doubt | too late | slowest resume (s) | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {RUNBOOKS[row.fault]} | {row.fault} | {row.step} | {row.struck} | {row.in_doubt} | {row.late} "
        f"| {max(row.seconds, default=0):.1f} | {len(row.failures)} |"
        for row in rows
    ]
    failures = [f"- {row.fault}, {row.step}: {failure}" for row in rows for failure in row.failures]
    return "\n".join([*lines, "", *(["Failures:", "", *failures, ""] if failures else [])])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, help="an empty directory for the lab and its accounts, kept afterwards")
    parser.add_argument("--fault", action="append", choices=sorted(RUNBOOKS))
    parser.add_argument("--runbook", action="append", choices=sorted(CARDS), help="all faults of its card")
    parser.add_argument("--first", action="store_true", help="the first fault of each card only")
    parser.add_argument("--victim", action="append", choices=VICTIMS)
    parser.add_argument("--moment", action="append", choices=MOMENTS)
    parser.add_argument("--per-step", type=int, default=2, help="kills of each step (default: 2; 9 are all)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(100_000))
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no kill after so many (default: 600)")
    parser.add_argument("--bare", action="store_true", help="start and resume with ansible-playbook alone")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the result there, e.g. docs/soak.md")
    options = parser.parse_args()
    chosen = [CARDS[name] for name in options.runbook or CARDS]
    of_cards = [fault for card in chosen for fault in (card.faults[:1] if options.first else card.faults)]
    options.fault = options.fault or of_cards
    options.moment = options.moment or list(MOMENTS)
    options.victim = options.victim or [victim for victim in VICTIMS if not (options.bare and victim == "runner")]
    return options


if __name__ == "__main__":
    sys.exit(main())
