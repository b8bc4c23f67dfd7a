"""The live view of a terminal: steps as lines that stay, and below them what is happening now against the clock."""

from __future__ import annotations

import threading
import time
import typing as t
from datetime import datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.output.messages import Budget, Message, Started, Step, Summary, TaskStarted
from codeblue.output.plain import PlainLines
from codeblue.output.stream import abandon, write_line
from codeblue.output.style import against_budget

if t.TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_REFRESH_PER_SECOND = 4
_BAR_WIDTH = 30
_LOAD_SECONDS = 5.0


class LiveView:
    """Shows a run on a terminal.

    rich is imported in a thread, and not before the first event: neither the start of ansible-playbook nor the
    reading of its output waits for it. Until then lines are held back.

    :param stream: the terminal.
    :param verbosity: as for `PlainLines`.
    """

    def __init__(self, stream: t.TextIO, verbosity: int = 0) -> None:
        self._stream = stream
        self._plain = PlainLines(stream, verbosity)
        self._lock = threading.Lock()
        self._held: list[str] = []
        self._live: Live | None = None
        self._loader: threading.Thread | None = None
        self._gone = False
        self.state = _State()

    def emit(self, message: Message) -> None:
        self.state.take(message)
        if isinstance(message, Started):
            self._plain.emit(message)
            return
        if isinstance(message, Summary):
            self._finish()
            self._plain.emit(message)
            return
        lines = self._plain.lines(message)
        with self._lock:
            self._held += lines
        if self._loader is None:
            self._loader = threading.Thread(target=self._load, name="codeblue-live", daemon=True)
            self._loader.start()
        self._print_held()

    def close(self) -> None:
        self._finish()

    def _load(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False, soft_wrap=True)
        live = Live(
            get_renderable=lambda: self.state.render(console),
            console=console,
            refresh_per_second=_REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with self._lock:
            if self.state.ended or self._gone:
                return
            try:
                live.start()
            except OSError:
                self._leave()
                return
            self._live = live
        self._print_held()

    def _print_held(self) -> None:
        with self._lock:
            if self._live is None or self._gone:
                return
            lines, self._held = self._held, []
            from rich.text import Text

            try:
                for line in lines:
                    self._live.console.print(Text.from_ansi(line))
            except OSError:
                self._leave()

    def _finish(self) -> None:
        self.state.ended = True
        if self._loader is not None:
            self._loader.join(_LOAD_SECONDS)
        self._print_held()
        with self._lock:
            live, self._live = self._live, None
            lines, self._held = self._held, []
        if self._gone:
            return
        try:
            if live is not None:
                live.stop()
        except OSError:
            self._leave()
            return
        for line in lines:
            if not write_line(self._stream, line):
                self._gone = True
                return

    def _leave(self) -> None:
        """The terminal has gone. The run goes on; its record is in the store."""
        self._gone = True
        abandon(self._stream)


class _State:
    """What the lower part shows."""

    def __init__(self) -> None:
        self.started = time.time()
        self.now = "starting ansible-playbook"
        self.now_since = self.started
        self.budget: Budget | None = None
        self.done: dict[str, str] = {}
        self.ended = False

    def take(self, message: Message) -> None:
        """Keep what is of use."""
        if isinstance(message, Started):
            self.started = self.now_since = datetime.fromisoformat(message.at).timestamp()
        elif isinstance(message, TaskStarted):
            self.now, self.now_since = message.name, time.time()
        elif isinstance(message, Budget):
            self.budget = message
        elif isinstance(message, Step) and message.noteworthy and (len(self.done) < 50 or message.target in self.done):
            self.done[message.target] = message.summary

    def render(self, console: Console) -> RenderableType:
        """The lower part, three lines at most."""
        from rich.text import Text

        elapsed = time.time() - self.started
        text = Text()
        rto = self.budget.rto_seconds if self.budget else None
        if rto:
            share = min(1.0, elapsed / rto)
            filled = round(share * _BAR_WIDTH)
            colour = "green" if share < 0.6 else "yellow" if share < 0.9 else "bold red"
            text.append("━" * filled, style=colour).append("━" * (_BAR_WIDTH - filled) + " ", style="bright_black")
        text.append(against_budget(elapsed, rto) + "\n")
        width = max(20, console.width - 14)
        text.append("now ", style="dim").append(self.now[:width], style="bold")
        text.append(f" {time.time() - self.now_since:.1f} s", style="dim")
        forecast = self.forecast(elapsed)
        if forecast:
            text.append(f"\n{forecast}", style="dim")
        return text

    def forecast(self, elapsed: float) -> str | None:
        """When it will be over, by the runs before; None when there were none."""
        if self.budget is None or self.budget.expected_seconds is None:
            return None
        expected, rto = self.budget.expected_seconds, self.budget.rto_seconds
        basis = f"median of {self.budget.runs_before} runs before"
        if elapsed > expected:
            text = f"longer than usual: {format_duration(expected)} is the {basis}"
        else:
            text = f"about {format_duration(expected - elapsed)} to go ({basis})"
        return f"{text}; this will miss the objective" if rto and max(elapsed, expected) > rto else text
