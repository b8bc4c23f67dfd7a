"""Simulated: what the Jobs of a recovery find in a database where there is none.

Whether its data are damaged stands in a ConfigMap `HOST-contents` of the namespace, as `state: damaged` or `dropped`; a
swap makes it `clean`. What becomes of a Job follows from the tag of its image:

- `…:fails`: it ends with an error; `…:fails-STEP-1`: the first one of this step does
- `…:hangs`: it never ends
- `…:local`: its script runs in this process's stead, on a real database of a test
- anything else: it ends well, with what is in the ConfigMap
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

STEP = "codeblue.recovery/step"
_RULES = "codeblue.recovery/rules"
Lines = list[dict[str, t.Any]]


def is_of_a_recovery(pod: dict[str, t.Any]) -> bool:
    return STEP in (pod["metadata"].get("labels") or {})


def contents_of(pod: dict[str, t.Any]) -> str:
    """The name of the ConfigMap with the state of its database."""
    values = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    return f"{values.get('PGHOST') or values.get('MONGO_HOST')}-contents"


def found_by(pod: dict[str, t.Any], state: str) -> tuple[Lines, str]:
    """What its Job reports, and the state of the data afterwards."""
    step = pod["metadata"]["labels"][STEP]
    rules = pod["metadata"]["annotations"][_RULES].split()
    wrong = 0 if state == "clean" else 7
    if step == "assess":
        return [
            {"rule": rule, "on": "clinic", "violations": wrong if number == 0 else 0}
            for number, rule in enumerate(rules)
        ], state
    if step == "read_only":
        return [{"ended": 2, "write": "25006"}], state
    if step == "dump":
        return [{"file": "codeblue-emergency-simulated.dump", "bytes": 1024, "sha256": "0" * 64, "without": ""}], state
    if step == "restore_beside":
        taken = int(time.time()) - 60
        return [
            {"dump": "nightly.dump", "clean": True, "taken_at": taken},
            {
                "table": "records",
                "live": None if state == "dropped" else 500,
                "beside": 500,
                "out": wrong,
                "back": wrong,
            },
        ], state
    if step == "swap":
        return [{"swapped": 1}], "clean"
    return [{"write": "ok", "before": "none"}], state


def run_locally(
    pod: dict[str, t.Any], secret: t.Callable[[str], dict[str, str]], place: dict[str, str]
) -> tuple[int, str]:
    """Run the script of a Job on this machine: its status and its report.

    :param secret: gives the data of a Secret.
    :param place: variables that say where the real database and its dumps are.
    """
    (container,) = pod["spec"]["containers"]
    assert container["command"][:2] == ["sh", "-c"]
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report"
        variables = {}
        for each in container["env"]:
            value = each.get("value")
            if value is None:
                reference = each["valueFrom"]["secretKeyRef"]
                value = base64.b64decode(secret(reference["name"])[reference["key"]]).decode()
            variables[each["name"]] = value
        variables |= {"WORK": work, "REPORT": str(report), **place}
        done = subprocess.run(
            container["command"],
            env={**variables, "PATH": place.get("PATH", os.environ["PATH"])},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout + done.stderr == "", "a script prints nothing: its log would hold it"
        return done.returncode, report.read_text(encoding="utf-8") if report.exists() else ""


def as_message(lines: Lines) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)
