"""Kills the runner, ansible-playbook and its worker at every step of a rollback on Kubernetes, and resumes each time.

Prints a table; exits 1 when a run did not end as an unkilled one does. A control plane with a simulated node is started
on loopback, as for the tests in tests/kubernetes. About 20 s per kill; 9 of each step are all:

    python tests/soak/kubernetes_kill_sweep.py [--per-step 9] [--bare] [--keep docs/soak.md]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kubernetes"))

from cluster import Cluster, find_cluster
from control_plane import programs
from kill_and_resume import MOMENTS, VICTIMS, Kill, ended_well, interrupt_and_resume
from killable_login import GOOD, RUNBOOK, KillableLogin
from soak_result import keep, measured_on

HEADING = "## Kills at every step on Kubernetes"


@dataclass
class Row:
    """All kills at one step."""

    step: str
    struck: int = 0
    in_doubt: int = 0
    late: int = 0
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> int:
    options = _options()
    if programs() is None:
        print("not done: no programs of a control plane, set KUBEBUILDER_ASSETS", file=sys.stderr)
        return 2
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="cb-kube-") as name, contextlib.suppress(KeyboardInterrupt):
        root = Path(name)
        (root / "cluster").mkdir(mode=0o700)
        with find_cluster(root / "cluster") as cluster:
            _sweep(cluster, root, options, started + options.minutes * 60, rows)
    section = _section(rows, time.monotonic() - started, options)
    print(section)
    if options.keep:
        keep(options.keep, HEADING, section)
    return 1 if not rows or any(row.failures for row in rows) else 0


def _sweep(cluster: Cluster, root: Path, options: argparse.Namespace, ends: float, rows: list[Row]) -> None:
    site = _fresh(cluster, root, "whole")
    finished = site.command("run", RUNBOOK, "-i", str(site.inventory), "--json")
    if finished.code != 0:
        rows.append(Row("(all)", failures=[f"is not recovered without a kill: {finished.out[-300:]}"]))
        return
    wanted = site.end_state()
    names = [f"{step.target}/{step.stage}/{step.action}" for step in site.store().steps(site.runs()[0].run_id)]
    every = [(victim, moment) for victim in options.victim for moment in options.moment]
    for number, name in enumerate(names):
        rows.append(Row(name))
        chance = random.Random(f"{options.seed}/{number}")
        for victim, moment in chance.sample(every, min(options.per_step, len(every))):
            if time.monotonic() >= ends:
                return
            kill = Kill(victim, number, moment, options.bare)
            known = len(rows[-1].failures)
            _try(_fresh(cluster, root, f"{number}-{victim}-{moment}"), kill, rows[-1], wanted)
            verdict = rows[-1].failures[-1] if len(rows[-1].failures) > known else f"{kill}: ok"
            print(f"{name} {verdict}", file=sys.stderr, flush=True)


def _try(site: KillableLogin, kill: Kill, row: Row, wanted: dict[str, t.Any]) -> None:
    try:
        resumed = interrupt_and_resume(site, RUNBOOK, kill, ())
        row.struck += resumed.struck is not None
        row.late += resumed.struck is None
        row.in_doubt += resumed.in_doubt
        row.seconds.append(resumed.seconds)
        if not ended_well(resumed):
            raise AssertionError(f"resume ended with {resumed.finished.code}: {resumed.finished.out[-300:]}")
        site.assert_no_step_twice(resumed.run_id)
        site.verify_record(resumed.run_id)
        site.namespace.serves("Deployment", "login", GOOD)
        state = site.end_state()
        wrong = {name: state[name] for name in wanted if state[name] != wanted[name]}
        if wrong:
            raise AssertionError(f"another end state: {wrong}")
    except AssertionError as error:
        row.failures.append(f"{kill}: {' '.join(str(error).split())[:400]}")
    finally:
        site.namespace.remove()


def _fresh(cluster: Cluster, root: Path, name: str) -> KillableLogin:
    place = root / name
    place.mkdir(mode=0o700)
    return KillableLogin(cluster, place, f"kill-{name}")


def _section(rows: list[Row], seconds: float, options: argparse.Namespace) -> str:
    kills = sum(row.struck for row in rows)
    failed = sum(len(row.failures) for row in rows)
    way = "`ansible-playbook` alone" if options.bare else "`codeblue run` and `codeblue resume`"
    lines = [
        HEADING,
        "",
        f"{kills} kills in rollbacks by `{RUNBOOK}`, {failed} failed, through {way}; made by"
        f" `python tests/soak/kubernetes_kill_sweep.py`, {options.per_step} of each step, seed {options.seed}. Real API"
        " server and controllers, simulated pods. Each run is resumed and has to end as one without a kill does: the"
        " same version, marks and pods, the same writes in the API server's audit log and none of them twice, no step"
        " done twice, a record that verifies.",
        "",
        measured_on(seconds),
        "",
        "| step | kills | in doubt | too late | slowest resume (s) | failed |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.step} | {row.struck} | {row.in_doubt} | {row.late} | {max(row.seconds, default=0):.1f}"
        f" | {len(row.failures)} |"
        for row in rows
    ]
    failures = [f"- {row.step}: {failure}" for row in rows for failure in row.failures]
    return "\n".join([*lines, "", *(["Failures:", "", *failures, ""] if failures else [])])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", action="append", choices=VICTIMS)
    parser.add_argument("--moment", action="append", choices=MOMENTS)
    parser.add_argument("--per-step", type=int, default=2, help="kills of each step (default: 2; 9 are all)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(100_000))
    parser.add_argument("--minutes", type=float, default=240.0, help="begin no kill after so many (default: 240)")
    parser.add_argument("--bare", action="store_true", help="start and resume with ansible-playbook alone")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the result there, e.g. docs/soak.md")
    options = parser.parse_args()
    options.moment = options.moment or list(MOMENTS)
    options.victim = options.victim or [victim for victim in VICTIMS if not (options.bare and victim == "runner")]
    return options


if __name__ == "__main__":
    sys.exit(main())
