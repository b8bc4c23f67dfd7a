"""The official client: loaded in part, and whole for everybody else."""

from __future__ import annotations

import subprocess
import sys

_PARTS = "ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_official"
_LOADER = "from ansible.plugins.loader import init_plugin_loader; init_plugin_loader(); import sys, importlib\n"


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", _LOADER + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_classes_of_objects_are_not_loaded_and_others_get_them() -> None:
    said = run(f"""
parts = importlib.import_module({_PARTS!r})
assert not [name for name in sys.modules if name.split(".")[0] == "kubernetes"]
assert parts.ApiClient(parts.Configuration()).user_agent
import kubernetes.client
print(kubernetes.client.V1Pod.__name__, kubernetes.client.ApiClient is parts.ApiClient)
""")
    assert said == "V1Pod False"


def test_a_client_that_is_there_already_is_used() -> None:
    said = run(f"""
import kubernetes.client
print(importlib.import_module({_PARTS!r}).ApiClient is kubernetes.client.ApiClient)
""")
    assert said == "True"
