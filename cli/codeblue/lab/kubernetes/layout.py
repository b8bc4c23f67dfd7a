"""Where things lie in the directory of a lab on a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codeblue.lab.layout import Layout, default_directory

DEFAULT_NAMESPACE = "codeblue-lab"


def default_kubernetes_directory() -> Path:
    """`CODEBLUE_LAB_DIR`, else beside the directory of the lab of hosts."""
    found = default_directory()
    return found if os.environ.get("CODEBLUE_LAB_DIR") else found.with_name(f"{found.name}-kubernetes")


@dataclass(frozen=True)
class KubernetesLayout(Layout):
    """The paths of one lab on a cluster."""

    @property
    def state_file(self) -> Path:
        # Another name than that of a lab of hosts: neither takes the other's directory for its own.
        return self.root / "kubernetes-lab.json"

    @property
    def monitor_log(self) -> Path:
        return self.root / "monitor.log"
