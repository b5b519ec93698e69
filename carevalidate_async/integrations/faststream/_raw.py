"""What all brokers share: a message's bytes as they came, and the application's end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from faststream._internal.broker import BrokerUsecase
    from faststream.message import StreamMessage

_MOMENT = 0.05  # seconds

_logger = logging.getLogger("carevalidate_async")


async def raw(message: StreamMessage[Any]) -> bytes:
    """
    Return a message's bytes; FastStream's name for it is a decoder.

    Amounts stay exact, and what is no JSON gets to the dead letters rather than coming again and
    again.
    """
    return message.body


def end_once_started(broker: BrokerUsecase[Any, Any, Any]) -> None:
    """
    Have the application of *broker* end no earlier than it has started; for ``on_startup``.

    One that is told to end in the midst of its start stops the broker, and goes on to start its
    subscribers: they then fail without a rest, and nothing ends any more.
    """
    app = broker.context.get("app")
    if app is None:
        return
    end, later = app.exit, asyncio.get_running_loop().call_later

    def end_later() -> None:
        if broker.running:
            end()
        else:
            later(_MOMENT, end_later)

    app.exit = end_later


def ends_app(
    broker: BrokerUsecase[Any, Any, Any], also: Callable[[str], None] | None
) -> Callable[[str], None]:
    """Return what ends the application of *broker*, as SIGTERM would, and then calls *also*."""

    def end(reason: str) -> None:
        app = broker.context.get("app")
        if app is None:
            _logger.error("there is no FastStream application to end: %s", reason)
        else:
            app.exit()
        if also is not None:
            also(reason)

    return end
