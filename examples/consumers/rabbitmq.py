"""
Confirms the payments that messages of a RabbitMQ queue bring: a loop on aio-pika, no framework.

``CAREVALIDATE_API_KEY=... AMQP_URL=amqp://... python examples/consumers/rabbitmq.py``

An event is a message of the quorum queue ``payments``: a payment as JSON, with a timestamp. Results
go to ``payments.done``, dead letters to ``payments.dead``; what is to come again later waits in
``payments.retry.<seconds>``. What is missing is made; where a queue has other arguments than here
this ends. Run as many of these processes as you like, under something that starts them again.

Guaranteed: each payment is on record once, or its message is in one of these queues, whoever is
killed. SIGTERM ends it with status 0 once what is asked for has been answered, or after ``DRAIN``
seconds. It ends with status 1 when the key is refused or the connection lost.

Not guaranteed: order, and that a result or a dead letter is published only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aio_pika

from carevalidate_async import CareValidate
from carevalidate_async.consumer import Consumer
from carevalidate_async.events import ConfirmHandler, Decision, Event
from carevalidate_async.integrations import letters

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1/")
NAME = os.environ.get("PAYMENTS", "payments")
CONCURRENCY = int(os.environ.get("CONCURRENCY", "64"))
DRAIN = float(os.environ.get("DRAIN", "25"))
SIGNALS = (signal.SIGTERM, signal.SIGINT)
DELAYS = (1, 5, 30, 300)  # seconds; a queue each, since a queue lets out its first message first

logger = logging.getLogger("payments")


class RabbitDelivery:
    """A message of a quorum queue; a `carevalidate_async.consumer.Delivery`."""

    def __init__(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        self._message = message
        self._channel = channel
        self._published = message.timestamp or datetime.now(UTC)
        before = str(message.headers.get(letters.ATTEMPT, 0))  # deliveries of what it is a copy of
        attempt = 1 + (int(before) if before.isdecimal() else 1)
        self.event = Event(
            id=message.correlation_id or message.message_id or f"{NAME}:{message.delivery_tag}",
            data=message.body,
            attempt=attempt,
            in_doubt=letters.in_doubt(message.headers) or message.redelivered or attempt > 1,
            age=letters.age_of(message.headers, self._published.timestamp()),
        )

    async def extend(self) -> None:
        """Nothing: RabbitMQ waits for half an hour (its consumer_timeout), and cannot be told."""

    async def publish(self, decision: Decision) -> None:
        """Send a result or a dead letter; return when RabbitMQ has it."""
        if letters.is_result(decision):
            await self._send("done", letters.result_body(self.event, decision), {})
        elif letters.is_letter(decision):
            original = self._headers()
            headers = letters.dead_headers(self.event, decision, source=NAME, original=original)
            await self._send("dead", self._message.body, headers)

    async def ack(self) -> None:
        """Acknowledge it."""
        await self._message.ack()

    async def retry(self, delay: float) -> None:
        """Send a copy to a queue that lets it out after a while, then acknowledge it."""
        seconds = next((each for each in DELAYS if each >= delay), DELAYS[-1])
        headers = {**self._headers(), letters.ATTEMPT: str(self.event.attempt)}
        await self._send(f"retry.{seconds}", self._message.body, headers)
        await self._message.ack()

    async def give_back(self) -> None:
        """Nothing: it is delivered again when this process ends, and earlier it would be to it."""

    def _headers(self) -> dict[str, str]:
        kept = self._message.headers.items()
        return {name: str(value) for name, value in kept if not name.startswith("x-")}

    async def _send(self, queue: str, body: bytes, headers: dict[str, str]) -> None:
        copy = aio_pika.Message(
            body,
            headers={**headers},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=self.event.id,  # not as message_id, by which aio-pika tells copies apart
            timestamp=self._published,
        )
        await self._channel.default_exchange.publish(copy, f"{NAME}.{queue}")


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Make the queues, or see that they are as they must be; return that of the events."""

    async def quorum(name: str, goes_to: str | None = None, **more: int) -> AbstractQueue:
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        if goes_to is not None:
            arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": goes_to}
            # By default RabbitMQ moves a message without seeing whether it arrives.
            arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        arguments |= {f"x-{key.replace('_', '-')}": value for key, value in more.items()}
        return await channel.declare_queue(name, durable=True, arguments=arguments)

    await quorum(f"{NAME}.done")
    await quorum(f"{NAME}.dead")
    for seconds in DELAYS:
        await quorum(f"{NAME}.retry.{seconds}", NAME, message_ttl=seconds * 1000)
    # RabbitMQ 4 gives a message up that came back 20 times, and loses it where nothing takes it.
    return await quorum(NAME, f"{NAME}.dead", delivery_limit=100_000)


async def main() -> str | None:
    """Consume until told to end; return why it ended by itself."""
    stop = asyncio.Event()
    async with await aio_pika.connect(URL) as connection, CareValidate() as care:
        handler, patience = ConfirmHandler(care), 600.0
        consumer = Consumer(
            handler, concurrency=CONCURRENCY, patience=patience, on_stop=lambda _: stop.set()
        )
        for sign in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(sign, consumer.stop, sign.name)
        # By default a message that no queue takes is dropped, and publish() does not say so.
        channel = await connection.channel(on_return_raises=True)
        channel.close_callbacks.add(lambda *_: consumer.stop("the connection is lost"))
        await channel.set_qos(prefetch_count=CONCURRENCY)  # by default everything is delivered
        queue = await declare(channel)
        held: set[asyncio.Task[None]] = set()

        async def take(message: AbstractIncomingMessage) -> None:
            try:
                await consumer.take(RabbitDelivery(message, channel))
            except Exception:
                logger.exception("message %s comes again", message.message_id)
                if not message.processed:  # it would hold its place until the connection ends
                    consumer.stop("a message cannot be settled")

        async def begin(message: AbstractIncomingMessage) -> None:
            task = asyncio.create_task(take(message))
            held.add(task)
            task.add_done_callback(held.discard)

        tag = await queue.consume(begin)
        await stop.wait()
        with contextlib.suppress(TimeoutError):  # what is held still is delivered again
            async with asyncio.timeout(DRAIN):
                if not channel.is_closed:
                    await queue.cancel(tag)
                while held:
                    await asyncio.wait(held)
    return None if consumer.stopped_by in {sign.name for sign in SIGNALS} else consumer.stopped_by


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(asyncio.run(main()))
