"""What becomes of the signals that ask a command to end: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOTE = "Stopping: payments in flight are finished first; once more to stop at once"


@contextlib.contextmanager
def signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* on the event loop for each signal that asks to end."""
    import asyncio

    loop = asyncio.get_running_loop()
    with _handled(lambda: loop.call_soon_threadsafe(stop)):
        yield


_own = False  # whether the process is the command's own


class Stops:
    """
    Stops a run for each signal that asks to end; a context that outlives the event loop.

    Between the end of the run and its last words such signals do nothing; after these there is no
    more to lose, and one ends the process at once, with the status that was told. So does the
    second one, as soon as they are said: the event loop would wait for a thread that looks up a
    name.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._ask: Callable[[], object] | None = None
        self._status: int | None = None
        self._before: Mapping[int, object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        _restore(self._before)

    def begin(
        self, stop: Callable[[], None], note: Callable[[str], None], said: str = NOTE
    ) -> None:
        """Call *stop* on the event loop for each signal from now on, *note* being told *said*."""
        import asyncio

        loop = asyncio.get_running_loop()

        def ask() -> None:
            if self._ask is not None:  # or it came too late
                note(said)
                stop()

        self._ask = functools.partial(loop.call_soon_threadsafe, ask)
        self._before = _handle(self._signalled)

    def end(self) -> None:
        """Note that the run is over."""
        self._ask = None

    def told(self, status: int) -> None:
        """Note that the last words are said, and what the exit status is."""
        self._status = status
        if self._asked > 1 and _own:
            _leave(status)

    def _signalled(self) -> None:
        self._asked += 1
        if self._ask is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._ask()
        elif self._status is not None:
            _leave(self._status)


class Interruption:
    """
    Cancels a task for each signal that asks to end; a context that outlives the event loop.

    Once the task is over such signals do nothing, so that its last words can be said.
    """

    def __init__(self) -> None:
        self._asked = False
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        self._signals = _handled(self._ask)
        self._signals.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._signals.__exit__(None, None, None)

    def attach(self) -> None:
        """Cancel the current task, at once where a signal came before."""
        import asyncio

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: a coroutine runs in one
        self._cancel = functools.partial(loop.call_soon_threadsafe, task.cancel)
        if self._asked:
            task.cancel()

    def _ask(self) -> None:
        self._asked = True
        if self._cancel is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._cancel()


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Let no signal change the exit status of this process once the command in here has ended."""
    global _own  # noqa: PLW0603 - there is one process
    _own = True
    try:
        yield
    finally:
        _own = False
        for number in _numbers():
            # Python itself gives up its handlers before the process is gone, but not this.
            signal.signal(number, signal.SIG_IGN)


def _leave(status: int) -> NoReturn:
    """End the process at once, with nothing unsaid."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # or the signal came within it
            stream.flush()
    os._exit(status)


@contextlib.contextmanager
def _handled(ask: Callable[[], object]) -> Iterator[None]:
    before = _handle(ask)
    try:
        yield
    finally:
        _restore(before)


def _handle(ask: Callable[[], object]) -> Mapping[int, object]:
    """Call *ask* for each signal that asks to end; return how they were handled before."""

    def handle(_number: int, _frame: object) -> None:
        ask()

    # Who ignores a hangup (nohup) goes on.
    wanted = [
        n for n in _numbers() if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN
    ]
    return {n: signal.signal(n, handle) for n in wanted}


def _numbers() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _restore(before: Mapping[int, object]) -> None:
    if _own:
        return  # it is about to exit
    for number, handler in before.items():
        signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]  # what signal() gave
