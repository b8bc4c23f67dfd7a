"""Tickets, notifications and copied heads are sent off when a run has ended, by a process that nobody waits for."""

from __future__ import annotations

import os
import subprocess
import sys

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

# More than a few slow destinations need; what is left waits for the next run or for a timer.
_SECONDS = 60


def send_off() -> str | None:
    """Start to deliver, where there is anything to deliver to.

    :returns: what a person should know, or None. Paperwork never fails a recovery.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_destinations import load_destinations

    try:
        if not any(load_destinations().values()):
            return None
        # A session of its own: it outlives the terminal that the run was started from.
        subprocess.Popen(
            [sys.executable, "-m", "codeblue", "outbox", "deliver", "--seconds", str(_SECONDS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=os.sep,
        )
    except (CodeblueError, OSError) as error:
        return f"tickets and notifications were not sent: {error}; they wait, send them with: codeblue outbox deliver"
    return None
