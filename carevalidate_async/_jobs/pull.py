"""
Messages of a durable consumer, fetched as hands get free.

On nats-py itself, and not on FastStream: its subscribers hold messages that nobody works on yet,
and never let the event loop go once their connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import nats.errors
import nats.js.errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

FETCH_SECONDS = 1.0
"""How long one request for messages waits at the server: an end is heeded no later."""

AWAY_SECONDS = 1.0
"""Seconds between two requests to a server that is away."""

_logger = logging.getLogger("carevalidate_async")


async def pull(  # noqa: PLR0917 - a table of what it needs
    js: JetStreamContext,
    stream: str,
    durable: str,
    take: Callable[[Msg], Awaitable[None]],
    concurrency: int,
    ended: asyncio.Event,
) -> set[asyncio.Task[None]]:
    """
    Have each message taken in a task of its own, until *ended* is set.

    Args:
        js: JetStream.

        stream: The stream's name.

        durable: Name of the consumer.

        take: Settles a message; what it raises is logged, and leaves the message as it is.

        concurrency: Messages that are held at once, at most.

        ended: Set once no further one is to be taken; one that comes all the same is for *take* to
            give back.

    Returns:
        The tasks of those that are held still.
    """
    sub = await js.pull_subscribe_bind(durable=durable, stream=stream)
    tasks: set[asyncio.Task[None]] = set()
    ending = asyncio.ensure_future(ended.wait())
    try:
        while not ended.is_set():
            free = concurrency - len(tasks)
            if free <= 0:  # nats-py may give more than it was asked for
                await asyncio.wait({*tasks, ending}, return_when=asyncio.FIRST_COMPLETED)
                continue
            for message in await _fetched(sub, free, ending):
                task = asyncio.ensure_future(_taken(take, message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        ending.cancel()
        with contextlib.suppress(nats.errors.Error, OSError):
            await sub.unsubscribe()
    return tasks


async def _fetched(
    sub: JetStreamContext.PullSubscription, free: int, ending: asyncio.Future[Any]
) -> list[Msg]:
    try:
        return await sub.fetch(free, timeout=FETCH_SECONDS)
    except nats.errors.TimeoutError:
        return []
    except nats.errors.ConnectionClosedError:
        raise  # for good: the server has refused something
    except (nats.errors.Error, nats.js.errors.Error, OSError):
        # It is away, as its connection tells. Without a rest a closed one would fail for ever.
        await asyncio.wait({ending}, timeout=AWAY_SECONDS)
        return []


async def _taken(take: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
    try:
        await take(message)
    except Exception as error:  # noqa: BLE001 - of the broker or the program; it comes again
        _logger.warning("a message was not settled, and comes again: %s", type(error).__name__)
