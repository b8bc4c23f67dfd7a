"""A write to the records is done within 0.4 s; normal are 5 to 15 ms. What is written is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codeblue.lab.outside.timed import Clinic, Timed


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    clinic = Clinic(settings)
    return Timed(clinic, lambda: clinic.ask("records", "GET", "/health/write")[0], 0.4)
