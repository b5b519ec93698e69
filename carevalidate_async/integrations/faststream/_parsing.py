"""A message that FastStream cannot parse is a message still: it belongs to the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream.message import StreamMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["parsed"]


async def parsed(
    message: Any,  # noqa: ANN401 - the broker's
    original: Callable[[Any], Awaitable[StreamMessage[Any]]],
) -> StreamMessage[Any]:
    """
    Return what FastStream makes of *message*, or the mere message; FastStream's name is a parser.

    What a parser raises never gets to a subscriber: such a message would come again and again, or
    be passed over for good.
    """
    try:
        return await original(message)
    except Exception:  # noqa: BLE001 - headers and envelopes are anybody's
        return StreamMessage(raw_message=message, body=b"")
