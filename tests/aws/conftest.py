# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lab on AWS for the tests that ask for it, as it was filled; and an account with nothing in it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from codeblue.lab.aws import AwsLab
from codeblue.lab.injection import active_faults

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "kubernetes"))

from simulated_account import SimulatedAccount


@pytest.fixture(scope="session")
def running_lab() -> Iterator[AwsLab]:
    """A lab that is up."""
    directory = Path(tempfile.mkdtemp(prefix="codeblue-aws-"))
    found = AwsLab(directory / "lab")
    try:
        found.up()
        yield found
    finally:
        found.down()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def lab(running_lab: AwsLab) -> Iterator[AwsLab]:
    """The same, as it was filled."""
    yield running_lab
    parts = running_lab.parts
    if active_faults(running_lab.layout):
        running_lab.heal()
    else:
        parts.control.reset()
        assert parts.wait_steady() == []


@pytest.fixture(scope="session")
def running_account() -> Iterator[SimulatedAccount]:
    """One server for all tests of a worker."""
    with SimulatedAccount() as running:
        yield running


@pytest.fixture
def account(running_account: SimulatedAccount) -> SimulatedAccount:
    """An account with nothing in it."""
    running_account.reset()
    return running_account
