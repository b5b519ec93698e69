"""Payment events on RabbitMQ, in a FastStream application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from carevalidate_async._extra import needs

with needs("rabbit"):
    from faststream import AckPolicy, Context
    from faststream.rabbit import Channel, RabbitQueue

from carevalidate_async.consumer import Consumer
from carevalidate_async.integrations.faststream._end import ends
from carevalidate_async.integrations.faststream._parsing import parsed
from carevalidate_async.integrations.faststream._queues import Queues, provide_queues
from carevalidate_async.integrations.faststream._rabbit import Outbox, RabbitDelivery
from carevalidate_async.integrations.faststream._raw import end_once_started, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractIncomingMessage
    from faststream.rabbit import RabbitBroker
    from faststream.rabbit.subscriber.usecase import RabbitSubscriber

    from carevalidate_async.consumer import Handler

__all__ = ["RabbitPayments"]

DELAYS = (1.0, 5.0, 30.0, 300.0)
"""Seconds after which a message can be delivered again."""

PATIENCE = 1200.0
"""Seconds that one is held while the vendor is down: RabbitMQ waits half an hour for its ack."""

AFTER_A_FAILURE = 5.0
"""Seconds before a message comes again that could not be settled: its letter was refused, say."""


class RabbitPayments:
    """
    Confirms the payments that messages of a queue bring.

    The queue is a quorum queue. A message that is to come again after a while is published to a
    queue that holds it as long, and acknowledged then; dead letters and results likewise, so that a
    process that dies in between leaves a message twice, and never none.

    Args:
        broker: Its ``graceful_timeout`` is how long payments that are under way have to end when
            the application ends: more than the client's deadline for a call.

        handler: Says what is to be done with each message.

        queue: The queue's name. Bind it to your exchanges yourself.

        dead: Queue that dead letters go to. What was delivered a hundred times, and never came to a
            decision, goes there too, without headers of ours.

        results: Queue that results go to; None for nowhere. It may hold one twice; its message's id
            is the same then.

        concurrency: Messages that this process holds at once, at most.

        rate: Payments that it begins per second, at most; see `Consumer`.

        adaptive: Whether to go below both as the vendor's answers tell.

        delays: Seconds after which a message can be delivered again, ascending; the next one at or
            above what a decision asks for is taken, or the last one.

        patience: Seconds that a message is held while the vendor is down, before it is to come
            again. With the client's deadline for a call, it must stay below RabbitMQ's
            ``consumer_timeout``, half an hour by default.

        own_queues: Whether to make queues that are not there: *queue*, *dead*, *results* and one
            for each of *delays*. Otherwise they must be there, and how they are is yours to see to.

        on_stop: Called with the reason when the application is ended, since the credential is
            refused or the client cannot send.

    Attributes:
        consumer: Has what was done so far, and why it stopped.
    """

    def __init__(
        self,
        broker: RabbitBroker,
        handler: Handler,
        *,
        queue: str,
        dead: str,
        results: str | None = None,
        concurrency: int = 64,
        rate: float | None = None,
        adaptive: bool = True,
        delays: tuple[float, ...] = DELAYS,
        patience: float = PATIENCE,
        own_queues: bool = True,
        on_stop: Callable[[str], None] | None = None,
    ) -> None:
        if not delays or delays[0] <= 0 or list(delays) != sorted(set(delays)):
            raise ValueError("delays must be above 0, and ascending")
        self._broker = broker
        self._queues = Queues(work=queue, dead=dead, results=results, delays=delays)
        self._own_queues = own_queues
        self._concurrency = concurrency
        self._outbox: Outbox | None = None
        self._subscribers: list[RabbitSubscriber] = []
        self.consumer: Consumer = Consumer(
            handler,
            concurrency=concurrency,
            rate=rate,
            adaptive=adaptive,
            patience=patience,
            on_stop=ends(broker, self._subscribers, on_stop),
        )

    async def provision(self) -> None:
        """
        See that the queues are there, and as they must be, and subscribe; for ``on_startup``.

        An application that forgets it takes no message.

        Raises:
            MismatchError: They are there with other settings, under which payments could be lost.
        """
        connection = await self._broker.connect()
        end_once_started(self._broker)
        await provide_queues(connection, self._queues, own=self._own_queues)
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        self._outbox = Outbox(channel)
        if self._subscribers:
            return
        subscriber = self._broker.subscriber(
            RabbitQueue(self._queues.work, declare=False),
            channel=Channel(prefetch_count=self._concurrency),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            include_in_schema=False,
        )
        subscriber(self._take, parser=parsed, decoder=raw)
        self._subscribers.append(subscriber)

    async def _take(self, message: Any = Context("message")) -> None:  # noqa: ANN401, B008 - injected
        incoming: AbstractIncomingMessage = message.raw_message
        assert self._outbox is not None, "provision() subscribes"  # noqa: S101 - for the reader
        delivery = RabbitDelivery(incoming, self._outbox, self._queues)
        try:
            await self.consumer.take(delivery)
        except Exception:
            if not incoming.processed:  # It would keep its place until the connection ends.
                await self._put_off(delivery, incoming)
            raise

    async def _put_off(self, delivery: RabbitDelivery, incoming: AbstractIncomingMessage) -> None:
        try:
            await delivery.retry(AFTER_A_FAILURE)
        except Exception:  # noqa: BLE001 - whatever the matter is, what was met before is raised
            # Given back at once, it would come at once, before all others.
            await asyncio.sleep(AFTER_A_FAILURE)
            await incoming.nack()
