"""A bad version on Kubernetes left for the good one, by three ways; medians and their ratios, no pass by the clock.

    python tests/benchmarks/kubernetes_rollback.py [--runs 5] [--core DIR]

1. bash with kubectl: status, undo, wait, pods, health. Nothing is recorded, and "undo" takes whatever came before.
2. `codeblue run authentication_system_down`: with diagnosis, change, ledger, bad mark, proof and validation.
3. ansible-playbook with the modules of kubernetes.core for the steps of 1. The collection is looked for below DIR, else
   it is taken out of the package `ansible` that pip downloads; without network this way is left out, and that is said.

A control plane with a simulated node is started on loopback, as for the tests in tests/kubernetes. Each way gets a
namespace of its own, in turns, so that a busy moment hits all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kubernetes"))

from cluster import Cluster, Namespace, find_cluster
from control_plane import programs
from runbook_site import Site, login

_BIN = Path(sys.executable).parent
_CORE = "ansible_collections/kubernetes/core/"
_MOST_SECONDS = 120.0

_SCRIPT = """
set -e
kubectl get deployment login -n "$NAMESPACE" -o wide
kubectl rollout undo deployment/login -n "$NAMESPACE"
kubectl rollout status deployment/login -n "$NAMESPACE" --timeout=60s
kubectl get pods -n "$NAMESPACE" -l app=login
kubectl wait -n "$NAMESPACE" --for=condition=Ready pod -l app=login --timeout=60s
kubectl get endpointslices -n "$NAMESPACE" -l kubernetes.io/service-name=login
"""

_PLAY = """
- name: Roll back
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Status
      kubernetes.core.k8s_info: {api_version: apps/v1, kind: Deployment, name: login, namespace: "{{ place }}"}
    - name: Undo
      kubernetes.core.k8s_rollback: {api_version: apps/v1, kind: Deployment, name: login, namespace: "{{ place }}"}
    - name: Wait
      kubernetes.core.k8s_info:
        api_version: apps/v1
        kind: Deployment
        name: login
        namespace: "{{ place }}"
        wait: true
        wait_sleep: 1
        wait_timeout: 60
    - name: Pods
      kubernetes.core.k8s_info: {kind: Pod, namespace: "{{ place }}", label_selectors: [app=login]}
    - name: Health
      kubernetes.core.k8s_info:
        kind: Pod
        namespace: "{{ place }}"
        label_selectors: [app=login]
        wait: true
        wait_sleep: 1
        wait_timeout: 60
    - name: Endpoints
      kubernetes.core.k8s_info:
        api_version: discovery.k8s.io/v1
        kind: EndpointSlice
        namespace: "{{ place }}"
        label_selectors: [kubernetes.io/service-name=login]
"""


def by_kubectl(cluster: Cluster, namespace: Namespace, root: Path, _core: Path) -> float:
    """The steps of a hurried operator."""
    assets = programs()
    assert assets is not None
    path = f"{assets}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "KUBECONFIG": str(cluster.kubeconfig), "NAMESPACE": namespace.name, "HOME": str(root)}
    return _timed(["bash", "-c", _SCRIPT], environment, root)


def by_codeblue(_cluster: Cluster, namespace: Namespace, root: Path, _core: Path) -> float:
    """The whole runbook."""
    site = Site(root, namespace)
    return _timed(
        [sys.executable, "-m", "codeblue", "run", "authentication_system_down", "-i", str(site.inventory)],
        site.environment,
        root,
    )


def by_modules(cluster: Cluster, namespace: Namespace, root: Path, core: Path) -> float:
    """A playbook of one module for each step."""
    play = root / "play.yml"
    play.write_text(_PLAY, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(core),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "K8S_AUTH_KUBECONFIG": str(cluster.kubeconfig),
    }
    return _timed([str(_BIN / "ansible-playbook"), str(play), "-e", f"place={namespace.name}"], environment, root)


WAYS: dict[str, t.Callable[[Cluster, Namespace, Path, Path], float]] = {
    "bash with kubectl": by_kubectl,
    "codeblue run": by_codeblue,
    "kubernetes.core": by_modules,
}


def _timed(command: list[str], environment: dict[str, str], directory: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    return seconds


def _core_collection(given: Path | None, directory: Path) -> Path | None:
    """A directory with the collection kubernetes.core in `ansible_collections`; None when there is no way to it."""
    if given is not None:
        return given
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(directory),
        "ansible~=12.0",
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return None
    (wheel,) = directory.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory, [name for name in archive.namelist() if name.startswith(_CORE)])
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--core", type=Path, help="a directory with ansible_collections/kubernetes/core")
    arguments = parser.parse_args()
    if programs() is None:
        print("not measured: no programs of a control plane, set KUBEBUILDER_ASSETS")
        return
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory(prefix="codeblue-bench-") as name:
        root = Path(name)
        (root / "core").mkdir()
        core = _core_collection(arguments.core, root / "core")
        if core is None:
            print("kubernetes.core is left out: pip cannot download it, give --core")
            seconds.pop("kubernetes.core")
        (root / "cluster").mkdir(mode=0o700)
        with find_cluster(root / "cluster") as cluster:
            for run in range(arguments.runs):
                for number, way in enumerate(seconds):
                    namespace = cluster.namespace(f"bench-{run}-{number}")
                    login(namespace)
                    namespace.set_image("Deployment", "login", "crash")
                    namespace.until_pods("login", {"crash": [False, False]})
                    place = root / f"{run}-{number}"
                    place.mkdir()
                    seconds[way].append(WAYS[way](cluster, namespace, place, core or root))
                    namespace.serves("Deployment", "login", "3.8")
                    namespace.remove()
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    cores = len(os.sched_getaffinity(0))
    print(f"{arguments.runs} runs, {cores} cores, simulated pods; seconds: median (least, most)")
    for way, each in seconds.items():
        print(f"  {way:20} {medians[way]:.2f} ({min(each):.2f}, {max(each):.2f})")
    more = medians["codeblue run"] - medians["bash with kubectl"]
    print(f"codeblue takes {more:+.2f} s more than bash with kubectl")
    if "kubernetes.core" in medians:
        share = medians["codeblue run"] / medians["kubernetes.core"]
        print(f"codeblue takes {share:.2f} of the time of the modules of kubernetes.core")


if __name__ == "__main__":
    main()
