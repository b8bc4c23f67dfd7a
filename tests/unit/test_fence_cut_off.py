"""A fence that is cut off at any point can be released: what it changes for good is written down before."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_fence import FenceRecord, fence, release
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login, Member
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    RUNNING,
    ProcessUnit,
    UnitStatus,
)


class Unit(ProcessUnit):
    """A unit that is enabled, and a machine that dies at one call.

    :param dies_at: name of the method.
    """

    def __init__(self, dies_at: str) -> None:
        super().__init__("postgresql")
        self.dies_at = dies_at
        self.enabled = True

    def _alive(self, method: str) -> None:
        if method == self.dies_at:
            raise KeyboardInterrupt

    def status(self, deadline: Deadline) -> UnitStatus:
        self._alive("status")
        return UnitStatus(RUNNING, "active", starts_at_boot=self.enabled)

    def request_stop(self, deadline: Deadline) -> None:
        self._alive("request_stop")

    def set_start_at_boot(self, wanted: bool, deadline: Deadline) -> bool:
        self.enabled = wanted
        self._alive("set_start_at_boot")
        return True


@pytest.mark.parametrize("dies_at", ["status", "request_stop", "set_start_at_boot"])
@pytest.mark.parametrize("attempts", [1, 2])
def test_what_a_fence_had_changed_when_it_was_cut_off_is_taken_back(
    tmp_path: Path, dies_at: str, attempts: int
) -> None:
    data_dir, record = tmp_path / "data", str(tmp_path / "patient_db.5432.fence.json")
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    login = Login("/nonexistent", None, "127.0.0.1", 1, "postgres", "postgres")
    member = Member(login, str(data_dir), "127.0.0.1", 1)
    unit = Unit(dies_at)
    for _attempt in range(attempts):
        # The second one gets further when the first has disabled the unit.
        with contextlib.suppress(KeyboardInterrupt):
            fence(member, unit, record, 0.1, Deadline(5.0))
    assert (data_dir / "standby.signal").exists()
    unit.dies_at = ""
    release(member, unit, record, Deadline(5.0))
    assert not (data_dir / "standby.signal").exists() and unit.enabled
    assert FenceRecord.read(record) is None


def test_a_signal_that_was_there_before_stays(tmp_path: Path) -> None:
    data_dir, record = tmp_path / "data", str(tmp_path / "patient_db.5432.fence.json")
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    (data_dir / "standby.signal").touch()
    login = Login("/nonexistent", None, "127.0.0.1", 1, "postgres", "postgres")
    member = Member(login, str(data_dir), "127.0.0.1", 1)
    with pytest.raises(KeyboardInterrupt):
        fence(member, Unit("request_stop"), record, 0.1, Deadline(5.0))
    release(member, Unit(""), record, Deadline(5.0))
    assert (data_dir / "standby.signal").exists()
