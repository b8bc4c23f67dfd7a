"""JSON lines on stdout: one message each, the last one is the summary."""

from __future__ import annotations

import json
import typing as t
from datetime import UTC, datetime

from codeblue.output.messages import Message


class JsonLines:
    """Writes every message as it comes.

    :param stream: flushed after each line, so that a reader sees it at once.
    """

    def __init__(self, stream: t.TextIO) -> None:
        self._stream = stream
        self._gone = False

    def emit(self, message: Message) -> None:
        if self._gone:
            return
        line = {**message.as_dict(), "time": datetime.now(UTC).isoformat(timespec="microseconds")}
        try:
            self._stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._stream.flush()
        except OSError:
            # Nobody reads any more. The run goes on; its record is in the store.
            self._gone = True

    def close(self) -> None:
        return
