"""Repeats every drill of every card and prints how long the clinic was away: `python tests/soak/drills.py --times 20`.

Not a test that pytest collects: 20 rounds take about 25 minutes. Exits 0 only when every drill passed every time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from codeblue.drill.interruption import Interruptions
from codeblue.lab import Lab
from codeblue.runner.collection import collection_root, own_runbooks

# The longest drill takes half a minute here; one that takes so long is counted as failed.
LONGEST_DRILL_SECONDS = 300.0
HEADING = "## Drills in a row"


@dataclass
class Series:
    """All repetitions of one drill.

    :param without_result: how often it ended without saying anything.
    """

    runbook: str
    fault: str
    drills: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    without_result: int = 0

    def conduct(self) -> None:
        """Once more.

        :raises KeyboardInterrupt: after the drill was interrupted as well, and has undone what it did.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "codeblue", "drill", self.runbook, "--fault", self.fault, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal reaches it through this process, once.
            start_new_session=True,
        )
        try:
            output, _errors = process.communicate(timeout=LONGEST_DRILL_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            process.send_signal(signal.SIGINT)
            process.communicate()
            if isinstance(error, KeyboardInterrupt):
                raise
            self.without_result += 1
            self.failures.append(f"did not end within {LONGEST_DRILL_SECONDS:g} s")
            return
        messages = [json.loads(line) for line in output.splitlines()]
        found = [each for each in messages if each["message_type"] == "drill"]
        self.drills += found
        self.without_result += not found
        if process.returncode != 0:
            summary = messages[-1] if messages else {}
            problems = [each["problem"] for each in summary.get("problems", [])] or [str(summary.get("error"))]
            self.failures.append("; ".join(problems))

    @property
    def tries(self) -> int:
        return len(self.drills) + self.without_result

    def row(self) -> str:
        """Its line of the table."""
        target = next((each["rto_target_seconds"] for each in self.drills), None)
        lost = [each["writes_lost"] for each in self.drills if each["writes_lost"] is not None]
        cells = (
            self.runbook,
            self.fault,
            f"{self.tries - len(self.failures)} of {self.tries}",
            spread([each["rto_seconds"] for each in self.drills]),
            "-" if target is None else f"{target:g}",
            spread([each["first_action_seconds"] for each in self.drills]),
            spread([each["detect_seconds"] for each in self.drills]),
            str(sum(lost)) if lost else "-",
        )
        return f"| {' | '.join(cells)} |"


def spread(values: list[float | None]) -> str:
    """Minimum, median and maximum of what was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{min(known):.1f} / {statistics.median(known):.1f} / {max(known):.1f}"


def report(series: list[Series], rounds: int, seconds: float) -> str:
    """The section for docs/soak.md."""
    lines = [
        HEADING,
        "",
        f"{rounds} rounds of all drills on one lab, made by `python tests/soak/drills.py`. Times are seconds, as"
        " minimum / median / maximum; *away* is from the first failed probe of any endpoint to the stable return of"
        " the last one.",
        "",
        f"{datetime.now(UTC).strftime('%Y-%m-%d %H:%M')} UTC, commit {commit()}, {seconds / 60:.0f} minutes,"
        f" Python {platform.python_version()}, {os.cpu_count()} CPUs with a load average of {os.getloadavg()[2]:.1f}.",
        "",
        "| runbook | fault | passed | away | target | first change | detected | writes lost |",
        "|---|---|---|---|---|---|---|---|",
        *(each.row() for each in series),
    ]
    failures = [f"- {each.fault}: {failure}" for each in series for failure in each.failures]
    return "\n".join([*lines, "", *(["Failures:", "", *failures, ""] if failures else [])])


def commit() -> str:
    """The commit that is tested, and whether the files are those of it."""
    git = ["git", "-C", str(collection_root().resolve())]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    files = ["plugins", "roles", "playbooks", "runbooks", "cli"]
    changed = subprocess.run([*git, "status", "--porcelain", "--", *files], capture_output=True, text=True, check=True)
    return name.stdout.strip() + (" with changes that are not committed" if changed.stdout.strip() else "")


def keep(path: Path, section: str) -> None:
    """Put the section into the file in place of the one before; other sections stay as they are."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Soak tests\n"
    before, found, after = text.partition(HEADING)
    _old, next_heading, rest = after.partition("\n## ") if found else ("", "", "")
    following = f"\n## {rest}" if next_heading else ""
    path.write_text(f"{before.rstrip()}\n\n{section.rstrip()}\n{following}", encoding="utf-8")


def soak(times: int, minutes: float) -> tuple[list[Series], int]:
    """Conduct all drills in turn; a round that was begun is finished.

    :param minutes: no round is begun after that time.
    :returns: the series and how many rounds were finished; what an interruption cut off is not among them.
    """
    cards = [load_card(runbook.card_path) for runbook in own_runbooks()]
    series = [Series(card.id, fault) for card in cards for fault in card.faults]
    ends = time.monotonic() + minutes * 60
    for number in range(1, times + 1):
        for each in series:
            failed, known = len(each.failures), len(each.drills)
            try:
                each.conduct()
            except KeyboardInterrupt:
                return series, number - 1
            verdict = each.failures[-1] if len(each.failures) > failed else "passed"
            print(f"{number} of {times}: {each.fault}: {verdict}", file=sys.stderr, flush=True)
            if len(each.drills) == known or not each.drills[-1]["undone"]:
                # The lab is broken: everything after that would fail for no reason of its own.
                return series, number - 1
        if time.monotonic() >= ends:
            return series, number
    return series, times


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="rounds of all drills (default: 20)")
    parser.add_argument("--minutes", type=float, default=90.0, help="begin no round after so many (default: 90)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the result there, e.g. docs/soak.md")
    arguments = parser.parse_args()
    parent = Path(tempfile.mkdtemp(prefix="cb-soak-", dir="/var/tmp"))
    parent.chmod(0o755)
    os.environ["CODEBLUE_LAB_DIR"] = str(parent / "lab")
    os.environ["XDG_STATE_HOME"] = str(parent / "state")
    os.environ.pop("CODEBLUE_STATE_URL", None)
    started = time.monotonic()
    lab = Lab()
    with Interruptions() as interruptions:
        try:
            lab.up()
            series, rounds = soak(arguments.times, arguments.minutes)
        finally:
            with interruptions.shielded():
                lab.down()
                shutil.rmtree(parent)
    section = report(series, rounds, time.monotonic() - started)
    print(section)
    if arguments.keep:
        keep(arguments.keep, section)
    return 1 if any(each.failures for each in series) else 0


if __name__ == "__main__":
    sys.exit(main())
