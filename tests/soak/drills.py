"""Repeats `codeblue drill --all` and prints how long the clinic was away: `python tests/soak/drills.py --times 5`.

Not a test that pytest collects: a round takes some minutes. Exits 0 only when every drill passed every time and every
fault called for its own runbook first. `taskset -c 0,1 python tests/soak/drills.py` measures on two CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codeblue.drill.interruption import Interruptions
from codeblue.lab import Lab
from soak_result import keep, measured_on

# The bar is eight minutes on two CPUs; a round that takes so long hangs.
LONGEST_ROUND_SECONDS = 1_800.0
HEADING = "## Drills in a row"


@dataclass
class Series:
    """All repetitions of one drill."""

    runbook: str
    fault: str
    drills: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def row(self) -> str:
        """Its line of the table."""
        target = next((each["rto_target_seconds"] for each in self.drills), None)
        lost = [each["writes_lost"] for each in self.drills if each["writes_lost"] is not None]
        first = sum(each["own_first"] for each in self.rows)
        cells = (
            self.runbook,
            self.fault,
            f"{len(self.drills) - len(self.failures)} of {len(self.drills)}",
            spread([each["rto_seconds"] for each in self.drills]),
            "-" if target is None else f"{target:g}",
            spread([each["first_action_seconds"] for each in self.drills]),
            spread([each["detect_seconds"] for each in self.drills]),
            f"{first} of {len(self.rows)}",
            str(sum(lost)) if lost else "-",
        )
        return f"| {' | '.join(cells)} |"


@dataclass
class Soak:
    """What all rounds came to.

    :param rounds: seconds of each round that was finished.
    """

    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    rounds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.rounds) and not self.failures and not any(each.failures for each in self.series.values())

    def take(self, messages: list[dict[str, Any]]) -> None:
        """The JSON lines of one round."""
        summary = messages[-1] if messages and messages[-1]["message_type"] == "summary" else {}
        problems: dict[tuple[str, str], list[str]] = {}
        for each in summary.get("problems", []):
            problems.setdefault((each["runbook"], each["fault"]), []).append(each["problem"])
        for each in messages:
            if each["message_type"] == "drill":
                key = (each["runbook"], each["fault"])
                series = self.series.setdefault(key, Series(*key))
                series.drills.append(each)
                series.failures += ["; ".join(problems[key])] if key in problems else []
            elif each["message_type"] == "detection_matrix":
                for row in each["faults"]:
                    self.series[row["runbook"], row["fault"]].rows.append(row)
                self.failures += [f"{name} fired on the healthy clinic" for name in each["control"]]
        if "drills" not in summary:
            self.failures.append(str(summary.get("error", "a round ended without saying anything")))
            return
        self.rounds.append(float(summary["seconds"]))


def conduct_round(arguments: list[str]) -> list[dict[str, Any]]:
    """One round, in a process of its own.

    :raises KeyboardInterrupt: after the drill was interrupted as well, and has undone what it did.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "codeblue", "drill", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        # A Ctrl-C at the terminal reaches it through this process, once.
        start_new_session=True,
    )
    try:
        output, _errors = process.communicate(timeout=LONGEST_ROUND_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        process.send_signal(signal.SIGINT)
        output, _errors = process.communicate()
        if isinstance(error, KeyboardInterrupt):
            raise
    return [json.loads(line) for line in output.splitlines()]


def spread(values: list[float | None]) -> str:
    """Minimum, median and maximum of what was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{min(known):.1f} / {statistics.median(known):.1f} / {max(known):.1f}"


def report(soak: Soak, seconds: float, arguments: list[str]) -> str:
    """The section for docs/soak.md.

    :param arguments: those of `codeblue drill`.
    """
    lines = [
        HEADING,
        "",
        f"{len(soak.rounds)} rounds of `codeblue drill {' '.join(arguments)}` by `tests/soak/drills.py`; a round took"
        f" {spread(list(soak.rounds))} s. Times are seconds, as minimum / median / maximum; *away* is from the first"
        " failed probe of any endpoint to the stable return of the last one, *called for first* how often the fault's"
        " own runbook was the one to begin with.",
        "",
        measured_on(seconds),
        "",
        "| runbook | fault | passed | away | target | first change | detected | called for first | writes lost |",
        "|---|---|---|---|---|---|---|---|---|",
        *(each.row() for each in soak.series.values()),
    ]
    failures = [f"- {each.fault}: {failure}" for each in soak.series.values() for failure in each.failures]
    failures += [f"- {failure}" for failure in soak.failures]
    return "\n".join([*lines, "", *(["Failures:", "", *failures, ""] if failures else [])])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="rounds of all drills (default: 5)")
    parser.add_argument("--minutes", type=float, default=90.0, help="begin no round after so many (default: 90)")
    parser.add_argument("--runbook", help="only this one's faults")
    parser.add_argument("--fault", help="only this fault of it")
    parser.add_argument("--lab", type=Path, metavar="DIR", help="an empty directory for the lab, removed afterwards")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the result there, e.g. docs/soak.md")
    options = parser.parse_args()
    arguments = [options.runbook] if options.runbook else ["--all"]
    arguments += ["--fault", options.fault] if options.fault else []
    parent = options.lab or Path(tempfile.mkdtemp(prefix="cb-soak-", dir="/var/tmp"))
    parent.mkdir(exist_ok=True)
    parent.chmod(0o755)
    os.environ["CODEBLUE_LAB_DIR"] = str(parent / "lab")
    os.environ["XDG_STATE_HOME"] = str(parent / "state")
    os.environ["CODEBLUE_SPOOL_DIR"] = str(parent / "spool")
    os.environ.pop("CODEBLUE_STATE_URL", None)
    started = time.monotonic()
    soak = Soak()
    with Interruptions() as interruptions:
        try:
            for number in range(1, options.times + 1):
                messages = conduct_round(arguments)
                soak.take(messages)
                passed = (
                    f"{messages[-1].get('passed')} of {messages[-1].get('drills')} passed" if messages else "failed"
                )
                print(f"{number} of {options.times}: {passed}", file=sys.stderr, flush=True)
                if time.monotonic() - started >= options.minutes * 60:
                    break
        except KeyboardInterrupt:
            soak.failures.append("interrupted")
        finally:
            with interruptions.shielded():
                Lab().down()
                shutil.rmtree(parent)
    section = report(soak, time.monotonic() - started, arguments)
    print(section)
    if options.keep:
        keep(options.keep, HEADING, section)
    return 0 if soak.passed else 1


if __name__ == "__main__":
    sys.exit(main())
