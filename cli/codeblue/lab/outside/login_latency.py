"""A login is done within 0.4 s; normal are 10 to 30 ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codeblue.lab.outside.timed import Clinic, Timed


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    clinic = Clinic(settings)
    return Timed(clinic, clinic.login, 0.4)
