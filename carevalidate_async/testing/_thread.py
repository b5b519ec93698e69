"""An event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class LoopThread:
    """
    A thread that runs an event loop, from when it is made until `stop`.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        # One that was forgotten does not keep the process from its end.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """
        Return what a coroutine returns in the loop.

        Raises:
            RuntimeError: The thread is that of a process which this one was forked from.
        """
        if not self._thread.is_alive():
            what.close()
            raise RuntimeError("the sandbox runs in the process that this one was forked from")
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def stop(self) -> None:
        """End the thread, and close the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
