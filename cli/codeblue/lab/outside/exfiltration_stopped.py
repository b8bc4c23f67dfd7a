"""Whether somebody outside receives data from the clinic, asked of the receiver's own count."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The implant sends twenty times a second; three times that long without anything is silence.
_SILENCE_SECONDS = 0.3


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    tally = Path(settings["root"]) / "intrusion" / "received"

    def ask() -> str:
        try:
            _bytes, last = tally.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return ""
        return "data arrives outside" if time.time() - float(last) < _SILENCE_SECONDS else ""

    return ask
