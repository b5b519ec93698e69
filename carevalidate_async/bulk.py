"""
Many confirmations at once: bounded workers over any iterable, results as they come.

Each payment gets one idempotency key before it is first asked for, and keeps it: a row that stays
unknown, or that met something transient, is asked again under that key and no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Protocol, TypedDict, cast

import attrs

from carevalidate_async._gate import Gate, Pace, RunState
from carevalidate_async._outage import is_refusal, is_sign_of_outage
from carevalidate_async._policy import RetryPolicy
from carevalidate_async._retry import time_to_wait
from carevalidate_async.errors import Attempt, CareValidateError, Outcome
from carevalidate_async.idempotency import new_idempotency_key
from carevalidate_async.models import ConfirmationReceipt, PaymentConfirmation, with_key

__all__ = [
    "MAX_OUTAGE",
    "MAX_PAUSE",
    "BulkOptions",
    "Confirms",
    "Pace",
    "Row",
    "RunState",
    "combined",
    "confirm_payments",
]

MAX_PAUSE = 30.0
"""Seconds; the longest wait before a row is asked for again."""

MAX_OUTAGE = 300.0
"""Seconds that a run waits for a vendor that is down, unless the caller says otherwise."""


class BulkOptions(TypedDict, total=False):
    """What `confirm_payments` takes beside the payments, where it is said what each is."""

    concurrency: int
    asks: int
    pause: float
    rate: float | None
    adaptive: bool
    max_outage: float
    stop: asyncio.Event | None
    on_pace: Callable[[Pace], None] | None


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
    asks: int = 10,
    pause: float = 0.5,
    rate: float | None = None,
    adaptive: bool = True,
    max_outage: float = MAX_OUTAGE,
    stop: asyncio.Event | None = None,
    on_pace: Callable[[Pace], None] | None = None,
) -> AsyncGenerator[Row, None]:
    """
    Confirm *payments* and yield what became of each, in the order in which they end.

    No more than *concurrency* payments are taken ahead of those that were yielded, plus as many
    results that wait to be taken: memory does not grow with the number of payments. A duplicate is
    no error: the receipt says ``meta.already_recorded``. Leaving the loop early (close the iterator
    with ``contextlib.aclosing``) cancels what is in flight; whether those payments were recorded is
    then unknown.

    The client's own retries are switched off: each ask is one request, and whether there is another
    is decided here, where all that the vendor says to any of them is known. By default the run
    finds by itself how much the vendor takes: it begins slowly, goes below *concurrency* where
    answers take longer and longer, and below *rate* where the vendor refuses (429, 503). A
    Retry-After is heeded by all. When the vendor is down, all wait, and one payment at a time tries
    whether it is back.

    Args:
        client: A `CareValidate`.

        payments: An iterable must not block; an async one may wait.

        concurrency: Payments in flight at once, at most.

        asks: Requests for one payment, at most, as long as its outcome is unknown or its error is
            retryable; those before an outage do not count.

        pause: Seconds; the longest wait before the second ask. It doubles with each ask, up to 30
            seconds; the wait itself is random. After a refusal there is none but the run's.

        rate: Asks begun per second at most, evenly spaced; None for no limit.

        adaptive: Whether to go below *concurrency* and *rate* as the vendor's answers tell; without
            it a Retry-After holds for its payment alone.

        max_outage: Seconds that the run waits for a vendor that is down, or that asks it to wait,
            before it ends early; 10 at most for one that has not answered once.

        stop: When set, no further payment is taken and none is asked for again; those in flight are
            finished and yielded. An async source that is waited for then is cancelled.

        on_pace: Called with each change of the run's `Pace`.

    Yields:
        One `Row` a payment. Errors of the package are in the row, never raised but once, at the
        end of a run that ends early.

    Raises:
        ValueError: *concurrency* or *asks* is below 1, *rate* is not above 0, or *max_outage* is
            below 0.

        CareValidateError: The run has ended early, since the vendor refuses the credential, was
            down for too long, or asks to wait for too long: the error that told. All rows that were
            asked for have been yielded by then; payments that were not taken were not sent.

        Exception: Whatever *payments* itself raises, once the payments in flight have been yielded.
    """
    if concurrency < 1 or asks < 1 or (rate is not None and not rate > 0) or not max_outage >= 0:
        msg = "concurrency and asks must be at least 1, rate above 0, and max_outage not below 0"
        raise ValueError(msg)
    crew = _Crew(_asking_once(client), asks=asks, pause=pause, stop=stop or asyncio.Event())
    gate = partial(
        Gate,
        concurrency=concurrency,
        rate=rate,
        adaptive=adaptive,
        max_outage=max_outage,
        tell=on_pace or _unheard,
    )
    return _rows(crew, gate, payments, concurrency)


def _unheard(_: Pace) -> None:
    """Tell nobody."""


def _asking_once(client: Confirms) -> Confirms:
    """Return *client* without retries of its own: those of two layers would multiply."""
    with_options = getattr(client, "with_options", None)
    if with_options is None:
        return client
    return cast("Confirms", with_options(retry=RetryPolicy(max_attempts=1)))


async def _rows(
    crew: _Crew,
    gate: Callable[[], Gate],
    payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation],
    concurrency: int,
) -> AsyncGenerator[Row, None]:
    crew.gate = gate()
    source = _Source(payments)
    results: asyncio.Queue[Row | None] = asyncio.Queue(maxsize=concurrency)
    workers = [asyncio.create_task(crew.work(source, results)) for _ in range(concurrency)]
    watchers = [asyncio.create_task(crew.watch()), asyncio.create_task(crew.hush(source))]
    working = concurrency
    try:
        while working:
            row = await results.get() if results.empty() else results.get_nowait()
            if row is None:
                working -= 1
            else:
                yield row
    finally:
        crew.closing = True
        for task in (*watchers, *workers):
            task.cancel()
        await asyncio.gather(*watchers, *workers, return_exceptions=True)
        await source.aclose()
    failure = crew.failure or crew.gate.failure
    if failure is not None:
        raise failure


@attrs.frozen
class Stock(AsyncIterable[PaymentConfirmation]):
    """
    Payments of which some may be had without waiting.

    Attributes:
        at_hand: Gives the next one; None where it is to be waited for.

        rest: Gives all that `at_hand` has not given.
    """

    at_hand: Callable[[], PaymentConfirmation | None]
    rest: AsyncIterable[PaymentConfirmation]

    def __aiter__(self) -> AsyncIterator[PaymentConfirmation]:
        return aiter(self.rest)


# None may be among what is given for payments.
_END = object()
_LATER = object()


class _Source:
    """
    Payments, one by one.

    Args:
        payments: Where they come from.
    """

    def __init__(
        self, payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation]
    ) -> None:
        self._awaited: AsyncGenerator[PaymentConfirmation, None] | None = None
        self._patience: asyncio.Timeout | None = None  # while one is awaited
        if isinstance(payments, AsyncIterable):
            self._awaited = _awaited(payments)
            self._ready = payments.at_hand if isinstance(payments, Stock) else None
        else:
            self._others = iter(payments)

    def at_hand(self) -> object:
        """Return the next one, `_END` at their end, `_LATER` where it is to be waited for."""
        if self._awaited is None:
            return next(self._others, _END)
        # Where somebody waits for one, that one comes first.
        given = None if self._patience is not None or self._ready is None else self._ready()
        return _LATER if given is None else given

    async def next(self) -> object:
        """Return the next one; `_END` at their end, or once they are waited for no more."""
        given = self.at_hand()
        if given is not _LATER or self._awaited is None:
            return given
        patience = self._patience = asyncio.timeout(None)
        try:
            async with patience:
                return await anext(self._awaited, _END)
        except TimeoutError:
            if patience.expired():
                return _END
            raise  # the source's own
        finally:
            self._patience = None

    def hush(self) -> None:
        """Wait for the next one no more."""
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def aclose(self) -> None:
        """Let the source end."""
        if self._awaited is not None:
            await self._awaited.aclose()


async def _awaited(
    payments: AsyncIterable[PaymentConfirmation],
) -> AsyncGenerator[PaymentConfirmation, None]:
    async for payment in payments:
        yield payment


class _Crew:
    """The workers of one run, and what they share."""

    gate: Gate  # made in the event loop that the run is in

    def __init__(self, client: Confirms, *, asks: int, pause: float, stop: asyncio.Event) -> None:
        self._client = client
        self._asks = asks
        self._pause = pause
        self._stop = stop
        self._taking = asyncio.Lock()
        self._taken = 0
        self._waiting = 0  # payments that were taken, and are to be asked for
        self._exhausted = False
        self.failure: BaseException | None = None
        self.closing = False

    async def work(self, source: _Source, results: asyncio.Queue[Row | None]) -> None:
        """Take payments and put rows until there is none left; end with None."""
        try:
            while (taken := await self._take(source)) is not None:
                row = await self._settle(*taken)
                if results.full():
                    await results.put(row)
                else:
                    results.put_nowait(row)
        except (Exception, asyncio.CancelledError) as error:
            # The source may hand on the cancellation of something that it waited for, and somebody
            # else may cancel this very task: who takes the results must not wait for ever.
            if self.closing:
                raise
            self._exhausted = True
            self.failure = self.failure or error  # raised again once the others have finished
        await results.put(None)

    async def watch(self) -> None:
        """Let no further ask begin once the run is to stop."""
        await self._stop.wait()
        self.gate.close()

    async def hush(self, source: _Source) -> None:
        """Wait for the source no more once nothing is to be asked for."""
        await self.gate.ended()
        source.hush()

    async def _take(self, source: _Source) -> tuple[int, PaymentConfirmation] | None:
        # Who has just had an answer goes on at once, before those that wait for a moment to begin:
        # one of them begins with each turn of the event loop. Those that ask again come first.
        if not (self._waiting or self._exhausted or self.gate.closed) and self.gate.clear:
            given = source.at_hand()
            if given is not _LATER:
                return self._taken_one(given)
        # An async generator cannot be asked for two things at once.
        async with self._taking:
            # Within the lock: of workers that find no payment, one alone waits for its moment. And
            # first, for a payment that is taken is to be sent.
            if self._exhausted or not (self.gate.free or await self.gate.open()):
                return None
            return self._taken_one(await source.next())

    def _taken_one(self, given: object) -> tuple[int, PaymentConfirmation] | None:
        # In one step with the taking, so that indices are in the order of the source.
        if given is _END:
            self._exhausted = True
            return None
        index, self._taken = self._taken, self._taken + 1
        # What is no payment is refused when it is asked for, in its own row.
        payment = cast("PaymentConfirmation", given)
        if isinstance(given, PaymentConfirmation) and given.idempotency_key is None:
            payment = with_key(given, new_idempotency_key())
        return index, payment

    async def _settle(self, index: int, payment: PaymentConfirmation) -> Row:
        attempts: tuple[Attempt, ...] = ()
        outcome: Outcome | None = None
        ask, outages = 0, self.gate.outages.count
        if not self.gate.clear:  # the source took its time; a payment that was taken is asked for
            await self._turn()
        while True:
            ask += 1
            got = await self._ask(index, payment)
            if not isinstance(got, CareValidateError):
                return Row(
                    index=index,
                    payment=payment,
                    receipt=got,
                    outcome=Outcome.RECORDED,
                    attempts=attempts + got.meta.attempts,
                )
            attempts += got.attempts
            outcome = combined(outcome, got.outcome)
            row = Row(index=index, payment=payment, error=got, outcome=outcome, attempts=attempts)
            if not (got.retryable or outcome is Outcome.UNKNOWN):
                return row
            # That the vendor is down is no row's fault.
            if ask >= self._asks and not (self.gate.outages.down and is_sign_of_outage(got)):
                return row
            await self.gate.rest(self._time_to_rest(ask, got))
            if not await self._turn():
                return row
            if self.gate.outages.count != outages:
                ask, outages = 0, self.gate.outages.count

    async def _turn(self) -> bool:
        """Wait until a payment that was taken may be asked for, before any other is taken."""
        self._waiting += 1
        try:
            return await self.gate.open()
        finally:
            self._waiting -= 1

    async def _ask(
        self, index: int, payment: PaymentConfirmation
    ) -> ConfirmationReceipt | CareValidateError:
        ask = self.gate.begin()
        try:
            receipt = await self._client.confirm_payment(payment, accept_duplicate=True)
        except CareValidateError as error:
            self.gate.end(ask, index, error)
            return error
        except BaseException:
            self.gate.abandon(ask)
            raise
        self.gate.end(ask, index, None)
        return receipt

    def _time_to_rest(self, ask: int, error: CareValidateError) -> float:
        """Return the seconds before the payment is asked for again, those at the gate aside."""
        if self.gate.adaptive and is_refusal(error):
            return 0.0  # the gate has heard of it, and lets fewer through
        longest = min(self._pause * 2.0 ** min(ask - 1, 30), MAX_PAUSE)
        seconds = random.uniform(0, longest)  # noqa: S311 - jitter, no secret
        # On top, so that the workers do not all come back at one moment.
        seconds += min(getattr(error, "retry_after", None) or 0.0, self.gate.max_outage)
        return time_to_wait(seconds)
