"""An event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class StoppedError(RuntimeError):
    """The loop was stopped before the coroutine had ended; another thread did that."""


class LoopThread:
    """
    A thread that runs an event loop, from when it is made until `stop`.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        # What is handed to the loop comes before its stop, or is refused: it is never forgotten.
        self._lock = threading.Lock()
        self._stopped = False
        # One that was forgotten does not keep the process from its end.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        # Its end is of the thread, too: whoever stops it may have a running loop of their own.
        with asyncio.Runner(loop_factory=lambda: self._loop):
            self._loop.run_forever()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """
        Return what a coroutine returns in the loop.

        Raises:
            RuntimeError: The thread is that of a process which this one was forked from.
            StoppedError: The loop was stopped before, or meanwhile.
        """
        if not self._thread.is_alive() and not self._stopped:
            what.close()
            raise RuntimeError("the sandbox runs in the process that this one was forked from")
        with self._lock:
            if self._stopped:
                what.close()
                raise StoppedError("the sandbox was closed meanwhile")
            future = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise StoppedError("the sandbox was closed meanwhile") from None

    def stop(self) -> None:
        """End the thread, and close the loop; what is not done in it yet is cancelled."""
        with self._lock:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
