"""
A worker process: it takes messages, and has the package's own `Consumer` deal with them.

Consumer and `ConfirmHandler` are the real ones. Their client is a stand-in for `CareValidate`,
which spends most of its time on bytes: it makes the same requests at the same moments, and raises
the same errors.
"""

from __future__ import annotations

import asyncio
import random
from datetime import date
from typing import TYPE_CHECKING

import attrs

from benchmarks.fleet_clock import now
from benchmarks.fleet_vendor import Vendor
from carevalidate_async import PaymentConfirmation, RetryPolicy
from carevalidate_async._outage import asked_wait
from carevalidate_async._policy import ATTEMPT_TIMEOUT, DEADLINE
from carevalidate_async._quota import RetryQuota
from carevalidate_async.errors import (
    APITimeoutError,
    CareValidateError,
    Outcome,
    RateLimitError,
    error_for_status,
)
from carevalidate_async.events import Event
from carevalidate_async.models import ConfirmationReceipt, Meta

if TYPE_CHECKING:
    from benchmarks.fleet_broker import Broker, Delivery
    from benchmarks.fleet_vendor import Answer
    from carevalidate_async.consumer import Consumer
    from carevalidate_async.events import Decision

PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=50,
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 1),
    status="PAID",
)
RECEIPT = ConfirmationReceipt(meta=Meta())


@attrs.frozen(kw_only=True)
class Client:
    """
    What a `ConfirmHandler` needs of a `CareValidate`.

    Attributes:
        vendor: Whom it asks.

        retry: How often and how patiently.

        quota: Pays for the retries.
    """

    vendor: Vendor
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    quota: RetryQuota = attrs.field(factory=RetryQuota)

    def with_options(self, *, retry: RetryPolicy) -> Client:
        """Return a client with other retries, and the same quota."""
        return attrs.evolve(self, retry=retry)

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool
    ) -> ConfirmationReceipt:
        """
        Ask until the payment is on record, or there is to be no further try.

        Raises:
            CareValidateError: Its outcome is that of all tries.
        """
        assert accept_duplicate
        assert payment.idempotency_key is not None
        ends, tries, spent, doubt = now() + DEADLINE, 0, 0, False
        while True:
            tries += 1
            error = await self._ask(payment.idempotency_key)
            if error is None:
                self.quota.give_back(self.quota.EARNED if tries == 1 else spent)
                return RECEIPT
            doubt = doubt or error.outcome is Outcome.UNKNOWN
            delay = self._delay(tries, error)
            taken = None
            if delay is not None and now() + delay < ends:
                taken = self.quota.take(timed_out=isinstance(error, APITimeoutError))
            if delay is None or taken is None:
                if doubt:
                    error.outcome = Outcome.UNKNOWN
                raise error
            spent = taken
            await asyncio.sleep(delay)

    async def _ask(self, key: str) -> CareValidateError | None:
        payment = payment_of(key)
        answer, seconds = self.vendor.ask(payment, key)
        await asyncio.sleep(min(seconds, ATTEMPT_TIMEOUT))
        if seconds <= ATTEMPT_TIMEOUT:
            error = error_of(answer)
        else:
            error = APITimeoutError("no answer in time", outcome=Outcome.UNKNOWN, retryable=True)
        return error

    def _delay(self, tries: int, error: CareValidateError) -> float | None:
        """Return the seconds before the next try, None where there is to be none."""
        asked = asked_wait(error) or 0.0
        if tries >= self.retry.max_attempts or asked > self.retry.max_retry_after:
            return None
        own = random.uniform(0, self.retry.longest_delay(tries))  # noqa: S311 - jitter, no secret
        return own + asked


def error_of(answer: Answer) -> CareValidateError | None:
    """Return the error that the package makes of an answer; None where the payment is on record."""
    if answer.status in {200, 409}:
        return None
    kind = error_for_status(answer.status)
    return kind(
        "no",
        status=answer.status,
        outcome=Outcome.REJECTED if kind is RateLimitError else Outcome.UNKNOWN,
        retryable=True,
        retry_after=answer.retry_after,
    )


def derived_key(message: int) -> str:
    """Return the key that a payment always has."""
    return str(message)


def random_key(message: int) -> str:
    """Return another key each time: a mistake."""
    return f"{message}:{random.getrandbits(64):x}"


def payment_of(key: str) -> int:
    """Return the number of the payment that a key is for."""
    return int(key.partition(":")[0])


class Message:
    """
    A delivery, as a `Consumer` takes it.

    Args:
        broker: Whose it is.

        delivery: What it delivered.

    Attributes:
        event: The payment that it brings.
    """

    def __init__(self, broker: Broker, delivery: Delivery) -> None:
        self._broker = broker
        self._delivery = delivery
        self.event = Event(
            id=str(delivery.message),
            data=b"",
            attempt=delivery.attempt,
            age=now() - broker.published(delivery.message),
        )

    async def extend(self) -> None:
        """Tell the broker that it is still worked on."""
        self._broker.in_progress(self._delivery)

    async def publish(self, decision: Decision) -> None:
        """Put nothing away."""

    async def ack(self) -> None:
        """Acknowledge it."""
        self._broker.ack(self._delivery)

    async def retry(self, delay: float) -> None:
        """Have it delivered again after so many seconds."""
        self._broker.nak(self._delivery, delay)

    async def give_back(self) -> None:
        """Have it delivered again at once."""
        self._broker.nak(self._delivery, 0.0)


class Worker:
    """
    One process: as many tasks as it may hold messages, each with one at a time.

    Attributes:
        consumer: Has what was done so far.

    Args:
        broker: Where the messages are.

        consumer: Deals with them.

        concurrency: How many it holds at once, at most.
    """

    def __init__(self, broker: Broker, consumer: Consumer, *, concurrency: int) -> None:
        self._broker = broker
        self.consumer = consumer
        self._stopping = False
        # A set that keeps its order: that of another kind of set differs from run to run.
        self._idle: dict[asyncio.Future[Delivery], None] = {}
        self._tasks = [asyncio.create_task(self._take()) for _ in range(concurrency)]

    def kill(self) -> None:
        """End at once: whatever it holds is settled by nobody, and its requests go on their way."""
        for task in self._tasks:
            task.cancel()

    def stop(self) -> None:
        """Take no further message, and settle those that it holds."""
        self._stopping = True
        for waiting in self._idle:
            waiting.cancel()  # unless a message is there: that one is settled, too

    async def _take(self) -> None:
        while not self._stopping:
            waiting = self._broker.next()
            self._idle[waiting] = None
            delivery = await waiting
            del self._idle[waiting]
            await self.consumer.take(Message(self._broker, delivery))
