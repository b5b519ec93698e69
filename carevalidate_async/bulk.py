"""
Many confirmations at once: bounded workers over any iterable, results as they come.

Each payment gets one idempotency key before it is first asked for, and keeps it: a row that stays
unknown, or that met something transient, is asked again under that key and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Protocol

import attrs

from carevalidate_async._retry import time_to_wait
from carevalidate_async.errors import Attempt, CareValidateError, Outcome
from carevalidate_async.idempotency import new_idempotency_key
from carevalidate_async.models import ConfirmationReceipt, PaymentConfirmation

MAX_PAUSE = 30.0
"""Seconds; the longest wait of our own before a row is asked for again."""

MAX_ASKED_PAUSE = 120.0
"""Seconds; the longest wait that the vendor can ask for."""

_LATE = 0.02  # seconds that an ask may follow its slot, and the next one still keep its own


class Confirms(Protocol):
    """What a bulk run needs of a client."""

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        """Confirm one payment."""


@attrs.frozen(kw_only=True)
class Row:
    """
    What became of one payment.

    Attributes:
        index: Its place among the payments; the first is 0.

        payment: As it was asked for, its idempotency key included.

        receipt: The vendor's answer; None where there is an *error*.

        error: What the last ask met; None where there is a *receipt*.

        outcome: What is known about the money after all asks. It can differ from the error's own:
            a payment that an earlier ask may have recorded stays `UNKNOWN` when the last ask did
            not reach the vendor.

        attempts: A record of each try of each ask, oldest first.
    """

    index: int
    payment: PaymentConfirmation
    receipt: ConfirmationReceipt | None = None
    error: CareValidateError | None = None
    outcome: Outcome
    attempts: tuple[Attempt, ...] = ()


def combined(earlier: Outcome | None, last: Outcome) -> Outcome:
    """
    Return what is known after an ask that ended in *last*.

    Only a record settles what an earlier ask left unknown: a later no (a rate limit, a key that was
    withdrawn, a check that comes before the look at the idempotency key) does not tell.
    """
    if earlier is Outcome.UNKNOWN and last is not Outcome.RECORDED:
        return Outcome.UNKNOWN
    return last


def confirm_payments(
    client: Confirms,
    payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation],
    *,
    concurrency: int = 64,
    asks: int = 5,
    pause: float = 0.5,
    rate: float | None = None,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[Row, None]:
    """
    Confirm *payments* and yield what became of each, in the order in which they end.

    No more than *concurrency* payments are taken ahead of those that were yielded, plus as many
    results that wait to be taken: memory does not grow with the number of payments. A duplicate is
    no error: the receipt says ``meta.already_recorded``. Leaving the loop early (close the iterator
    with ``contextlib.aclosing``) cancels what is in flight; whether those payments were recorded is
    then unknown.

    Args:
        client: A `CareValidate`.

        payments: An iterable must not block; an async one may wait.

        concurrency: Payments in flight at once.

        asks: How often a payment is asked for as long as its outcome is unknown or its error is
            retryable; each ask is a call with its own retries.

        pause: Seconds; the longest wait before the second ask. It doubles with each ask, up to 30
            seconds; the wait itself is random, on top of what the vendor asks for (up to 120
            seconds).

        rate: Asks begun per second at most, evenly spaced; None for no limit. Retries inside a call
            are neither counted nor paced, so more requests than this can be sent.

        stop: When set, no further payment is taken and none is asked for again; those in flight are
            finished and yielded. An async source that is waited for then is cancelled.

    Yields:
        One `Row` a payment. Errors of the package are in the row, never raised.

    Raises:
        ValueError: *concurrency* or *asks* is below 1, or *rate* is not above 0.

        Exception: Whatever *payments* itself raises, once the payments in flight have been yielded.
    """
    if concurrency < 1 or asks < 1 or (rate is not None and not rate > 0):
        raise ValueError("concurrency and asks must be at least 1, and rate above 0")
    crew = _Crew(client, asks=asks, pause=pause, rate=rate, stop=stop or asyncio.Event())
    return _rows(crew, payments, concurrency)


async def _rows(
    crew: _Crew,
    payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation],
    concurrency: int,
) -> AsyncGenerator[Row, None]:
    source = _one_by_one(payments)
    results: asyncio.Queue[Row | None] = asyncio.Queue(maxsize=concurrency)
    workers = [asyncio.create_task(crew.work(source, results)) for _ in range(concurrency)]
    watcher = asyncio.create_task(crew.watch())
    working = concurrency
    try:
        while working:
            row = await results.get()
            if row is None:
                working -= 1
            else:
                yield row
    finally:
        crew.closing = True
        for task in (watcher, *workers):
            task.cancel()
        await asyncio.gather(watcher, *workers, return_exceptions=True)
        await source.aclose()
    if crew.failure is not None:
        raise crew.failure


async def _one_by_one(
    payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation],
) -> AsyncGenerator[PaymentConfirmation, None]:
    if isinstance(payments, AsyncIterable):
        async for payment in payments:
            yield payment
    else:
        for payment in payments:
            yield payment


class _Crew:
    """The workers of one run, and what they share."""

    def __init__(
        self,
        client: Confirms,
        *,
        asks: int,
        pause: float,
        rate: float | None,
        stop: asyncio.Event,
    ) -> None:
        self._client = client
        self._asks = asks
        self._pause = pause
        self._gap = 1 / rate if rate is not None else 0.0
        self._next_slot = 0.0
        self._stop = stop
        self._taking = asyncio.Lock()
        self._patience: asyncio.Timeout | None = None  # with the source, while it is asked
        self._taken = 0
        self._exhausted = False
        self.failure: BaseException | None = None
        self.closing = False

    async def work(
        self, source: AsyncIterator[PaymentConfirmation], results: asyncio.Queue[Row | None]
    ) -> None:
        """Take payments and put rows until there is none left; end with None."""
        try:
            while (taken := await self._take(source)) is not None:
                await results.put(await self._settle(*taken))
        except (Exception, asyncio.CancelledError) as error:
            # The source may hand on the cancellation of something that it waited for, and somebody
            # else may cancel this very task: who takes the results must not wait for ever.
            if self.closing:
                raise
            self._exhausted = True
            self.failure = self.failure or error  # raised again once the others have finished
        await results.put(None)

    async def watch(self) -> None:
        """Ask the source for no more once the run is to stop."""
        await self._stop.wait()
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _take(
        self, source: AsyncIterator[PaymentConfirmation]
    ) -> tuple[int, PaymentConfirmation] | None:
        # An async generator cannot be asked for two things at once.
        async with self._taking:
            if self._exhausted:
                return None
            # Within the lock: of workers that find no payment, one alone waits for its slot.
            await self._slot()
            if self._stop.is_set():
                return None
            asked = asyncio.get_running_loop().time()
            try:
                payment = await self._next(source)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            index, self._taken = self._taken, self._taken + 1
            now = asyncio.get_running_loop().time()
            if now - asked > self._gap:  # a source that is slower than the rate saves no slots up
                self._next_slot = max(self._next_slot, now + self._gap)
        given: object = payment
        # What is no payment is refused when it is asked for, in its own row.
        if isinstance(given, PaymentConfirmation) and given.idempotency_key is None:
            payment = attrs.evolve(given, idempotency_key=new_idempotency_key())
        return index, payment

    async def _next(self, source: AsyncIterator[PaymentConfirmation]) -> PaymentConfirmation:
        """Return the source's next payment; the end of the run is its end, too."""
        patience = self._patience = asyncio.timeout(None)
        try:
            async with patience:
                return await anext(source)
        except TimeoutError:
            if patience.expired():
                raise StopAsyncIteration from None
            raise  # the source's own
        finally:
            self._patience = None

    async def _settle(self, index: int, payment: PaymentConfirmation) -> Row:
        attempts: tuple[Attempt, ...] = ()
        outcome: Outcome | None = None
        ask = 0
        while True:
            ask += 1
            try:
                receipt = await self._client.confirm_payment(payment, accept_duplicate=True)
            except CareValidateError as error:
                attempts += error.attempts
                outcome = combined(outcome, error.outcome)
                row = Row(
                    index=index, payment=payment, error=error, outcome=outcome, attempts=attempts
                )
                again = error.retryable or outcome is Outcome.UNKNOWN
                if ask == self._asks or not again or not await self._rest(ask, error):
                    return row
            else:
                attempts += receipt.meta.attempts
                return Row(
                    index=index,
                    payment=payment,
                    receipt=receipt,
                    outcome=Outcome.RECORDED,
                    attempts=attempts,
                )

    async def _rest(self, ask: int, error: CareValidateError) -> bool:
        """Wait before the next ask; return False when there is to be none."""
        longest = min(self._pause * 2.0 ** min(ask - 1, 30), MAX_PAUSE)
        seconds = random.uniform(0, longest)  # noqa: S311 - jitter, no secret
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            # On top, so that the workers do not all come back at one moment.
            seconds += min(asked, MAX_ASKED_PAUSE)
        await self._wait(time_to_wait(seconds))
        if not self._stop.is_set():
            await self._slot()
        return not self._stop.is_set()

    async def _slot(self) -> None:
        """Wait for a moment at which an ask may begin."""
        if self._gap:
            now = asyncio.get_running_loop().time()
            # What a timer was late is made up for, or a high rate would never be reached.
            slot = self._next_slot if self._next_slot > now - _LATE else now
            self._next_slot = slot + self._gap
            await self._wait(slot - now)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            # Not wait_for, which before Python 3.12 can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
