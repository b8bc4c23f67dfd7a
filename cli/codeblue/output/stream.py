"""Writing to somebody who may have left."""

from __future__ import annotations

import os
import typing as t


def write_line(stream: t.TextIO, line: str) -> bool:
    """Write a line at once.

    :returns: False when nobody reads any more. A run goes on all the same: its record is in the store.
    """
    try:
        try:
            stream.write(line + "\n")
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "replace").decode("ascii") + "\n")
        stream.flush()
    except OSError:
        abandon(stream)
        return False
    return True


def abandon(stream: t.TextIO) -> None:
    """Let what is still buffered go nowhere, or Python would fail once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
