# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where state is kept on this machine; for those who need it before the store is imported."""

from __future__ import annotations

import os
from pathlib import Path


def state_place() -> Path:
    """`$XDG_STATE_HOME/codeblue`, whether it is there or not."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "codeblue"
