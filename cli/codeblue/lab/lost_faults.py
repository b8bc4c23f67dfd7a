"""Faults that leave no member of the database: only a snapshot brings it back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from codeblue.lab.database_faults import kill_member
from codeblue.lab.faults import Fault, Injection
from codeblue.lab.layout import DATABASE_MEMBERS
from codeblue.lab.parts import Parts


class AllMembersLost(Fault):
    name: ClassVar[str] = "all_members_lost"
    summary: ClassVar[str] = "both database servers are killed and their data is damaged: none can be started again"
    hits: ClassVar[tuple[str, ...]] = ("patient_db", "auth", "records")
    rto_target: ClassVar[float | None] = 30.0
    # What was committed after the last archived segment is gone with the disks. The clinic's objective for the
    # database, as in the inventory.
    rpo_target: ClassVar[float] = 300.0
    needs_snapshot: ClassVar[tuple[str, ...]] = ("patient_db",)

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike()
        for member in DATABASE_MEMBERS:
            kill_member(parts, member)
        for member in DATABASE_MEMBERS:
            control = _control_file(parts, member)
            shutil.copy2(control, _kept(parts, member))
            with open(control, "r+b") as stream:
                stream.write(b"\0" * control.stat().st_size)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        for member in DATABASE_MEMBERS:
            data_dir = parts.layout.data_dir(member)
            for lost in data_dir.parent.glob(f"{data_dir.name}.lost-*"):
                shutil.rmtree(lost)
            control, kept = _control_file(parts, member), _kept(parts, member)
            if kept.exists():
                if control.exists() and not control.read_bytes().strip(b"\0"):
                    control.write_bytes(kept.read_bytes())
                kept.unlink()


LOST_FAULTS: tuple[type[Fault], ...] = (AllMembersLost,)


def _control_file(parts: Parts, member: str) -> Path:
    return parts.layout.data_dir(member) / "global" / "pg_control"


def _kept(parts: Parts, member: str) -> Path:
    """The control file from before, so that the lab can be healed when nothing recovered it."""
    return parts.layout.faults / f"pg_control-{member}"
