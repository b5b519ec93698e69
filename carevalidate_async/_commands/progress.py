"""
How a run shows itself to a person while it goes on.

Live lines on a terminal, plain lines now and then without one. A display that breaks (a closed
terminal, a full pipe) never breaks the run.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO, cast

from carevalidate_async._commands.output import harmless, mute, say
from carevalidate_async._run.sight import Sight, in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console
    from rich.text import Text

PLAIN_SECONDS = 5.0
"""Seconds between two plain lines."""

LIVE_SECONDS = 0.2
"""Seconds between two pictures on a terminal, at least."""

_MOST_TOGETHER = 256  # lines of results that are printed together


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

    def update(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """Show how far the run is, if it is time to or *at_once*; all this in one thread."""

    def say(self, text: str) -> None:
        """Show a line."""

    def result(self, text: str, stream: TextIO | None) -> None:
        """Write a line of results to *stream*, where it may be among what is shown here."""


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

    def update(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """Show how far the run is, if it is time to or *at_once*."""
        self._sight = sight
        if at_once or self._clock() >= self._next:
            self._next = self._clock() + self._seconds
            self._look()

    def say(self, text: str) -> None:
        """Write a line."""
        say(text, self._stream)

    def result(self, text: str, stream: TextIO | None) -> None:
        """Write a line of results."""
        say(text, stream)

    def _look(self) -> None:
        if self._sight is not None:
            self.say(" · ".join(in_words(self._sight())))


class Live:
    """
    A bar that moves and what there is to know, below the lines that are said.

    Only who tells it something makes it move: a thread of its own would look at a run that changes
    meanwhile.

    Args:
        console: A terminal.

        seconds: Between two pictures, at least.

        clock: Gives seconds.
    """

    def __init__(
        self,
        console: Console,
        *,
        seconds: float = LIVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.live import Live as Screen
        from rich.progress import BarColumn, Progress, TextColumn

        self._seconds = seconds
        self._clock = clock
        self._next = clock()
        self._gone = False  # the terminal
        self._above: list[str] = []  # lines to be printed together: each printing costs a picture
        self._sight: Callable[[], Sight] | None = None
        columns: list[Any] = [BarColumn(bar_width=24), TextColumn("{task.fields[share]}")]
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=None, share="")
        self._screen = Screen(
            console=console,
            get_renderable=self._render,
            auto_refresh=False,
            redirect_stdout=False,  # it may be no terminal; see `result`
            transient=False,
        )

    def __enter__(self) -> Self:
        self._draw(self._screen.start)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._flush()
        try:
            self._screen.stop()
            self._screen.console.file.flush()
        except (OSError, ValueError):
            mute(cast("TextIO", self._screen.console.file))

    def update(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """Show how far the run is, if it is time to or *at_once*."""
        self._sight = sight
        self._flush()
        if at_once or self._clock() >= self._next:
            self._next = self._clock() + self._seconds
            self._draw(self._screen.refresh)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._above.append(text)
        self._flush()

    def result(self, text: str, stream: TextIO | None) -> None:
        """Write a line of results: above the bar, where *stream* is a terminal, before long."""
        if stream is None or not stream.isatty():
            say(text, stream)
            return
        self._above.append(text)
        if len(self._above) >= _MOST_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._above:
            text = self._text("\n".join(self._above))
            self._above.clear()
            self._draw(partial(self._screen.console.print, text, soft_wrap=True))

    def _draw(self, draw: Callable[[], object]) -> None:
        """Draw, unless the terminal is gone: what cannot be drawn, rich would keep for later."""
        if not self._gone:
            try:
                draw()
            except (OSError, ValueError):
                self._gone = True

    def _text(self, text: str) -> Text:
        """Return *text* as it is, without markup and emoji, as far as the terminal can show it."""
        from rich.text import Text

        encoding = self._screen.console.encoding
        return Text(harmless(text).encode(encoding, "backslashreplace").decode(encoding))

    def _render(self) -> Any:  # noqa: ANN401 - whatever rich can show
        from rich.console import Group

        if self._sight is None:
            return self._progress
        sight = self._sight()
        done = sight.counts.settled
        share = f"{done / sight.total:.0%}" if sight.total else ""
        self._progress.update(self._task, completed=done, total=sight.total, share=share)
        return Group(self._progress, *map(self._text, in_words(sight)))
