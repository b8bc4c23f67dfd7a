"""Which output fits where it goes."""

from __future__ import annotations

import os
import sys

from codeblue.output.messages import Output


def choose_output(as_json: bool, verbosity: int = 0) -> Output:
    """JSON lines when asked for, a live view on a terminal, else plain lines."""
    if as_json:
        from codeblue.output.json_lines import JsonLines

        return JsonLines(sys.stdout)
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb"):
        from codeblue.output.live import LiveView

        return LiveView(sys.stdout, verbosity)
    from codeblue.output.plain import PlainLines

    return PlainLines(sys.stdout, verbosity)
