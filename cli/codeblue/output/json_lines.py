"""JSON lines on stdout: one message each, the last one is the summary."""

from __future__ import annotations

import json
import typing as t
from datetime import UTC, datetime

from codeblue.output.messages import Message
from codeblue.output.stream import write_line


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
        self._gone = not write_line(self._stream, json.dumps(line, ensure_ascii=False, default=str))

    def close(self) -> None:
        return
