"""What has to be there before the clinic is broken, as in production it would be from the schedule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

_LONGEST_SECONDS = 120.0


def take_snapshot(inventory: Path, services: Sequence[str]) -> str:
    """Take a snapshot of services by the operation that the schedule runs.

    :returns: one line about it.
    :raises CodeblueError: it failed; then there is nothing to prove.
    """
    command = [sys.executable, "-m", "codeblue", "snapshot", "create", "--kind", "scheduled", "--json"]
    command += ["--inventory", str(inventory), "--limit", ",".join(services)]
    environment = {**os.environ, "CODEBLUE_ORIGIN": "drill"}
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise CodeblueError(f"the snapshot before the drill took more than {_LONGEST_SECONDS:g} s") from error
    lines = ended.stdout.splitlines()
    summary = json.loads(lines[-1]) if lines else {}
    if ended.returncode != 0:
        raise CodeblueError(f"the snapshot before the drill failed: {summary.get('error') or ended.stderr[-300:]}")
    return f"of {', '.join(services)}, in {float(summary.get('seconds') or 0.0):.1f} s"
