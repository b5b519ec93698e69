"""
How a run shows itself to a person while it goes on.

A live bar on a terminal, plain lines now and then without one. A display that breaks (a closed
terminal, a full pipe) never breaks the run.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO, cast

from carevalidate_async._output import harmless, mute, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console

PLAIN_SECONDS = 5.0
"""Seconds between two plain lines."""


class Display(Protocol):
    """Shows a run to a person; `show` makes one."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show where the run ended."""

    def update(self, *, done: int, total: int | None, failed: int) -> None:
        """Show how far the run is."""

    def say(self, text: str) -> None:
        """Show a line."""


def show(stream: TextIO | None) -> Display:
    """Return the display that suits *stream*; None is a stream that was closed from the start."""
    # Without a terminal rich is not even imported.
    if stream is not None and stream.isatty():
        try:
            from rich.console import Console
        except ImportError:
            return Plain(stream)
        console = Console(file=stream)
        if console.is_interactive:
            return Live(console)
    return Plain(stream)


class _Pace:
    """Where a run is, in words."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.done = 0
        self.total: int | None = None
        self.failed = 0

    def __str__(self) -> str:
        seconds = self._clock() - self._began
        rate = self.done / seconds if seconds > 0 else 0.0
        of = f" of {self.total:,}" if self.total is not None else ""
        parts = [f"{self.done:,}{of} rows", f"{rate:,.0f} rows/s", f"{self.failed:,} failed"]
        if self.total is not None and self.total > self.done and rate > 0:
            parts.append(f"{_duration((self.total - self.done) / rate)} left")
        return " · ".join(parts)


class Plain:
    """
    A plain line every few seconds, and one at the end.

    Args:
        stream: Where to; None for nowhere.

        seconds: Between two lines.

        clock: Gives seconds.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        seconds: float = PLAIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._clock = clock
        self._pace = _Pace(clock)
        self._next = clock() + seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.say(str(self._pace))

    def update(self, *, done: int, total: int | None, failed: int) -> None:
        """Show how far the run is, if it is time to."""
        self._pace.done, self._pace.total, self._pace.failed = done, total, failed
        if self._clock() >= self._next:
            self._next = self._clock() + self._seconds
            self.say(str(self._pace))

    def say(self, text: str) -> None:
        """Write a line."""
        say(text, self._stream)


class Live:
    """
    A bar that moves, below the lines that are said.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._pace = _Pace(time.monotonic)
        columns: list[Any] = [BarColumn(bar_width=24), TextColumn("{task.fields[pace]}")]
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=None, pace=self._pace)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._progress.stop()
            self._progress.console.file.flush()
        except OSError:
            mute(cast("TextIO", self._progress.console.file))

    def update(self, *, done: int, total: int | None, failed: int) -> None:
        """Show how far the run is."""
        self._pace.done, self._pace.total, self._pace.failed = done, total, failed
        self._progress.update(self._task, completed=done, total=total)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        with contextlib.suppress(OSError):
            text = harmless(text)
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
