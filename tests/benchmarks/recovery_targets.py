"""How long the parts of a recovery take on the lab, beside what was asked for; printed, no pass by the clock.

    python tests/benchmarks/recovery_targets.py [--runs 3]

Each figure is the time of the steps that do it, as the run's own record has it, checks of the result included. The
restore of a large database to a point in time is measured by `pitr.py`, snapshots of one by `snapshot_speed.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_MOST_SECONDS = 240


class Lab:
    """The command, on a lab and a record of its own."""

    def __init__(self, root: Path) -> None:
        for folder in ("state", "spool", "home"):
            (root / folder).mkdir(mode=0o700)
        self.inventory = root / "lab" / "inventory" / "hosts.yml"
        self._environment = {
            **os.environ,
            "HOME": str(root / "home"),
            "XDG_STATE_HOME": str(root / "state"),
            "CODEBLUE_SPOOL_DIR": str(root / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "CODEBLUE_LAB_DIR": str(root / "lab"),
        }

    def codeblue(self, *arguments: str) -> list[dict[str, Any]]:
        """Run the command; its JSON lines, where it prints such."""
        ended = subprocess.run(
            [sys.executable, "-m", "codeblue", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
        if ended.returncode not in (0, 4):
            raise SystemExit(f"{' '.join(arguments)}: {ended.stderr or ended.stdout[-500:]}")
        return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]

    def recover(self, runbook: str, fault: str, stage: str) -> tuple[float, str]:
        """Break, recover, heal; seconds of the steps of a stage and what they said."""
        self.codeblue("lab", "break", fault)
        messages = self.codeblue("run", runbook, "-i", str(self.inventory), "--json")
        self.codeblue("lab", "heal")
        steps = [each for each in messages if each["message_type"] == "step" and each["stage"] == stage]
        if not steps:
            raise SystemExit(f"{fault}: the run had no step {stage}")
        return sum(float(each["seconds"]) for each in steps), str(steps[-1]["summary"])


def measure(lab: Lab) -> dict[str, float]:
    """Seconds by what was asked for."""
    inventory = str(lab.inventory)
    figures: dict[str, float] = {}
    taken = lab.codeblue("snapshot", "create", "--full", "--json", "-i", inventory)
    figures["snapshot of all services"] = float(taken[-1]["seconds"])
    verified = lab.codeblue("snapshot", "verify", "--json", "-i", inventory)
    figures["its validation"] = float(verified[-1]["seconds"])
    figures["code rollback"], said = lab.recover("complete_system_outage", "bad_release_outage", "rollback")
    # Two services are rolled back, one after the other.
    figures["code rollback"] /= max(1, said.count(" from "))
    figures["configuration rollback"], said = lab.recover(
        "complete_system_outage", "bad_configuration_outage", "rollback"
    )
    figures["configuration rollback"] /= max(1, said.count(" from "))
    figures["full restore of the database"], _said = lab.recover(
        "database_connection_failure", "all_members_lost", "restore"
    )
    return figures


# As the requirements have them.
TARGETS = {
    "snapshot of all services": 15.0,
    "its validation": 10.0,
    "code rollback": 10.0,
    "configuration rollback": 5.0,
    "full restore of the database": 60.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    # Short, because a unix socket's path may have 107 characters only; open to the lab's own user when this is root.
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        lab = Lab(root)
        lab.codeblue("lab", "up")
        try:
            measured = [measure(lab) for _run in range(arguments.runs)]
        finally:
            lab.codeblue("lab", "down")
    print(f"{arguments.runs} runs, {os.cpu_count()} cores; seconds: median (least, most), asked for, share of it")
    for figure, target in TARGETS.items():
        values = [each[figure] for each in measured]
        middle = statistics.median(values)
        print(
            f"  {figure:30} {middle:6.2f} ({min(values):.2f}, {max(values):.2f})  < {target:g}  {middle / target:6.0%}"
        )


if __name__ == "__main__":
    main()
