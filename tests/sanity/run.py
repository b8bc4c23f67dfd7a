"""Runs `ansible-test sanity` on the collection as its tarball installs it.

ansible-test refuses the symbolic link by which a checkout is a collection, so it gets the contents of a tarball that
is built here, outside of the checkout, because there git would tell it to ignore them. It runs with a HOME of its own:
its caches stay out of the user's, and no other copy of the collection is found there.

    python tests/sanity/run.py [TEST ...]
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# Kept: it holds the virtual environments that ansible-test makes for its tests.
_HOME = _ROOT / ".cache" / "sanity"
_BIN = Path(sys.executable).parent

# All that ansible-test has but pslint (PowerShell) and shellcheck (no such program from pip; there are no shell
# scripts in the collection).
TESTS = (
    "action-plugin-docs",
    "ansible-doc",
    "changelog",
    "compile",
    "empty-init",
    "ignores",
    "line-endings",
    "no-assert",
    "no-get-exception",
    "no-illegal-filenames",
    "no-smart-quotes",
    "pep8",
    "pylint",
    "replace-urlopen",
    "runtime-metadata",
    "shebang",
    "symlinks",
    "use-argspec-type-path",
    "use-compat-six",
    "validate-modules",
    "yamllint",
)

# What may be shipped to a machine must import there. Actions and what they use import the packages of pyproject.toml,
# which the environments of this test do not have.
IMPORTED = ("plugins/modules/", "plugins/module_utils/", "plugins/doc_fragments/")

# The pip that ansible-test of ansible-core 2.17 to 2.20 asks for (get_venv_packages in python_requirements.py).
_PIP_VERSION = "24.2"

# ansible-test downloads get-pip.py into each of its virtual environments from a host of its own. What it wants is in
# Python and on the package index that everything else here comes from.
_GET_PIP = """\
import subprocess
import sys

# In a process of its own: ensurepip leaves an environment behind in which pip reads no settings.
subprocess.check_call([sys.executable, "-m", "ensurepip"])
wanted = [each for each in sys.argv[1:] if each not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def main(tests: list[str]) -> int:
    """Build, unpack, run; returns the exit code of ansible-test.

    :param tests: names of tests; all of them when it is empty.
    """
    _bootstrap_script(_HOME)
    _pip_settings(_HOME)
    with tempfile.TemporaryDirectory(prefix="codeblue-sanity-") as work:
        collection = Path(work) / "ansible_collections" / "codeblue" / "recovery"
        _unpack(Path(work), collection)
        chosen = [argument for test in tests or TESTS for argument in ("--test", test)]
        return _sanity(collection, chosen) or (0 if tests else _sanity(collection, ["--test", "import", *IMPORTED]))


def _sanity(collection: Path, arguments: list[str]) -> int:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return subprocess.run(
        [str(_BIN / "ansible-test"), "sanity", "--local", "--color", "no", "--python", version, *arguments],
        cwd=collection,
        env={
            "HOME": str(_HOME),
            "PATH": os.pathsep.join((str(_BIN), os.environ.get("PATH", os.defpath))),
            "LC_ALL": "C.UTF-8",
        },
        check=False,
    ).returncode


def _unpack(work: Path, collection: Path) -> None:
    collection.mkdir(parents=True)
    subprocess.run(
        [str(_BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(work)],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (tarball,) = work.glob("*.tar.gz")
    with tarfile.open(tarball) as content:
        content.extractall(collection, filter="data")


def _bootstrap_script(home: Path) -> None:
    """Put the script where ansible-test looks before it downloads one."""
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{_PIP_VERSION.replace('.', '_')}.py").write_text(_GET_PIP)


def _pip_settings(home: Path) -> None:
    """Take over what pip is told here by files and by the environment; ansible-test passes on neither."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = {}
    for line in listed.splitlines():
        name, _equals, value = line.partition("=")
        settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    place = home / ".config" / "pip" / "pip.conf"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(settings.items())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
