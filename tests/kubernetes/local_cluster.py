"""A control plane with a simulated node for a developer: until Ctrl-C, or while a command runs.

    python tests/kubernetes/local_cluster.py
    python tests/kubernetes/local_cluster.py codeblue drill --all --platform kubernetes

The first form prints how to reach it. It is marked as a lab, and gone at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cluster import find_cluster, mark_as_lab
from control_plane import programs


def main(command: list[str]) -> int:
    """The exit status of the command; 0 without one."""
    if programs() is None:
        print("no programs of a control plane: set KUBEBUILDER_ASSETS", file=sys.stderr)
        return 2
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    directory = Path(tempfile.mkdtemp(prefix="codeblue-kube-"))
    try:
        with find_cluster(directory) as cluster:
            mark_as_lab(cluster)
            if command:
                environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
                return subprocess.run(command, env=environment, check=False).returncode
            print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
            ended.wait()
    except KeyboardInterrupt:
        pass
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
