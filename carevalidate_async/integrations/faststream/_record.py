"""A record of Kafka, and what is published about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from carevalidate_async.events import Event
from carevalidate_async.integrations.faststream._again import (
    AGAIN,
    again_headers,
    doubt_headers,
    earlier,
    leaves_doubt,
)
from carevalidate_async.integrations.letters import (
    PREFIX,
    age_of,
    dead_headers,
    in_doubt,
    is_letter,
    is_result,
    result_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaProducer, ConsumerRecord

    from carevalidate_async.events import Decision

__all__ = ["DUE", "RecordDelivery"]

DUE = f"{PREFIX}Due"
"""On a record that is sent once more: when it is to be asked for; seconds since 1970."""

_OURS = AGAIN | {DUE}


class RecordDelivery:
    """
    A record of Kafka; a `carevalidate_async.consumer.Delivery`, and of each further try as well.

    It is settled here, in so far as a record can be: what came of it is published. The offset is
    for its batch to commit.

    Args:
        record: As aiokafka got it.

        producer: Publishes.

        dead: Topic that dead letters go to.

        results: Topic that results go to; None for nowhere.

        may_be_known: Whether somebody may have had it before.

    Attributes:
        event: The payment event that it brings.

        due: When it is to be asked for, in seconds since 1970; None for at once.
    """

    def __init__(
        self,
        record: ConsumerRecord[bytes | None, bytes | None],
        producer: AIOKafkaProducer,
        *,
        dead: str,
        results: str | None,
        may_be_known: bool,
    ) -> None:
        self._record = record
        self._producer = producer
        self._dead = dead
        self._results = results
        self._decision: Decision | None = None
        self._headers = {name: _text(value) for name, value in record.headers}
        published = record.timestamp / 1000 if record.timestamp > 0 else None
        self.due = _number(self._headers.get(DUE))
        self.event = Event(
            id=f"{record.topic}:{record.partition}:{record.offset}",
            data=record.value or b"",
            # Kafka does not count. It is at least so many.
            attempt=earlier(self._headers) + 1,
            in_doubt=may_be_known or bool(in_doubt(self._headers)),
            age=age_of(self._headers, published),
        )
        self._began = time.time() - (self.event.age or 0.0)

    async def extend(self) -> None:
        """Do nothing: Kafka cannot be told."""

    async def publish(self, decision: Decision) -> None:
        """Publish a result or a dead letter; wait until Kafka has it."""
        self._decision = decision
        if is_result(decision) and self._results is not None:
            body = result_body(self.event, decision)
            await self._send(self._results, body, {"content-type": "application/json"})
        elif is_letter(decision):
            ours = dead_headers(self.event, decision, source=self._record.topic)
            headers = {**ours, **doubt_headers(in_doubt=leaves_doubt(decision))}
            await self._send(self._dead, self.event.data, headers, kept=True)

    async def ack(self) -> None:
        """Do nothing: that is for its batch."""

    async def retry(self, delay: float) -> None:
        """Note that it is to be asked for again after so many seconds."""
        self.due = time.time() + delay

    async def give_back(self) -> None:
        """Do nothing: what is not committed is delivered again."""

    def begin_again(self) -> None:
        """Make its event the next delivery's, and nobody's but this process's."""
        self.event = attrs.evolve(
            self.event,
            attempt=(self.event.attempt or 1) + 1,
            in_doubt=leaves_doubt(self._decision),
        )
        self._decision = None

    def begin(self) -> None:
        """Note that the wait for it is over."""
        self.due = None
        if self.event.age is not None:
            self.event = attrs.evolve(self.event, age=max(0.0, time.time() - self._began))

    async def put_behind(self) -> None:
        """Publish it anew, behind all that is in its topic, unasked; wait until Kafka has it."""
        asked = (self.event.attempt or 1) - 1
        headers = again_headers(self._began, asked, in_doubt=self.event.may_have_landed)
        if self.due is not None:
            headers[DUE] = f"{self.due:.3f}"
        # Its key alone would not do: libraries differ in which partition they take for one.
        partition = self._record.partition
        await self._send(
            self._record.topic, self.event.data, headers, kept=True, partition=partition
        )

    async def _send(
        self,
        topic: str,
        value: object,
        headers: Mapping[str, str],
        *,
        kept: bool = False,
        partition: int | None = None,
    ) -> None:
        """Publish, under its key, and with the headers that are its publisher's where *kept*."""
        theirs = [(name, data) for name, data in self._record.headers if name not in _OURS]
        ours = [(name, text.encode()) for name, text in headers.items()]
        await self._producer.send_and_wait(
            topic,
            value=value,
            key=self._record.key,
            partition=partition,
            headers=[*(theirs if kept else ()), *ours],
        )


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
