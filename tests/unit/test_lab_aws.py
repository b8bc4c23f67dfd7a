"""The lab on AWS, as far as it needs none: its faults, and what the documentation says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from codeblue.lab.aws.faults import aws_faults
from codeblue.lab.aws.outside import ASKED

ROOT = Path(__file__).parents[2]
RUNBOOKS = sorted(path.parent.name for path in ROOT.glob("runbooks/*/runbook.yml"))


def test_faults_hit_what_is_asked_from_outside() -> None:
    for fault in aws_faults().values():
        assert fault.hits and set(fault.hits) <= set(ASKED), fault.name
        assert fault.runbook is None or fault.runbook in RUNBOOKS, fault.name


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_runbook_has_two_faults(runbook: str) -> None:
    assert len([each for each in aws_faults().values() if each.runbook == runbook]) >= 2


def test_the_documentation_names_every_fault() -> None:
    page = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    section = page[page.index("## On AWS") : page.index("## What was learned")]
    assert not [name for name in aws_faults() if f"`{name}`" not in section]
