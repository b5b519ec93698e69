"""Rows that are read before they are needed, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from carevalidate_async._files.fields import FileRow, content_key

if TYPE_CHECKING:
    from carevalidate_async._files.rows import Rows

BATCH = 1024
"""Rows that are taken together, at most."""

MOST_ROWS = 3 * BATCH
"""
Rows that are read and not yet sent, at most: read ahead, and taken and waiting.

Those that wait count, so that a row is read for each one that is sent. The thread that reads would
else make up for a whole batch at once, and hold up the event loop so long (Python lets one thread
run at a time) that the vendor has answered all that was asked.
"""

MOST_BYTES = 16_777_216
"""Bytes of memory that rows take together, at most, which are read ahead, or taken together."""

Read: TypeAlias = tuple[FileRow, str]
"""A row, and the key that its content gives."""


class Ahead:
    """
    Reads rows in a thread, a bounded number ahead.

    A pipe that is silent holds up neither what is in flight nor the rows that it gave already.

    Args:
        reader: The file's rows.
    """

    def __init__(self, reader: Rows) -> None:
        self._reader = reader
        self._rows_read = 0
        self._loop = asyncio.get_running_loop()
        self._rows: deque[tuple[Read, int]] = deque()  # each with the bytes that it takes
        self._bytes = 0
        self._waiting = 0  # rows that were taken
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)  # there may be some, or no more are wanted
        self._news = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._closed = False
        # A daemon, since nothing can wake a thread that waits for its standard input.
        threading.Thread(target=self._work, name="rows", daemon=True).start()

    async def next(self, *, unless: asyncio.Event) -> list[Read] | None:
        """
        Return the rows there are, a batch at most, once there are any; None at the end.

        They count as waiting until `note` says how many do.

        Args:
            unless: Ends the wait for rows with None too.
        """
        while not unless.is_set():  # however many rows there are
            with self._lock:
                batch = [self._take() for _ in range(min(BATCH, len(self._rows)))]
                self._waiting += len(batch)
                self._room.notify()
                # Seen together with the rows: right after, the last of them may come.
                ended, error = self._ended, self._error
                if not self._rows and not ended:
                    self._news.clear()
            if batch:
                return batch
            if error is not None:
                raise error
            if ended:
                return None
            await _either(self._news, unless)
        return None

    def note(self, *, waiting: int) -> None:
        """Note how many of the rows that were taken wait to be sent: so many fewer are read."""
        with self._lock:
            self._waiting = waiting
            self._room.notify()

    def _take(self) -> Read:
        read, size = self._rows.popleft()
        self._bytes -= size
        return read

    @property
    def drained(self) -> bool:
        """Whether all rows there are were read, and taken."""
        with self._lock:
            return self._ended and self._error is None and not self._rows

    def estimate(self, size: int | None) -> int | None:
        """Return how many rows a file of *size* bytes has, going by what was read of it."""
        read = self._reader.bytes_read
        return self._rows_read * size // read if size and read else None

    def close(self) -> None:
        """Let the thread end."""
        with self._lock:
            self._closed = True
            self._room.notify()

    def _work(self) -> None:
        try:
            for row in self._reader:
                content = content_key(row.payment) if row.payment else ""
                self._rows_read += 1
                if not self._add((row, content)):
                    return
        except Exception as error:  # noqa: BLE001 - raised where the rows are awaited
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            self._ended, self._error = True, error
            self._tell()

    def _add(self, read: Read) -> bool:
        size = read[0].memory
        with self._lock:
            while not (self._closed or self._has_room(size)):
                self._room.wait()
            if not self._closed:
                self._rows.append((read, size))
                self._bytes += size
                if len(self._rows) == 1:
                    self._tell()
            return not self._closed

    def _has_room(self, size: int) -> bool:
        if not self._rows:  # for one, however long it is
            return True
        at_hand = len(self._rows) + self._waiting
        return at_hand < MOST_ROWS and self._bytes + size <= MOST_BYTES

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._news.set)


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
