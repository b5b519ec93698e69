"""
Takes messages of payments from a broker, one after the other, in the one order that loses none.

::

    consumer = Consumer(ConfirmHandler(care), concurrency=64, extend_every=10)
    await consumer.take(delivery)       # for each message, as many at a time as you like

First the payment is asked for; then what came of it is published; last the message is acknowledged.
A process that dies between two of these leaves the message to be delivered again, under the same
key. Knows no broker: a `Delivery` does what a decision asks for in its broker's words.

All messages pass one gate. So a rate holds for all of them, a vendor that refuses (429, 503) or
slows down is asked more slowly, and one that is down is asked one payment at a time until it is
back; the messages that are held meanwhile are kept from being delivered to others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from carevalidate_async._gate import Gate, Pace, RunState
from carevalidate_async.errors import Outcome
from carevalidate_async.events import Action, Decision, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Consumer", "Consumption", "Delivery", "Handler", "Turns"]

AFTER_AN_ERROR = 30.0
"""Seconds before a message is delivered again that the program itself could not deal with."""

AFTER_A_WAIT = 5.0
"""Seconds before one is delivered again that waited too long for a vendor that is down."""

_logger = logging.getLogger("carevalidate_async")

Handler: TypeAlias = Callable[[Event], Awaitable[Decision]]
"""Says what is to be done with a message; a `ConfirmHandler`, say."""


class Delivery(Protocol):
    """A message as its broker delivered it, and what may be done with it."""

    @property
    def event(self) -> Event:
        """The payment event that it brings."""

    async def extend(self) -> None:
        """Tell the broker that it is still worked on; nothing where that cannot be told."""

    async def publish(self, decision: Decision) -> None:
        """
        Put away what came of it: a result, or a dead letter; of others nothing need be kept.

        It must be safe with the broker when this returns, for the message is acknowledged next.
        A message that is delivered twice is published twice, unless the broker sees that it is.
        """

    async def ack(self) -> None:
        """Acknowledge it."""

    async def retry(self, delay: float) -> None:
        """Have it delivered again after so many seconds, or so many as the broker can."""

    async def give_back(self) -> None:
        """Have it delivered again, to whoever takes messages."""


class Turns(Protocol):
    """Who says when the next payment may be asked for; a `SharedRate`, say."""

    async def acquire(self) -> None:
        """Wait for a turn."""


@attrs.frozen(kw_only=True)
class Consumption:
    """
    What a consumer has done so far.

    Attributes:
        decided: How many messages ended in each action; each of its deliveries counts.

        held: Messages that it has at the moment.

        oldest: Seconds since the oldest of those was taken; 0 where there is none.

        redelivered: Deliveries that were not the first of their message.

        failed: Deliveries that ended in an error of the program or the broker.

        waiting: Why it waits for the vendor, in half a sentence; None where it does not.

        stopped_by: Why it takes no further message, in half a sentence; None while it does.
    """

    decided: dict[Action, int]
    held: int
    oldest: float
    redelivered: int
    failed: int
    waiting: str | None
    stopped_by: str | None


class Consumer:
    """
    Decides and settles deliveries; of one event loop.

    Args:
        handler: Says what is to be done with each.

        concurrency: Payments asked for at once, at most. How many messages are held is for the
            broker's settings; those beyond this wait.

        rate: Payments begun per second, at most; None for as many as the vendor takes. Of several
            consumers that share what a vendor takes, give each its part.

        turns: Says when the next payment may be asked for, beside *rate*: a limit that several
            consumers share, say.

        adaptive: Whether to go below both as the vendor's answers tell.

        extend_every: Seconds after which the broker is told that a message is still worked on: a
            third of the time for which it waits, say. None for a broker that cannot be told.

        patience: Seconds that a message is held at most, before its payment is asked for, while
            the vendor is down; then it is to come again. For brokers that cannot be told.

        on_stop: Called once, with the reason, when the credential is refused, or the client
            cannot send: no further message should be taken then.

    Attributes:
        stopped_by: That reason; None while there is none.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        concurrency: int = 64,
        rate: float | None = None,
        turns: Turns | None = None,
        adaptive: bool = True,
        extend_every: float | None = None,
        patience: float | None = None,
        on_stop: Callable[[str], None] | None = None,
    ) -> None:
        if concurrency < 1 or (rate is not None and not rate > 0):
            raise ValueError("concurrency must be at least 1, and rate above 0")
        self._handler = handler
        self._concurrency = concurrency
        self._rate = rate
        self._turns = turns
        self._adaptive = adaptive
        self._extend_every = extend_every
        self._patience = patience
        self._on_stop = on_stop
        self._gate: Gate | None = None  # made in the event loop that it is for
        self._held: dict[Delivery, float] = {}  # since when, oldest first
        self._extending: asyncio.Task[None] | None = None
        self._decided: Counter[Action] = Counter()
        self._redelivered = 0
        self._failed = 0
        self._waiting: str | None = None
        self.stopped_by: str | None = None

    def consumption(self) -> Consumption:
        """Return what was done so far."""
        return Consumption(
            decided={action: self._decided[action] for action in Action},
            held=len(self._held),
            oldest=time.monotonic() - next(iter(self._held.values())) if self._held else 0.0,
            redelivered=self._redelivered,
            failed=self._failed,
            waiting=self._waiting,
            stopped_by=self.stopped_by,
        )

    async def take(self, delivery: Delivery) -> Decision:
        """
        Decide what is to be done with *delivery*, and do it.

        Returns:
            What was decided, and done.

        Raises:
            Exception: What the handler or the broker raises. The message is not acknowledged: it
                will come again.

            asyncio.CancelledError: The task was cancelled, and the message is as it was.
        """
        event = delivery.event
        self._redelivered += event.attempt is not None and event.attempt > 1
        try:
            with self._holding(delivery):
                decision = await self._decide(event, delivery)
                await self._carry_out(decision, delivery)
        except Exception:
            self._failed += 1
            raise
        self._decided[decision.action] += 1
        if decision.action in {Action.DEAD, Action.PARK}:
            words = "%s: message %s, key %s: %s"
            _logger.warning(words, decision.action, event.id, decision.key, decision.reason)
        return decision

    def stop(self, reason: str) -> None:
        """
        Ask for nothing more, whatever is delivered; what is under way goes on.

        Args:
            reason: In half a sentence.
        """
        if self.stopped_by is not None:
            return
        self.stopped_by = reason
        self._waiting = None
        if self._gate is not None:
            self._gate.close()
        _logger.error("taking no further message: %s", reason)
        if self._on_stop is not None:
            self._on_stop(reason)

    async def _decide(self, event: Event, delivery: Delivery) -> Decision:
        gate = self._gate = self._gate or self._new_gate()
        if self._turns is not None and not gate.closed:
            # Before the gate: between its word and the ask nothing may be waited for.
            await self._turns.acquire()
        waited = await self._turn(gate, event)
        if waited is not None:
            return waited
        ask = gate.begin()
        try:
            decision = await self._handler(event)
        except BaseException as error:
            gate.abandon(ask)
            if isinstance(error, Exception):
                # One that stayed unacknowledged would hold its place, with some brokers for ever.
                await delivery.retry(AFTER_AN_ERROR)
            raise
        if decision.receipt is None and decision.error is None:
            gate.abandon(ask)  # nothing was asked
        else:
            gate.end(ask, hash(event.id), decision.error)
        if decision.action is Action.STOP:
            self.stop(decision.reason)
        return decision

    async def _turn(self, gate: Gate, event: Event) -> Decision | None:
        """Wait until the payment may be asked for; return what is decided where it may not be."""
        known = Outcome.UNKNOWN if event.may_have_landed else Outcome.NOT_SENT
        if not gate.free:
            try:
                async with asyncio.timeout(self._patience):
                    await gate.open()
            except TimeoutError:
                reason = self._waiting or "others were before it"
                return Decision(
                    action=Action.RETRY, outcome=known, reason=reason, delay=AFTER_A_WAIT
                )
        if gate.closed:
            reason = self.stopped_by or "the consumer was stopped"
            return Decision(action=Action.STOP, outcome=known, reason=reason)
        return None

    async def _carry_out(self, decision: Decision, delivery: Delivery) -> None:
        # Published first, acknowledged last: between the two a process may die.
        await delivery.publish(decision)
        match decision.action:
            case Action.STOP:
                await delivery.give_back()
            case Action.RETRY:
                await delivery.retry(decision.delay)
            case _:
                await delivery.ack()

    # The vendor

    def _new_gate(self) -> Gate:
        # The queue keeps what the vendor does not take, however long.
        gate = Gate(
            concurrency=self._concurrency,
            rate=self._rate,
            adaptive=self._adaptive,
            max_outage=math.inf,
            tell=self._paced,
            at_first=math.inf,
        )
        if self.stopped_by is not None:
            gate.close()
        return gate

    def _paced(self, pace: Pace) -> None:
        if pace.state is RunState.STOPPED:
            self.stop(pace.reason or "the client cannot send")
            return
        before, self._waiting = self._waiting, pace.reason
        if self._waiting is not None and before is None:
            _logger.warning("waiting: %s", self._waiting)
        elif self._waiting is None and before is not None:
            _logger.warning("going on")

    # The broker

    @contextlib.contextmanager
    def _holding(self, delivery: Delivery) -> Iterator[None]:
        self._held[delivery] = time.monotonic()
        if self._extend_every is not None and self._extending is None:
            self._extending = asyncio.create_task(self._keep_extending(self._extend_every))
        try:
            yield
        finally:
            self._held.pop(delivery, None)
            if not self._held and self._extending is not None:
                self._extending.cancel()
                self._extending = None

    async def _keep_extending(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            for delivery in tuple(self._held):
                try:
                    await delivery.extend()
                except Exception as error:  # noqa: BLE001 - a broker's; the next one may get through
                    _logger.warning("a message was not extended: %s", type(error).__name__)
