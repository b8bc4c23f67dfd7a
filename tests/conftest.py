"""What tests of whole recoveries share: one clinic per session, healed before each test, and a fresh account."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
# Chosen here, once, and inherited by the workers of xdist: they have to collect the same tests.
os.environ.setdefault("CODEBLUE_KILL_SEED", str(random.SystemRandom().randrange(100_000)))

from clinic_site import Site
from codeblue.lab import Lab


@pytest.fixture(scope="session", autouse=True)
def own_spool_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a killed run leaves in a spool must not hold the clinic of another test, or of this account."""
    previous = os.environ.get("CODEBLUE_SPOOL_DIR")
    os.environ["CODEBLUE_SPOOL_DIR"] = str(tmp_path_factory.mktemp("spool", numbered=True) / "runs")
    yield
    if previous is None:
        del os.environ["CODEBLUE_SPOOL_DIR"]
    else:
        os.environ["CODEBLUE_SPOOL_DIR"] = previous


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    """The clinic of this session; about 3 s to start. `nobody` reaches it when the tests run as root."""
    parent = Path(tempfile.mkdtemp(prefix="cb-", dir="/var/tmp"))
    parent.chmod(0o755)
    lab = Lab(parent / "lab")
    lab.up()
    yield lab
    lab.down()
    shutil.rmtree(parent)


@pytest.fixture
def site(session_lab: Lab, tmp_path: Path) -> Site:
    """The clinic in its normal state, somebody working in it, and an account that has never run anything."""
    session_lab.heal()
    for receipts in session_lab.directory.glob("machines/*/codeblue/receipts"):
        shutil.rmtree(receipts)
    with session_lab.parts.postgresql.connect("db1", "clinic") as connection:
        connection.execute("update codeblue_check set checked_at = clock_timestamp()")
    return Site(session_lab, tmp_path)
