"""What a consumer of Kafka knows of its partitions: what is settled, what others may have had."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeAlias

# aiokafka has no types.
from aiokafka import (
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]

__all__ = ["Partitions"]

REVOKE_SECONDS = 15.0
"""Seconds that the batch in hand has to end when partitions are given to other consumers."""

_logger = logging.getLogger("carevalidate_async")


class Partitions(ConsumerRebalanceListener):  # type: ignore[misc]  # it has no types
    """
    The partitions that a consumer has.

    Attributes:
        leaving: Whether they are about to be given to others.
    """

    def __init__(self) -> None:
        self._known: dict[TopicPartition, int] = {}  # the first offset that nobody had before
        self._last: dict[TopicPartition, int] = {}  # of the batch in hand
        self._hand = asyncio.Lock()
        self.leaving = False

    async def on_partitions_revoked(self, revoked: object) -> None:
        """Wait until the batch in hand is settled, so that nobody else takes it, too."""
        del revoked  # all of them
        self.leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REVOKE_SECONDS), self._hand:
                pass

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Forget what was known: others may have had them meanwhile."""
        del assigned
        self._known.clear()
        self.leaving = False

    @contextlib.asynccontextmanager
    async def batch(self, records: Iterable[Record]) -> AsyncIterator[None]:
        """Hold a batch."""
        async with self._hand:
            self._last = {_partition(record): record.offset for record in records}
            yield

    def may_be_known(self, consumer: AIOKafkaConsumer, record: Record) -> bool:
        """
        Tell whether somebody may have had a record before.

        What was published after this consumer had got the partition was not; Kafka tells no more.
        """
        partition = _partition(record)
        if partition not in self._known:
            end = _end(consumer, partition)
            if end is None:
                return True
            self._known[partition] = end
        offset: int = record.offset
        return offset < self._known[partition]

    def others_wait(self, consumer: AIOKafkaConsumer) -> bool:
        """Tell whether there are records behind those of the batch in hand."""
        return any(
            (_end(consumer, partition) or 0) > last + 1 for partition, last in self._last.items()
        )

    async def keep(
        self,
        consumer: AIOKafkaConsumer,
        batch: Iterable[tuple[Record, bool]],
    ) -> None:
        """
        Commit what is settled of a batch, and have the rest of it delivered again.

        Args:
            consumer: Of the batch.

            batch: The records, each partition's in their order, and whether each is settled. What
                follows one that is not is not committed.
        """
        ends: dict[TopicPartition, int] = {}
        again: dict[TopicPartition, int] = {}
        for record, is_settled in batch:
            partition = _partition(record)
            if partition in self._known:  # If it is delivered again, it was asked for.
                self._known[partition] = max(self._known[partition], record.offset + 1)
            if partition in again:
                continue
            if is_settled:
                ends[partition] = record.offset + 1
            else:
                again[partition] = record.offset
        for partition, offset in again.items():
            with contextlib.suppress(IllegalStateError):  # It is somebody else's now.
                consumer.seek(partition, offset)
        if ends:
            try:
                await consumer.commit(ends)
            except KafkaError as error:
                # The next commit tells as much; or it is delivered again, and found on record.
                _logger.warning("a batch was not committed: %s", type(error).__name__)


def _partition(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the offset of a partition's next record; None where nobody knows."""
    if partition not in consumer.assignment():
        return None
    end: int | None = consumer.highwater(partition)
    return end
