"""Every module for machines as Ansible ships it: its payload, its oldest Python, its contract (about 15 s)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from host_cluster import BIN_DIR, SERVER_USER, free_port, run_module

COLLECTION = Path(__file__).resolve().parents[2]
# Those that run on machines. What only documents an action is held against that action in the unit tests.
MODULES = sorted(
    path.stem
    for path in (COLLECTION / "plugins" / "modules").glob("*.py")
    if "run_action_only_module" not in path.read_text(encoding="utf-8")
)
CANARY = "canary-open-sesame-4711"


def _oldest_python() -> str | None:
    """A Python 3.8, where this machine has one."""
    found = [
        path for path in (shutil.which("python3.8"), *Path.home().glob(".pyenv/versions/3.8.*/bin/python3")) if path
    ]
    for path in reversed(found):
        if subprocess.run([path, "-c", "import json"], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None


def _step(directory: Path, key: str = "k", **changes: Any) -> dict[str, Any]:
    base = {"run_id": "run", "target": "records", "key": key, "generation": 1, "lock_dir": str(directory / "locks")}
    return {**base, **changes}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_shipped_keeps_to_python_3_8(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--target-version", "py38", "--select", "E9,F",
         str(COLLECTION / "plugins" / "modules" / f"{module}.py")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_library_keeps_to_python_3_8() -> None:
    python = _oldest_python()
    if python is None:
        pytest.skip("this machine has no Python 3.8")
    files = [
        str(path) for folder in ("module_utils", "modules") for path in (COLLECTION / "plugins" / folder).glob("*.py")
    ]
    script = "import sys\nfor path in sys.argv[1:]: compile(open(path).read(), path, 'exec')"
    done = subprocess.run([python, "-c", script, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# In a process of its own: Ansible's packer patches more than a test should let it.
_PACK = """
import json, sys
from ansible.plugins.loader import init_plugin_loader, module_loader
init_plugin_loader()
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
name, arguments, python = "codeblue.recovery." + sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
found = module_loader.find_plugin_with_context(name)
built = modify_module(
    module_name=found.resolved_fqcn,
    module_path=found.plugin_resolved_path,
    module_args={"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **arguments},
    templar=Templar(loader=DataLoader()),
    task_vars={"ansible_python_interpreter": python, "ansible_facts": {}},
)
sys.stdout.write(built.b_module_data.decode())
"""


def _payload(module: str, arguments: dict[str, Any], python: str, home: Path) -> str:
    """What Ansible would send to the machine."""
    done = subprocess.run(
        [sys.executable, "-c", _PACK, module, json.dumps(arguments), python],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    return done.stdout


@pytest.mark.parametrize("module", ["secret_file", "machine_evidence", "postgresql_status"])
def test_the_payload_runs_on_python_3_8(module: str, tmp_path: Path) -> None:
    python = _oldest_python()
    if python is None:
        pytest.skip("this machine has no Python 3.8")
    arguments: dict[str, dict[str, Any]] = {
        "secret_file": {
            "path": str(tmp_path / "secret"),
            "value": CANARY,
            "digest_salt": "salt-of-the-run",
            "step": _step(tmp_path),
        },
        "machine_evidence": {"log_files": []},
        "postgresql_status": {
            "bin_dir": str(BIN_DIR),
            "os_user": SERVER_USER,
            "port": free_port(),
            "data_dir": str(tmp_path / "none"),
        },
    }
    script = tmp_path / "payload.py"
    script.write_text(_payload(module, arguments[module], python, tmp_path))
    done = subprocess.run(
        [python, str(script)], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    result = json.loads(done.stdout)
    assert not result.get("failed"), result
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_there(module: str) -> None:
    """No module drags Ansible's or third-party code along beyond AnsibleModule."""
    script = (
        "import sys\n"
        f"import ansible_collections.codeblue.recovery.plugins.modules.{module}\n"
        "foreign = {'jinja2', 'cryptography', 'psycopg', 'httpx', 'sqlalchemy', 'ansible.parsing'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(foreign)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- the contract, shown at secret_file --------------------------------------------------------------------------


def test_a_secret_is_written_once_and_appears_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "database.password"
    path.write_text("the-earlier-secret")
    arguments = {"path": str(path), "value": CANARY, "digest_salt": "salt-of-the-run"}
    planned = run_module("secret_file", arguments, check=True, diff=True)
    assert planned.result["changed"] and planned.result["accepted_at"] is None
    assert path.read_text() == "the-earlier-secret" and not (tmp_path / "locks").exists()

    done = run_module("secret_file", {**arguments, "step": _step(tmp_path)}, diff=True)
    assert done.result["changed"] and done.result["accepted_at"] > 1e9
    assert done.result["after"] == planned.result["after"]
    assert done.result["diff"] == {"before": done.result["before"], "after": done.result["after"]}
    assert path.read_text() == CANARY

    repeated = run_module("secret_file", {**arguments, "step": _step(tmp_path)})
    assert repeated.result["already_done"] and repeated.result["changed"] is False
    assert repeated.result["before"] == done.result["before"]
    settled = run_module("secret_file", {**arguments, "step": _step(tmp_path, key="other")})
    assert settled.result["changed"] is False and settled.result["already_done"] is False

    for outcome in (planned, done, repeated, settled):
        assert CANARY not in outcome.output and "the-earlier-secret" not in outcome.output
    for receipt in (tmp_path / "locks").rglob("*"):
        if receipt.is_file():
            assert CANARY not in receipt.read_text() and "the-earlier-secret" not in receipt.read_text()


def test_without_a_step_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    refused = run_module("secret_file", {"path": str(path), "value": CANARY, "digest_salt": "salt"})
    assert refused.failed and refused.result["exit_code"] == 2 and "step is missing" in refused.result["msg"]
    assert not path.exists()


def test_a_replaced_controller_is_refused_in_one_line(tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "secret"), "value": CANARY, "digest_salt": "salt"}
    run_module("secret_file", {**arguments, "step": _step(tmp_path, key="a", generation=7)})
    refused = run_module("secret_file", {**arguments, "value": "other", "step": _step(tmp_path, key="b", generation=6)})
    assert refused.failed and refused.result["exit_code"] == 3
    assert "\n" not in refused.result["msg"] and refused.result["hint"]
    assert (tmp_path / "secret").read_text() == CANARY


def test_a_full_or_missing_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where a directory should be")
    arguments = {"path": str(tmp_path / "secret"), "value": CANARY, "digest_salt": "salt", "step": _step(tmp_path)}
    failed = run_module("secret_file", arguments)
    assert failed.failed and "locks" in failed.result["msg"]
    assert "Traceback" not in failed.output


def test_release_switch_lists_without_a_step_and_switches_with_one(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        (tmp_path / "releases" / version).mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1.1.0")
    listed = run_module("release_switch", {"release_root": str(tmp_path), "mode": "list"}).result
    assert listed["available"] == ["1.0.0", "1.1.0"] and listed["before"] == {"current": "1.1.0"}
    arguments = {"release_root": str(tmp_path), "version": "1.0.0", "reason": "1.1.0 is bad"}
    done = run_module("release_switch", {**arguments, "step": _step(tmp_path)}).result
    assert done["after"] == {"current": "1.0.0"} and done["history"][0]["previous"] == "1.1.0"
    missing = run_module("release_switch", {**arguments, "version": "9", "step": _step(tmp_path, key="m")})
    assert missing.result["exit_code"] == 3 and "no release 9" in missing.result["msg"]


# The specification that a module gives to AnsibleModule, taken where it gives it.
_SPECIFICATION = """
import importlib, json, sys
from ansible.module_utils import basic
def shown(argument_spec, **_options):
    print(json.dumps(argument_spec))
    sys.exit(0)
basic.AnsibleModule = shown
importlib.import_module("ansible_collections.codeblue.recovery.plugins.modules." + sys.argv[1]).main()
"""


def _compare(module: str, where: str, specified: dict[str, Any], documented: dict[str, Any]) -> None:
    assert set(specified) == set(documented), f"{module}: {where or 'options'}"
    for name, option in specified.items():
        said, place = documented[name], f"{module}: {where}{name}"
        assert said.get("type", "str") == option.get("type", "str"), place
        assert said.get("default") == option.get("default"), place
        assert said.get("required", False) == option.get("required", False), place
        assert said.get("choices") == option.get("choices"), place
        assert said.get("elements") == option.get("elements"), place
        _compare(module, f"{where}{name}.", option.get("options", {}), said.get("suboptions", {}))


@pytest.mark.parametrize("module", MODULES)
def test_documentation_and_specification_agree(module: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    name = f"codeblue.recovery.{module}"
    done = subprocess.run(
        ["ansible-doc", "-t", "module", "--json", name], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    documented = json.loads(done.stdout)[name]
    assert documented["doc"]["attributes"]["check_mode"]["support"] in ("full", "none", "partial")
    assert documented["examples"] and documented["return"]
    shown = subprocess.run([sys.executable, "-c", _SPECIFICATION, module], capture_output=True, text=True, check=True)
    _compare(module, "", json.loads(shown.stdout), documented["doc"]["options"])
