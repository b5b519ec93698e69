"""
A work queue as JetStream keeps it for one durable pull consumer that all workers share.

What is delivered is pending until it is acknowledged, whether a worker has it, it waits out a delay
or its worker is dead; no new message is delivered while `max_ack_pending` are. What is not
acknowledged in time is delivered again, before anything new.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque

import attrs

from benchmarks.fleet_clock import now

TICK = 0.02
"""Seconds between two looks at what is published and what is due."""


@attrs.define(kw_only=True, eq=False)
class Delivery:
    """
    One delivery of a message.

    Attributes:
        message: Its number.

        attempt: 1 for the first delivery.

        deadline: Moment after which it is delivered again.
    """

    message: int
    attempt: int
    deadline: float


class Broker:
    """
    The queue.

    Attributes:
        settled: Messages that were acknowledged.

        most_pending: The most that were pending at a time.

    Args:
        messages: How many are published.

        rate: How many a second, evenly.

        ack_wait: Seconds after which a delivery that nobody has settled is repeated.

        max_ack_pending: Deliveries that may be pending, of all workers together.
    """

    def __init__(
        self, *, messages: int, rate: float, ack_wait: float, max_ack_pending: int
    ) -> None:
        self._messages = messages
        self._rate = rate
        self._ack_wait = ack_wait
        self._max_ack_pending = max_ack_pending
        self._published = 0
        self._new = 0  # the first message that was never delivered
        self._pending: dict[int, Delivery] = {}
        self._due: list[tuple[float, int]] = []  # a heap of deadlines, some of them out of date
        self._again: deque[int] = deque()
        self._idle: deque[asyncio.Future[Delivery]] = deque()
        self.settled = 0
        self.most_pending = 0

    @property
    def left(self) -> int:
        """Messages that are to come, are queued or are pending."""
        return self._messages - self.settled

    def published(self, message: int) -> float:
        """Return the moment at which a message is published."""
        return message / self._rate

    async def run(self) -> None:
        """Publish and deliver until every message is settled."""
        while self.left:
            self._published = min(self._messages, int(now() * self._rate) + 1)
            while self._due and self._due[0][0] <= now():
                deadline, message = heapq.heappop(self._due)
                delivery = self._pending.get(message)
                if delivery is not None and delivery.deadline == deadline:
                    delivery.deadline = math.inf
                    self._again.append(message)
            self._hand_out()
            await asyncio.sleep(TICK)

    def next(self) -> asyncio.Future[Delivery]:
        """Return the next delivery, once there is one; cancel it where none is wanted any more."""
        waiting: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self._hand_out()
        return waiting

    def ack(self, delivery: Delivery) -> None:
        """Forget the message; any delivery of it will do."""
        if self._pending.pop(delivery.message, None) is not None:
            self.settled += 1
            self._hand_out()

    def nak(self, delivery: Delivery, delay: float) -> None:
        """Deliver it again after so many seconds."""
        self._extend(delivery, delay)

    def in_progress(self, delivery: Delivery) -> None:
        """Give its worker another `ack_wait`."""
        self._extend(delivery, self._ack_wait)

    def _extend(self, delivery: Delivery, seconds: float) -> None:
        if delivery.deadline < math.inf:  # or it is repeated already, and nothing more is heard
            delivery.deadline = now() + seconds
            heapq.heappush(self._due, (delivery.deadline, delivery.message))

    def _hand_out(self) -> None:
        while self._idle:
            waiting = self._idle[0]
            if not waiting.done():  # as it is where its worker is no more
                delivery = self._take()
                if delivery is None:
                    return
                waiting.set_result(delivery)
            del self._idle[0]

    def _take(self) -> Delivery | None:
        while self._again:
            before = self._pending.get(self._again.popleft())
            if before is not None:  # not acknowledged since, late
                return self._deliver(before.message, before.attempt + 1)
        if self._new == self._published or len(self._pending) >= self._max_ack_pending:
            return None
        self._new += 1
        return self._deliver(self._new - 1, 1)

    def _deliver(self, message: int, attempt: int) -> Delivery:
        deadline = now() + self._ack_wait
        delivery = Delivery(message=message, attempt=attempt, deadline=deadline)
        self._pending[message] = delivery
        self.most_pending = max(self.most_pending, len(self._pending))
        heapq.heappush(self._due, (deadline, message))
        return delivery
