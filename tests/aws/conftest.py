# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One lab on AWS for all tests of a worker that ask for it; each of them gets it as it was filled."""

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
