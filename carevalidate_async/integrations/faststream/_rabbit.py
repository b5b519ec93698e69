"""A message of RabbitMQ, and how it is settled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aio_pika import DeliveryMode, Message

from carevalidate_async.events import Event
from carevalidate_async.integrations.faststream._again import (
    AGAIN,
    again_headers,
    doubt_headers,
    earlier,
    leaves_doubt,
)
from carevalidate_async.integrations.letters import (
    age_of,
    dead_headers,
    in_doubt,
    is_letter,
    is_result,
    result_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel

    from carevalidate_async.events import Decision
    from carevalidate_async.integrations.faststream._queues import Queues

__all__ = ["Outbox", "RabbitDelivery"]

PUBLISH_TIMEOUT = 10.0
"""Seconds that RabbitMQ has to say that it has a message."""

_COUNT = "x-delivery-count"
_BROKERS = (_COUNT, "x-acquired-count", "x-death", "x-first-death-", "x-last-death-")


class Outbox:
    """
    Publishes messages, and waits until RabbitMQ has them.

    Args:
        channel: With confirms, and raising for what came back: otherwise a message for a queue that
            is not there is published with success, and gone.
    """

    def __init__(self, channel: AbstractRobustChannel) -> None:
        self._channel = channel
        self._turn = asyncio.Lock()

    async def send(self, message: Message, queue: str) -> None:
        """
        Publish *message*.

        Raises:
            Exception: RabbitMQ did not say that it has it.
        """
        # One by one: aio-pika tells what came back by the message's id alone, and publishers may
        # give one id to several. What it took for one that arrived would be lost.
        async with self._turn, asyncio.timeout(PUBLISH_TIMEOUT):
            await self._channel.ready()  # It is made anew after a connection was lost.
            await self._channel.default_exchange.publish(message, queue, mandatory=True)


class RabbitDelivery:
    """
    A message of RabbitMQ; a `carevalidate_async.consumer.Delivery`.

    Args:
        message: As aio-pika got it.

        outbox: Publishes.

        queues: What the queues are called.

    Attributes:
        event: The payment event that it brings.
    """

    def __init__(self, message: AbstractIncomingMessage, outbox: Outbox, queues: Queues) -> None:
        self._message = message
        self._outbox = outbox
        self._queues = queues
        self._decision: Decision | None = None
        headers = message.headers
        # Classic queues do not count, and tell only whether it was delivered before.
        again = max(_number(headers.get(_COUNT)), int(bool(message.redelivered)))
        published = message.timestamp
        self.event = Event(
            id=message.message_id or f"{queues.work}:{message.delivery_tag}",
            data=message.body,
            attempt=earlier(headers) + 1 + again,
            # One that was sent once more says whether its payment may be on record.
            in_doubt=bool(again) or bool(in_doubt(headers)),
            age=age_of(headers, None if published is None else published.timestamp()),
        )
        self._began = time.time() - (self.event.age or 0.0)

    async def extend(self) -> None:
        """Do nothing: RabbitMQ cannot be told."""

    async def publish(self, decision: Decision) -> None:
        """Publish a result or a dead letter; wait until RabbitMQ has it."""
        self._decision = decision
        if is_result(decision) and self._queues.results is not None:
            result = Message(
                result_body(self.event, decision),
                content_type="application/json",
                message_id=f"{decision.action}:{self.event.id}",
                delivery_mode=DeliveryMode.PERSISTENT,
            )
            await self._outbox.send(result, self._queues.results)
        elif is_letter(decision):
            headers = {
                **dead_headers(self.event, decision, source=self._queues.work),
                **doubt_headers(in_doubt=leaves_doubt(decision)),
            }
            await self._outbox.send(self._copy(headers), self._queues.dead)

    async def ack(self) -> None:
        """Acknowledge it."""
        await self._message.ack()

    async def retry(self, delay: float) -> None:
        """Have it delivered again after so many seconds, or the next longer delay there is."""
        doubt = leaves_doubt(self._decision)
        headers = again_headers(self._began, self.event.attempt or 1, in_doubt=doubt)
        await self._outbox.send(self._copy(headers), self._queues.retry(delay))
        await self._message.ack()

    async def give_back(self) -> None:
        """
        Leave it unacknowledged: it is delivered again when the application has ended.

        Given back before, it would come again at once, and be counted each time.
        """

    def _copy(self, headers: Mapping[str, str]) -> Message:
        """Return it as its publisher sent it, with further headers."""
        message = self._message
        # Not its user_id, which must be the connection's, nor its expiration: it has been taken.
        return Message(
            message.body,
            headers={**_kept(message.headers), **headers},
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            correlation_id=message.correlation_id,
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=message.message_id,
            priority=message.priority,
            reply_to=message.reply_to,
            timestamp=message.timestamp,
            type=message.type,
            app_id=message.app_id,
        )


def _kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that are its publisher's, and neither RabbitMQ's nor of an earlier try."""
    return {n: v for n, v in headers.items() if not n.startswith(_BROKERS) and n not in AGAIN}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
