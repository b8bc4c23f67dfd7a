"""`codeblue … --platform kubernetes` as a developer starts it, with a state and a lab of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
import uuid
from pathlib import Path

from account import Account
from cluster import Cluster


class LabCommand:
    """One lab in a directory and a namespace of its own."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.directory = root / "lab"
        self.namespace = f"codeblue-lab-{uuid.uuid4().hex[:8]}"
        self.environment = {
            **Account(root, {}).environment,
            "KUBECONFIG": str(cluster.kubeconfig),
            "CODEBLUE_LAB_DIR": str(self.directory),
        }

    def __call__(self, *arguments: str, seconds: float = 180.0) -> tuple[int, list[dict[str, t.Any]]]:
        """Its exit status and JSON lines."""
        done = subprocess.run(
            [sys.executable, "-m", "codeblue", *arguments, "--platform", "kubernetes", "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr
        return done.returncode, lines
