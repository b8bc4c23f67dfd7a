"""A bad release on ECS left for the good one, by three ways; medians, calls and ratios, no pass by the clock.

    python tests/benchmarks/aws_rollback.py [--runs 5] [--collections DIR] [--cli DIR]

1. The AWS CLI, as a hurried operator types it: look at the service, update it to the version before, look again. Who
   types it has to know that version; nothing is recorded, and whether it worked is for somebody else to see.
2. `codeblue run authentication_system_down`: with diagnosis, change, ledger, bad mark, proof and validation.
3. ansible-playbook with modules of amazon.aws and community.aws for the steps of 1. The collections are looked for
   below DIR, else taken out of the package `ansible` that pip downloads; without network this way is left out, and that
   is said.

The account is that of a lab on loopback, which is put back before each run. The CLI is installed from PyPI into an
environment of its own unless --cli names one. Each time ends when the service is steady and the command is over.
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
import typing as t
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

from codeblue.lab.aws import AwsLab
from codeblue.lab.aws.blueprint import CLUSTER, PRIMARY, SERVICES
from codeblue.lab.aws.inventory import environment

_BIN = Path(sys.executable).parent
_COLLECTIONS = ("ansible_collections/amazon/aws/", "ansible_collections/community/aws/")
_MOST_SECONDS = 600.0
_FAULT = "auth_image_missing"
_SERVICE = SERVICES["auth"]
_GOOD = f"{_SERVICE.family}:{len(_SERVICE.versions)}"
# What a caller says of itself, in the record of calls.
_OWN = "codeblue-lab"

_SCRIPT = f"""
set -e
aws ecs describe-services --cluster {CLUSTER} --services {_SERVICE.service}
aws ecs update-service --cluster {CLUSTER} --service {_SERVICE.service} --force-new-deployment --task-definition {_GOOD}
aws ecs describe-services --cluster {CLUSTER} --services {_SERVICE.service}
"""

_PLAY = f"""
- name: Roll back
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Status
      community.aws.ecs_service_info: {{cluster: {CLUSTER}, service: {_SERVICE.service}, details: true}}
    - name: Update
      community.aws.ecs_service:
        state: present
        cluster: {CLUSTER}
        name: {_SERVICE.service}
        task_definition: {_GOOD}
        desired_count: {_SERVICE.tasks[PRIMARY]}
        force_new_deployment: true
    - name: Status again
      community.aws.ecs_service_info: {{cluster: {CLUSTER}, service: {_SERVICE.service}, details: true}}
"""


@dataclass(frozen=True)
class Run:
    """One run of a way.

    :param calls: to the account, by the way itself.
    :param changes: those of them that change something.
    """

    seconds: float
    calls: int
    changes: int


class Bench:
    """A lab, and the ways."""

    def __init__(self, lab: AwsLab, root: Path, cli: Path, collections: Path | None) -> None:
        self._lab = lab
        self._root = root
        self._cli = cli
        self._collections = collections
        self._number = 0

    @property
    def ways(self) -> dict[str, t.Callable[[Path], list[str]]]:
        """By name, what makes the command of each."""
        found = {"AWS CLI": self._by_cli, "codeblue run": self._by_codeblue}
        return {**found, "amazon.aws": self._by_modules} if self._collections is not None else found

    def run(self, way: str) -> Run:
        """Break the lab, carry a way out, put the lab back.

        :raises SystemExit: it did not bring the service back.
        """
        self._number += 1
        place = self._root / f"run-{self._number}"
        place.mkdir()
        command = self.ways[way](place)
        self._lab.break_(_FAULT)
        before = len(self._recorded())
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env=self._environment(place),
            cwd=place,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{way} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
        if left := self._lab.parts.wait_steady():
            raise SystemExit(f"{way}: {left[0]}")
        seconds = time.perf_counter() - began
        calls = [each for each in self._recorded()[before:] if not each["agent"].endswith(_OWN)]
        self._lab.heal()
        return Run(seconds, len(calls), sum(bool(each["changes"]) for each in calls))

    def _recorded(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self._lab.layout.calls.read_text(encoding="utf-8").splitlines()]

    def _environment(self, place: Path) -> dict[str, str]:
        for name in ("home", "state", "tmp", "spool"):
            (place / name).mkdir(mode=0o700)
        found = {
            **environment(self._lab.layout, self._lab.state),
            "PATH": f"{self._cli}{os.pathsep}{_BIN}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "tmp"),
            "XDG_STATE_HOME": str(place / "state"),
            "CODEBLUE_SPOOL_DIR": str(place / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "AWS_PAGER": "",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        }
        return {**found, "ANSIBLE_COLLECTIONS_PATH": str(self._collections)} if self._collections else found

    def _by_cli(self, _place: Path) -> list[str]:
        return ["bash", "-c", _SCRIPT]

    def _by_codeblue(self, _place: Path) -> list[str]:
        inventory = str(self._lab.inventory_path)
        return [sys.executable, "-m", "codeblue", "run", "authentication_system_down", "-i", inventory]

    def _by_modules(self, place: Path) -> list[str]:
        play = place / "play.yml"
        play.write_text(_PLAY, encoding="utf-8")
        return [str(_BIN / "ansible-playbook"), str(play)]


def _installed_cli(given: Path | None, directory: Path) -> Path:
    """The directory of the program `aws`.

    :raises SystemExit: it cannot be installed.
    """
    if given is not None:
        return given
    venv.create(directory, with_pip=True)
    done = subprocess.run(
        [directory / "bin" / "pip", "install", "--quiet", "awscli~=1.40"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"not measured: the AWS CLI cannot be installed, give --cli: {done.stderr[-300:]}")
    return directory / "bin"


def _found_collections(given: Path | None, directory: Path) -> Path | None:
    """A directory with both collections in `ansible_collections`; None when there is no way to them."""
    if given is not None:
        return given
    directory.mkdir()
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
        names = [name for name in archive.namelist() if name.startswith(_COLLECTIONS)]
        archive.extractall(directory, names)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--collections", type=Path, help="a directory with ansible_collections/{amazon,community}/aws")
    parser.add_argument("--cli", type=Path, help="the directory of the program aws")
    arguments = parser.parse_args()
    # The lab is this one's own, not one that the environment leads to.
    os.environ.pop("AWS_ENDPOINT_URL", None)
    with tempfile.TemporaryDirectory(prefix="codeblue-bench-") as name:
        root = Path(name)
        cli = _installed_cli(arguments.cli, root / "cli")
        collections = _found_collections(arguments.collections, root / "collections")
        if collections is None:
            print("amazon.aws is left out: pip cannot download it, give --collections")
        lab = AwsLab(root / "lab")
        try:
            lab.up()
            bench = Bench(lab, root, cli, collections)
            found: dict[str, list[Run]] = {way: [] for way in bench.ways}
            for _run in range(arguments.runs):
                for way, runs in found.items():
                    runs.append(bench.run(way))
        finally:
            lab.down()
    _report(found, arguments.runs)


def _report(found: dict[str, list[Run]], runs: int) -> None:
    medians = {way: statistics.median(each.seconds for each in of) for way, of in found.items()}
    cores = len(os.sched_getaffinity(0))
    print(
        f"{runs} runs, {cores} cores, load {os.getloadavg()[0]:.0f}, simulated account; seconds: median (least, most)"
    )
    for way, of in found.items():
        seconds = [each.seconds for each in of]
        calls = statistics.median(each.calls for each in of)
        changes = statistics.median(each.changes for each in of)
        spread = f"({min(seconds):.2f}, {max(seconds):.2f})"
        print(f"  {way:14} {medians[way]:.2f} {spread}, {calls:g} calls, {changes:g} of them change something")
    more = medians["codeblue run"] - medians["AWS CLI"]
    print(f"codeblue takes {more:+.2f} s more than three calls of the AWS CLI")
    if "amazon.aws" in medians:
        share = medians["codeblue run"] / medians["amazon.aws"]
        print(f"codeblue takes {share:.2f} of the time of the modules of amazon.aws and community.aws")


if __name__ == "__main__":
    main()
