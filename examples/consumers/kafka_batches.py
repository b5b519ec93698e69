"""
Confirms the payments that records of a Kafka topic bring: batches on aiokafka, no framework.

``CAREVALIDATE_API_KEY=... KAFKA_SERVERS=127.0.0.1:9092 python examples/consumers/kafka_batches.py``

An event is a record of the topic ``payments``: a payment as JSON. Results go to ``payments.done``,
dead letters to ``payments.dead``; all three must be there. Run one of these processes a partition
at most. The payments of a batch are asked for at once, each until it is settled, and then the
batch's offsets are committed: its slowest payment holds up all that come after it.

Guaranteed: each payment is on record once, or its record is not committed or a dead letter, whoever
is killed. SIGTERM ends it with status 0 once what is asked for has been answered, or after
``DRAIN`` seconds. It ends with status 1 when the key is refused.

Not guaranteed: order within a partition, and that a result or a dead letter is published only once.
Kafka does not say whether somebody had a record before. So what the vendor refuses is parked, since
it may be on record, and what is older than a day is parked unasked, since its key may be forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from carevalidate_async import CareValidate
from carevalidate_async.consumer import Consumer
from carevalidate_async.events import ConfirmHandler, Decision, Event
from carevalidate_async.integrations import letters

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord, TopicPartition

    Batch = dict[TopicPartition, list["KafkaDelivery"]]

SERVERS = os.environ.get("KAFKA_SERVERS", "127.0.0.1:9092")
TOPIC = os.environ.get("PAYMENTS", "payments")
CONCURRENCY = int(os.environ.get("CONCURRENCY", "64"))
DRAIN = float(os.environ.get("DRAIN", "25"))
SIGNALS = (signal.SIGTERM, signal.SIGINT)
HOUR = 3_600_000  # milliseconds

logger = logging.getLogger("payments")


class KafkaDelivery:
    """
    A record; a `carevalidate_async.consumer.Delivery`.

    Kafka delivers none again, so who has it asks again.
    """

    def __init__(self, record: ConsumerRecord, producer: AIOKafkaProducer) -> None:
        self._record = record
        self._producer = producer
        self._headers = {n: (v or b"").decode("utf-8", "replace") for n, v in record.headers}
        self.offset: int = record.offset
        self.attempt = 1
        self.settled = False
        self.wait = 1.0  # seconds until it is asked for again

    @property
    def event(self) -> Event:
        """The payment event that it brings."""
        return Event(
            id=f"{self._record.topic}:{self._record.partition}:{self._record.offset}",
            data=self._record.value or b"",
            attempt=self.attempt,
            in_doubt=True,
            age=letters.age_of(self._headers, self._record.timestamp / 1000),
        )

    async def extend(self) -> None:
        """Nothing: aiokafka tells Kafka that this process lives."""

    async def publish(self, decision: Decision) -> None:
        """Send a result or a dead letter; return when Kafka has it."""
        event, send = self.event, self._producer.send_and_wait
        if letters.is_result(decision):
            await send(f"{TOPIC}.done", letters.result_body(event, decision), key=self._record.key)
        elif letters.is_letter(decision):
            headers = letters.dead_headers(event, decision, source=TOPIC, original=self._headers)
            pairs = [(name, value.encode()) for name, value in headers.items()]
            await send(f"{TOPIC}.dead", self._record.value, key=self._record.key, headers=pairs)

    async def ack(self) -> None:
        """Note that it may be committed."""
        self.settled = True

    async def retry(self, delay: float) -> None:
        """Note when it is to be asked for again."""
        self.wait = delay

    async def give_back(self) -> None:
        """Nothing: what is not committed comes again."""


async def main() -> str | None:
    """Consume until told to end; return why it ended by itself."""
    stop = asyncio.Event()
    kafka = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=SERVERS,
        group_id="carevalidate",
        enable_auto_commit=False,  # by default what was fetched is committed, settled or not
        auto_offset_reset="earliest",  # by default a new group misses what is there already
        isolation_level="read_committed",  # by default payments of aborted transactions come, too
        max_poll_interval_ms=HOUR,  # for a batch; then the group gives its partitions to others
    )
    producer = AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True)  # acks="all"
    async with kafka, producer, CareValidate() as care:
        # One that stays in doubt holds up its partition, so it is parked after a minute.
        handler = ConfirmHandler(care, max_doubts=8, first_delay=0.5, max_delay=30)
        consumer = Consumer(handler, concurrency=CONCURRENCY, on_stop=lambda _: stop.set())
        for sign in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(sign, consumer.stop, sign.name)
        while not stop.is_set():
            records = await kafka.getmany(timeout_ms=1000, max_records=CONCURRENCY)
            batch = {tp: [KafkaDelivery(r, producer) for r in records[tp]] for tp in records}
            await settle(batch, consumer, stop)
            await commit(batch, kafka)
    return None if consumer.stopped_by in {sign.name for sign in SIGNALS} else consumer.stopped_by


async def settle(batch: Batch, consumer: Consumer, stop: asyncio.Event) -> None:
    """Ask for each payment of *batch* until it is settled, or *stop* is set."""
    stopped = asyncio.create_task(stop.wait())

    async def one(delivery: KafkaDelivery) -> None:
        while not delivery.settled and not stop.is_set():
            try:
                await consumer.take(delivery)
            except Exception:
                logger.exception("%s is asked for again", delivery.event.id)
            if not delivery.settled:
                await asyncio.wait({stopped}, timeout=delivery.wait)
                delivery.attempt += 1

    ended = asyncio.gather(*(one(delivery) for part in batch.values() for delivery in part))
    either: set[asyncio.Future[Any]] = {ended, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            await ended
    stopped.cancel()


async def commit(batch: Batch, kafka: AIOKafkaConsumer) -> None:
    """Commit each partition up to its first record that is not settled."""
    offsets = {}
    for tp in batch.keys() & kafka.assignment():
        settled = [*itertools.takewhile(lambda delivery: delivery.settled, batch[tp])]
        if settled:
            offsets[tp] = settled[-1].offset + 1
    if offsets:
        try:
            await kafka.commit(offsets)
        except KafkaError as error:
            logger.warning("not committed, so it comes again: %s", error)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(asyncio.run(main()))
