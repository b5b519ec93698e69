"""
The feed of the page: what arrived, told to each watcher as server-sent events.

A watcher looks for what is new some ten times a second, in what is kept anyway: a request does no
work for being watched, and none at all while nobody watches. A watcher that is slow is told less
often; what was forgotten meanwhile is counted and told as skipped.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from carevalidate_async.sandbox._view import row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from carevalidate_async.sandbox._exchanges import Exchanges, ReceivedRequest

INTERVAL = 0.1
"""Seconds between two batches."""

BATCH = 500
"""Requests in a batch."""

BACKLOG = 10_000
"""Requests that a watcher can be behind; what is older is skipped."""

HEARTBEAT = 5.0
"""Seconds after which something is said, even if nothing happened."""


@attrs.frozen(kw_only=True)
class Batch:
    """
    What is new to a watcher.

    Attributes:
        mark: Where the watcher is to go on from, should it lose the connection.

        rows: Requests that are new, or have ended since they were told.

        skipped: How many were forgotten before they could be told.

        received: How many arrived in all.

        fresh: Whether what was told before is no longer true: everything was reset.
    """

    mark: str
    rows: list[dict[str, Any]]
    skipped: int
    received: int
    fresh: bool


class Watcher:
    """
    Knows what one watcher has been told.

    Args:
        exchanges: What arrived.

        salt: As for `row`.

        life: Tells this sandbox from others that had its port.

        mark: Where to go on from, as an earlier `Batch` gave it; all else begins anew.
    """

    def __init__(self, exchanges: Exchanges, salt: bytes, life: str, mark: str | None) -> None:
        self._exchanges = exchanges
        self._salt = salt
        self._life = life
        self._open: dict[int, ReceivedRequest] = {}  # told, and not ended by then
        self._told = 0
        self._era = -1
        parts = (mark or "").split("-")
        if len(parts) == 3 and parts[0] == life and all(part.isdecimal() for part in parts[1:]):
            era, told = int(parts[1][:18]), int(parts[2][:18])
            if era == exchanges.era and told <= exchanges.received:
                self._era, self._told = era, told

    def take(self) -> Batch | None:
        """Return what is new, None for nothing."""
        exchanges = self._exchanges
        fresh = self._era != exchanges.era
        if fresh:
            self._era, self._told = exchanges.era, 0
            self._open.clear()
        rows = [self._row(seen) for seen in list(self._open.values()) if seen.seconds is not None]
        for found in rows:
            del self._open[found["number"]]
        first = max(self._told + 1, exchanges.received - BACKLOG + 1)
        new = exchanges.some(first, BATCH)
        upto = new[-1].number if new else exchanges.received
        skipped = upto - self._told - len(new)
        self._told = upto
        self._open.update((seen.number, seen) for seen in new if seen.seconds is None)
        rows += map(self._row, new)
        if not (rows or skipped or fresh):
            return None
        # What is still open will have to be told again.
        since = min(self._open, default=self._told + 1) - 1
        return Batch(
            mark=f"{self._life}-{self._era}-{since}",
            rows=rows,
            skipped=skipped,
            received=exchanges.received,
            fresh=fresh,
        )

    def _row(self, seen: ReceivedRequest) -> dict[str, Any]:
        return row(seen, self._salt)


def event(name: str, data: object, mark: str | None = None) -> bytes:
    """Return a server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=float)
    told = "" if mark is None else f"id: {mark}\n"
    return f"{told}event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


async def watch(
    watcher: Watcher,
    about: Mapping[str, Any],
    state: Callable[[], Mapping[str, Any]],
    write: Callable[[bytes], Awaitable[None]],
) -> NoReturn:
    """
    Tell a watcher what is new, until cancelled.

    Args:
        watcher: What it was told.

        about: What there is to know once.

        state: Gives what else there is to know, told whenever it is another.

        write: Sends to the watcher, and waits while that is behind.
    """
    loop = asyncio.get_running_loop()
    known: Mapping[str, Any] | None = None
    silent_since = -math.inf
    await write(b"retry: 1000\n\n" + event("about", about))
    while True:
        parts = []
        batch = watcher.take()
        if batch is not None:
            data = {
                "rows": batch.rows,
                "skipped": batch.skipped,
                "received": batch.received,
                "fresh": batch.fresh,
            }
            parts.append(event("batch", data, batch.mark))
        now = state()
        if now != known:
            known = now
            parts.append(event("state", known))
        if not parts and loop.time() - silent_since >= HEARTBEAT:
            parts.append(event("beat", {}))
        if parts:
            silent_since = loop.time()
            await write(b"".join(parts))
        await asyncio.sleep(INTERVAL)
