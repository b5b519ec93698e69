"""Payment events on Kafka, in a FastStream application."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from carevalidate_async._extra import needs

with needs("kafka"):
    from faststream import AckPolicy, Context
    from faststream.kafka import Topic
    from faststream.kafka.message import KafkaAckableMessage
    from faststream.message import AckStatus

from carevalidate_async.consumer import Consumer
from carevalidate_async.events import Action
from carevalidate_async.integrations.faststream._end import ends
from carevalidate_async.integrations.faststream._partitions import Partitions
from carevalidate_async.integrations.faststream._raw import end_once_started, raw
from carevalidate_async.integrations.faststream._record import RecordDelivery
from carevalidate_async.integrations.mismatch import MismatchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka import AIOKafkaProducer
    from faststream.kafka import KafkaBroker
    from faststream.kafka.subscriber.usecase import BatchSubscriber
    from faststream.message import StreamMessage

    from carevalidate_async.consumer import Handler

__all__ = ["KafkaPayments"]

MAX_POLL_INTERVAL = 300.0
"""Seconds between two batches after which Kafka takes a consumer for dead."""

AFTER_A_FAILURE = 5.0
"""Seconds before a record is asked for again that could not be settled: its letter was refused."""

GIVE_WAY = 2.0
"""Seconds that a record waits for its next delivery, at most, while others wait behind it."""

_TICK = 0.2  # seconds; how soon it is seen that there is no more time to wait

_logger = logging.getLogger("carevalidate_async")


class KafkaPayments:
    """
    Confirms the payments that records of a topic bring.

    Records are taken in batches, and a batch's offsets are committed when all of it is settled: the
    slowest payment of a batch holds up the others. One that is to be asked for again is, in its
    batch; what takes too long is published again, behind all others of its key. No order is kept.

    Kafka does not count deliveries, and tells nobody which records a consumer had that died. So
    a payment that is refused may have been put on record by such a one, and is left to a person
    (``park``), unless its record came after this consumer had got the partition.

    A record that cannot be published again, for it is larger than the broker's
    ``max_request_size``, holds its partition up until that is raised.

    This is less tested than the other brokers: with a stand-in of Kafka, one consumer at a time.

    Args:
        broker: With ``enable_idempotence=True``, so that what is published is on all replicas. Its
            ``graceful_timeout`` is how long payments that are under way have to end when the
            application ends: more than the client's deadline for a call.

        handler: Says what is to be done with each message.

        topic: Of the events. All topics must be there; FastStream would make them without replicas.

        dead: Topic that dead letters go to.

        results: Topic that results go to; None for nowhere. It may hold one twice.

        group: Name of the group of consumers, which all processes share.

        concurrency: Records of a batch, at most, which are asked for at once.

        rate: Payments that it begins per second, at most; see `Consumer`.

        adaptive: Whether to go below both as the vendor's answers tell.

        max_poll_interval: Seconds that a batch may take before Kafka takes the consumer for dead. A
            fifth of it is how long it is held for what is to be asked for again; three are how long
            while the vendor is down; a fifth must suffice for a call.

        settings: Further ones of FastStream's subscriber, such as ``session_timeout_ms``.

        on_stop: Called with the reason when the application is ended, since the credential is
            refused or the client cannot send.

    Attributes:
        consumer: Has what was done so far, and why it stopped.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        handler: Handler,
        *,
        topic: str,
        dead: str,
        results: str | None = None,
        group: str = "carevalidate",
        concurrency: int = 64,
        rate: float | None = None,
        adaptive: bool = True,
        max_poll_interval: float = MAX_POLL_INTERVAL,
        on_stop: Callable[[str], None] | None = None,
        **settings: Any,  # noqa: ANN401 - whatever FastStream's subscriber knows
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._dead = dead
        self._results = results
        self._concurrency = concurrency
        self._hold = max_poll_interval / 5
        self._settings = {
            **settings,
            "group_id": group,
            "max_poll_interval_ms": round(max_poll_interval * 1000),
        }
        self._partitions = Partitions()
        self._subscribers: list[BatchSubscriber] = []
        self.consumer: Consumer = Consumer(
            handler,
            concurrency=concurrency,
            rate=rate,
            adaptive=adaptive,
            patience=max_poll_interval * 3 / 5,
            on_stop=ends(broker, self._subscribers, on_stop),
        )

    async def provision(self) -> None:
        """
        See that the topics are there, and subscribe; for ``on_startup``.

        An application that forgets it takes no record.

        Raises:
            MismatchError: A topic is not there, or the broker does not wait for all replicas.
        """
        await self._broker.connect()
        end_once_started(self._broker)
        if not self._broker._connection_kwargs["enable_idempotence"]:  # noqa: SLF001 - nobody tells
            raise MismatchError("the broker", ("enable_idempotence is False, not True",))
        there = (await self._producer.client.fetch_all_metadata()).topics()
        for name in (self._topic, self._dead, self._results):
            if name is not None and name not in there:
                raise MismatchError(f"topic {name}", ("it is not there",))
        if self._subscribers:
            return
        subscriber = self._broker.subscriber(
            Topic(self._topic, declare=False),
            batch=True,
            max_records=self._concurrency,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # what was taken back is no payment
            listener=self._partitions,
            # Not by hand: what never gets to _take, since a middleware raises, would be passed
            # over, and committed with the next batch. This policy goes back to it.
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
            include_in_schema=False,
            **self._settings,
        )
        subscriber(self._take, parser=self._parsed, decoder=raw)
        self._subscribers.append(subscriber)

    @property
    def _producer(self) -> AIOKafkaProducer:
        # FastStream's own publish() takes headers as text alone, and adds some.
        # FastStream has no public way to it.
        return self._broker.config.producer._producer.producer  # type: ignore[attr-defined] # noqa: SLF001

    async def _parsed(
        self,
        records: Any,  # noqa: ANN401 - aiokafka's
        original: Callable[[Any], Awaitable[StreamMessage[Any]]],
    ) -> StreamMessage[Any]:
        """Return what FastStream makes of a batch, or the mere batch: headers may be no text."""
        try:
            return await original(records)
        except Exception:  # noqa: BLE001 - headers are anybody's
            (subscriber,) = self._subscribers
            assert subscriber.consumer is not None, "records come from it"  # noqa: S101 - for mypy
            return KafkaAckableMessage(raw_message=records, body=b"", consumer=subscriber.consumer)

    async def _take(self, message: Any = Context("message")) -> None:  # noqa: ANN401, B008 - injected
        (subscriber,) = self._subscribers
        consumer, records = subscriber.consumer, message.raw_message
        async with self._partitions.batch(records):
            until = time.time() + self._hold
            deliveries = [
                RecordDelivery(
                    record,
                    self._producer,
                    dead=self._dead,
                    results=self._results,
                    may_be_known=self._partitions.may_be_known(consumer, record),
                )
                for record in records
            ]
            settled = await asyncio.gather(*(self._settle(each, until) for each in deliveries))
            await self._partitions.keep(consumer, zip(records, settled, strict=True))
        message.committed = AckStatus.ACKED  # FastStream has nothing to add.

    async def _settle(self, delivery: RecordDelivery, until: float) -> bool:
        """Ask for a record's payment until it is settled; return False where it was not."""
        while True:
            if delivery.due is not None and not await self._waited(delivery.due, until):
                return await _put_behind(delivery)
            delivery.begin()
            try:
                decision = await self.consumer.take(delivery)
            except Exception:
                _logger.exception("a record was not settled")
                if delivery.due is None:
                    await delivery.retry(AFTER_A_FAILURE)
            else:
                if decision.action is not Action.RETRY:
                    return decision.action is not Action.STOP
            delivery.begin_again()

    async def _waited(self, due: float, until: float) -> bool:
        """Wait for a moment; return False where others would wait for too long, too."""
        (subscriber,) = self._subscribers
        began = time.time()
        while (now := time.time()) < due:
            if now >= until or self._partitions.leaving or not subscriber.running:
                return False
            if now - began >= GIVE_WAY and self._partitions.others_wait(subscriber.consumer):
                return False
            await asyncio.sleep(min(due - now, _TICK))
        return True


async def _put_behind(delivery: RecordDelivery) -> bool:
    try:
        await delivery.put_behind()
    except Exception:
        _logger.exception("a record was not published again")
        return False
    return True
