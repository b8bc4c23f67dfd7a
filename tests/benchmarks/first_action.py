"""From Enter to the first change on the target: medians on the lab, printed; no pass by the clock.

    python tests/benchmarks/first_action.py [--runs 10] [--fault pool_exhausted]

Starts labs of its own below the temporary directory, breaks them, recovers them by the command, and takes the figures
from the summary: `first_action_seconds` counts from the start of the process to the moment at which the machine
accepted the first change.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNBOOKS = {
    "pool_exhausted": "database_connection_failure",
    "primary_crashed": "database_connection_failure",
    "primary_dead": "database_connection_failure",
    "credentials_refused": "database_connection_failure",
    "complete_outage": "complete_system_outage",
}
_MOST_SECONDS = 180


def codeblue(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "codeblue", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
        check=False,
    )


def measure(environment: dict[str, str], inventory: Path, fault: str) -> dict[str, float]:
    """Break a new lab and recover it; seconds by what they were spent on."""
    for step in (("lab", "down"), ("lab", "up"), ("lab", "break", fault)):
        prepared = codeblue(environment, *step)
        if prepared.returncode != 0:
            raise SystemExit(f"{' '.join(step)}: {prepared.stderr or prepared.stdout}")
    # A lab that has just started cannot tell how much a promotion would lose.
    accepted = ("--accept", "data_loss") if fault == "primary_dead" else ()
    ended = codeblue(environment, "run", RUNBOOKS[fault], "-i", str(inventory), "--json", *accepted)
    messages = [json.loads(line) for line in ended.stdout.splitlines()]
    summary = messages[-1]
    if summary["exit_code"] not in (0, 4):
        raise SystemExit(f"{fault}: {summary['outcome']}: {summary['error']}")
    figures = {"first change": summary["first_action_seconds"], "whole run": summary["seconds"]}
    tasks = [message["elapsed"] for message in messages if message["message_type"] == "task"]
    figures["first task"] = tasks[0]
    for message in messages:
        if message["message_type"] == "step" and message["stage"] in ("open", "diagnose"):
            figures[f"{message['stage']} ended"] = message["elapsed"]
    return figures


def help_seconds(environment: dict[str, str]) -> float:
    """How long `codeblue --help` takes."""
    started = time.perf_counter()
    codeblue(environment, "--help")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fault", choices=sorted(RUNBOOKS), default="pool_exhausted")
    arguments = parser.parse_args()
    # Short, because a unix socket's path may have 107 characters only; open to the lab's own user when this is root.
    with tempfile.TemporaryDirectory(prefix="cb-") as name:
        root = Path(name)
        root.chmod(0o755)
        for folder in ("state", "spool", "home"):
            (root / folder).mkdir(mode=0o700)
        environment = {
            **os.environ,
            "HOME": str(root / "home"),
            "XDG_STATE_HOME": str(root / "state"),
            "CODEBLUE_SPOOL_DIR": str(root / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "CODEBLUE_LAB_DIR": str(root / "lab"),
        }
        try:
            inventory = root / "lab" / "inventory" / "hosts.yml"
            helps = [help_seconds(environment) for _run in range(arguments.runs)]
            measured = [measure(environment, inventory, arguments.fault) for _run in range(arguments.runs)]
        finally:
            codeblue(environment, "lab", "down")
    print(f"{arguments.fault}, {arguments.runs} runs, {os.cpu_count()} cores; seconds: median (least, most)")
    print(f"  {'codeblue --help':18} {statistics.median(helps):6.2f} ({min(helps):.2f}, {max(helps):.2f})")
    for figure in measured[0]:
        values = [each[figure] for each in measured if figure in each]
        print(f"  {figure:18} {statistics.median(values):6.2f} ({min(values):.2f}, {max(values):.2f})")


if __name__ == "__main__":
    main()
