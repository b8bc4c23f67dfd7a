"""What a fault did, and the records by which another process can undo it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from codeblue.lab.files import write_json
from codeblue.lab.layout import Layout


@dataclass(frozen=True)
class Injection:
    """What a fault did.

    :param struck_at: Unix seconds right before the damage was done.
    :param struck_monotonic: the same moment on CLOCK_MONOTONIC, which the prober's samples use too.
    :param already: the fault was there before; nothing was done.
    :param facts: what is known of the moment, e.g. which sentinel the standby had last.
    """

    fault: str
    struck_at: float
    struck_monotonic: float
    already: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def active_faults(layout: Layout) -> list[str]:
    """Injected and not healed yet, oldest first."""
    records = sorted(layout.faults.glob("fault-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [path.stem.removeprefix("fault-") for path in records]


def recorded(layout: Layout, name: str, do: Callable[[], Injection]) -> Injection:
    """Do the damage of a fault, unless it is active already, and keep what is needed to undo it."""
    record = layout.faults / f"fault-{name}.json"
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        return Injection(**{**known, "already": True})
    # Written before the damage, so that a heal knows of an injection that was interrupted.
    write_json(record, _as_record(Injection(name, time.time(), time.monotonic())))
    done = do()
    write_json(record, _as_record(done))
    return done


def undone(layout: Layout, undo: Callable[[str, dict[str, Any]], None]) -> None:
    """Take away the causes of all active faults, the newest first.

    :param undo: takes the name of a fault and the facts of its injection.
    """
    for name in reversed(active_faults(layout)):
        record = layout.faults / f"fault-{name}.json"
        undo(name, json.loads(record.read_text(encoding="utf-8"))["facts"])
        record.unlink()


def _as_record(injection: Injection) -> dict[str, Any]:
    return {
        "fault": injection.fault,
        "struck_at": injection.struck_at,
        "struck_monotonic": injection.struck_monotonic,
        "facts": injection.facts,
    }
