"""
How a run shows itself to a person while it goes on.

Live lines on a terminal, plain lines now and then without one. A display that breaks (a closed
terminal, a full pipe) never breaks the run.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO, cast

from carevalidate_async._commands.output import harmless, mute, say
from carevalidate_async._run.sight import Sight, in_words

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

    def update(self, sight: Callable[[], Sight]) -> None:
        """Show how far the run is, or remember how to find out."""

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
        self._sight: Callable[[], Sight] | None = None
        self._next = clock() + seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._look()

    def update(self, sight: Callable[[], Sight]) -> None:
        """Show how far the run is, if it is time to."""
        self._sight = sight
        if self._clock() >= self._next:
            self._next = self._clock() + self._seconds
            self._look()

    def say(self, text: str) -> None:
        """Write a line."""
        say(text, self._stream)

    def _look(self) -> None:
        if self._sight is not None:
            self.say(" · ".join(in_words(self._sight())))


class Live:
    """
    A bar that moves and what there is to know, below the lines that are said.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live as Screen
        from rich.progress import BarColumn, Progress, TextColumn

        self._sight: Callable[[], Sight] | None = None
        columns: list[Any] = [BarColumn(bar_width=24), TextColumn("{task.fields[share]}")]
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=None, share="")
        self._screen = Screen(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=False
        )

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._screen.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._screen.stop()
            self._screen.console.file.flush()
        except OSError:
            mute(cast("TextIO", self._screen.console.file))

    def update(self, sight: Callable[[], Sight]) -> None:
        """Remember how to find out how far the run is."""
        self._sight = sight

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        with contextlib.suppress(OSError):
            text = harmless(text)
            self._screen.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Any:  # noqa: ANN401 - whatever rich can show
        from rich.console import Group
        from rich.text import Text

        if self._sight is None:
            return self._progress
        sight = self._sight()
        done = sight.counts.settled
        share = f"{done / sight.total:.0%}" if sight.total else ""
        self._progress.update(self._task, completed=done, total=sight.total, share=share)
        lines = [
            Text(harmless(line), no_wrap=True, overflow="ellipsis") for line in in_words(sight)
        ]
        return Group(self._progress, *lines)
