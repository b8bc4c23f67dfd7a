# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which snapshots of a database in RDS are kept, and how they are called."""

from __future__ import annotations

import datetime
import re

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import SERVICE_TAG
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_restore import beside
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_snapshots import (
    RdsSnapshot,
    snapshot_identifier,
    superseded,
)

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
RUN = "01K9Z5V6A8T7Q2N4M3R1C0X9YB"
# What RDS takes: letters, digits and single dashes, a letter first, no dash at the end.
TAKEN = re.compile(r"(?!.*--)[a-z][a-z0-9-]*[a-z0-9]")


def snapshot(age: float, name: str = "", service: str = "patient_db", status: str = "available") -> RdsSnapshot:
    tags = {SERVICE_TAG: service} if service else {}
    at = NOW - datetime.timedelta(days=age)
    return RdsSnapshot(name or f"codeblue-{age:g}", "", "us-east-1", "clinic-prod", status, at, tags=tags)


def test_only_own_ones_that_are_neither_new_nor_young_go() -> None:
    found = [
        snapshot(1),
        snapshot(2, status="failed"),
        snapshot(3),
        snapshot(29),
        snapshot(31),
        snapshot(40, name="before-the-upgrade"),
        snapshot(41, service=""),
        snapshot(42, service="billing_db"),
        snapshot(50),
    ]
    assert [each.identifier for each in superseded(found, "patient_db", 2, 30, NOW)] == ["codeblue-31", "codeblue-50"]
    assert superseded(found, "patient_db", 5, 30, NOW) == []


def test_names_are_such_as_rds_takes_them() -> None:
    for database in ("clinic", "c" * 63, "clinic-" + "d" * 56):
        assert TAKEN.fullmatch(snapshot_identifier(database, RUN, "on_demand"))
        name = beside(database, RUN)
        assert TAKEN.fullmatch(name) and len(name) <= 63 and "-restored-" in name
    assert beside("clinic", RUN, "codeblue") == "clinic-codeblue-m3r1c0x9yb"
