"""Where the results of the soak tests are kept, and on what they were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from codeblue.runner.collection import collection_root


def keep(path: Path, heading: str, section: str) -> None:
    """Put the section into the file in place of the one with the same heading; others stay as they are."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Soak tests\n"
    before, found, after = text.partition(heading)
    _old, next_heading, rest = after.partition("\n## ") if found else ("", "", "")
    following = f"\n## {rest}" if next_heading else ""
    path.write_text(f"{before.rstrip()}\n\n{section.rstrip()}\n{following}", encoding="utf-8")


def measured_on(seconds: float) -> str:
    """Date, commit and machine, in one line. CPUs are those that this process may use (`taskset`)."""
    return (
        f"{datetime.now(UTC).strftime('%Y-%m-%d %H:%M')} UTC, commit {commit()}, {seconds / 60:.0f} minutes,"
        f" Python {platform.python_version()}, {len(os.sched_getaffinity(0))} CPUs,"
        f" load average {os.getloadavg()[2]:.1f}."
    )


def commit() -> str:
    """The commit that is tested, and whether the files are those of it."""
    git = ["git", "-C", str(collection_root().resolve())]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    files = ["plugins", "roles", "playbooks", "runbooks", "cli"]
    changed = subprocess.run([*git, "status", "--porcelain", "--", *files], capture_output=True, text=True, check=True)
    return name.stdout.strip() + (" with changes that are not committed" if changed.stdout.strip() else "")
