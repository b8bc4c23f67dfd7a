"""One lab for all drills of a session, and a state directory that is not the user's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from codeblue.lab import Lab


@pytest.fixture(scope="session")
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For the commands that are started, and for what the tests themselves ask the state store."""
    directory = tmp_path_factory.mktemp("state")
    previous = {name: os.environ.get(name) for name in ("XDG_STATE_HOME", "CODEBLUE_LAB_DIR", "CODEBLUE_STATE_URL")}
    os.environ["XDG_STATE_HOME"] = str(directory)
    os.environ.pop("CODEBLUE_STATE_URL", None)
    yield directory
    for name, value in previous.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def clinic(state_directory: Path) -> Iterator[Lab]:
    """A lab that is up. Drills use it as it is, and leave it up."""
    # Below /var/tmp, where `nobody` can reach it: PostgreSQL runs as that user when the tests run as root.
    parent = Path(tempfile.mkdtemp(prefix="cb-drills-", dir="/var/tmp"))
    parent.chmod(0o755)
    lab = Lab(parent / "lab")
    os.environ["CODEBLUE_LAB_DIR"] = str(lab.directory)
    lab.up()
    yield lab
    lab.down()
    shutil.rmtree(parent)


@pytest.fixture
def lab(clinic: Lab) -> Iterator[Lab]:
    """The clinic in its normal state, and again afterwards."""
    yield clinic
    clinic.heal()
