"""Kills the runner, ansible-playbook and its worker at every step of every fault's recovery, and resumes each time.

Prints a table; exits 1 when a run did not end as an unkilled one does. About 10 s per kill:

    python tests/soak/kill_sweep.py --lab /var/tmp/sweep [--fault primary_dead …] [--moment intent …] [--bare]
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clinic_site import Site
from codeblue.lab import Lab
from kill_and_resume import (
    MOMENTS,
    VICTIMS,
    Kill,
    ended_well,
    kill_and_resume,
    recover,
    settled_end_state,
)

FAULTS = ("primary_dead", "primary_hung", "pool_exhausted", "credentials_refused", "complete_outage")


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
    rows: list[Row] = []
    with _lab(options.lab) as lab:
        for fault in options.fault:
            rows += _sweep(lab, fault, options.victim, options.moment, options.bare)
    _print(rows, time.monotonic() - started)
    return 1 if any(row.failures for row in rows) else 0


def _sweep(lab: Lab, fault: str, victims: list[str], moments: list[str], bare: bool) -> list[Row]:
    site = _fresh(lab)
    finished = recover(site, fault)
    if finished.code != 0:
        raise SystemExit(f"{fault} is not recovered without a kill: {finished}")
    wanted = settled_end_state(site)
    names = [f"{step.target}/{step.stage}/{step.action}" for step in site.steps(site.runs()[0].run_id)]
    rows = []
    for number, name in enumerate(names):
        row = Row(fault, name)
        rows.append(row)
        for victim in victims:
            for moment in moments:
                kill = Kill(victim, number, moment, bare)
                _try(lab, kill, row, wanted)
                verdict = (
                    row.failures[-1] if row.failures and row.failures[-1].startswith(f"{kill}:") else f"{kill}: ok"
                )
                print(f"{fault} {verdict}", file=sys.stderr, flush=True)
    return rows


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
        state = settled_end_state(site)
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


def _print(rows: list[Row], seconds: float) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    kills = sum(row.struck for row in rows)
    failed = sum(len(row.failures) for row in rows)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}: {kills} kills, {failed} failed, {seconds:.0f} s")
    print("| fault | step | kills | in doubt | too late | slowest resume (s) | failed |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.fault} | {row.step} | {row.struck} | {row.in_doubt} | {row.late} "
            f"| {max(row.seconds, default=0):.1f} | {len(row.failures)} |"
        )
    for row in rows:
        for failure in row.failures:
            print(f"FAILED {row.fault} {row.step} {failure}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, help="an empty directory for the lab and its accounts, kept afterwards")
    parser.add_argument("--fault", action="append", choices=FAULTS)
    parser.add_argument("--victim", action="append", choices=VICTIMS)
    parser.add_argument("--moment", action="append", choices=MOMENTS)
    parser.add_argument("--bare", action="store_true", help="start and resume with ansible-playbook alone")
    options = parser.parse_args()
    options.fault = options.fault or list(FAULTS)
    options.moment = options.moment or list(MOMENTS)
    options.victim = options.victim or [victim for victim in VICTIMS if not (options.bare and victim == "runner")]
    return options


if __name__ == "__main__":
    sys.exit(main())
