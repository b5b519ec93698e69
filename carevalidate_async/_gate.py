"""
When the next ask of a run may begin, and whether there is to be one at all.

All workers of a run pass the one gate, so what one of them learns of the vendor holds for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
import random
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._limits import Ask, Limit, Pacer
from carevalidate_async._outage import (
    FIRST_PATIENCE,
    Outages,
    Surrender,
    asked_wait,
    is_fatal,
    is_refusal,
    is_sign_of_outage,
    plight,
)
from carevalidate_async._retry import time_to_wait
from carevalidate_async.errors import (
    APIStatusError,
    CareValidateError,
    Outcome,
    ResponseDecodeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("carevalidate_async")

_SHORT = 1.0  # seconds; a pause that is not worth a word
_TICK = 0.0005  # seconds; no timer is more exact
_LATE = 0.02  # seconds that an ask may follow its slot, and the next one still keep its own


class RunState(enum.StrEnum):
    """How a run goes on."""

    RUNNING = "running"
    WAITING = "waiting"
    """The vendor is down, or asked to wait: nothing is sent but a probe now and then."""

    STOPPED = "stopped"
    """No further payment is sent: the vendor refuses the credential, or was down for too long."""


@attrs.frozen(kw_only=True)
class Pace:
    """
    How fast a run is allowed to be, and why.

    Attributes:
        state: Whether it goes on.

        limit: Payments that may be in flight at once.

        rate: Asks that may begin per second; None for as many as there are.

        reason: Why it waits or was stopped, in half a sentence; None while it runs.
    """

    state: RunState
    limit: int
    rate: float | None
    reason: str | None = None


class Gate:
    """
    Lets asks begin, one after the other.

    Attributes:
        adaptive: Whether it goes below its bounds as the vendor's answers tell.

        max_outage: Seconds that a vendor that is down is waited for.

        outages: Whether the vendor is down.

        failure: What ended the run early; None where nothing did.

    Args:
        concurrency: Asks in flight at most.

        rate: Asks begun per second at most; None for no limit.

        adaptive: Whether to go below both as the vendor's answers tell.

        max_outage: Seconds that a vendor that is down is waited for; infinity for however long.

        tell: Called whenever the pace changes.

        at_first: Seconds that one is waited for, at most, that has not answered once.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        rate: float | None,
        adaptive: bool,
        max_outage: float,
        tell: Callable[[Pace], None],
        at_first: float = FIRST_PATIENCE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = concurrency
        self._gap = 1 / rate if rate is not None else 0.0
        self.adaptive = adaptive
        self.max_outage = max_outage
        self._tell = tell
        self._pacer = Pacer()
        self._limit = Limit(concurrency)
        self._next = 0.0  # moment of the next slot
        self._door = asyncio.Lock()
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self._in_flight = 0
        self._facts: tuple[object, ...] = ()  # of what is shown
        self.outages = Outages(
            concurrency=concurrency,
            max_outage=max_outage,
            now=self._loop.time(),
            at_first=at_first,
        )
        self.failure: CareValidateError | None = None

    @property
    def closed(self) -> bool:
        """Whether there is to be no further ask."""
        return self._closed.is_set()

    async def ended(self) -> None:
        """Wait until there is to be no further ask."""
        await self._closed.wait()

    def close(self) -> None:
        """Let nothing through any more."""
        self._closed.set()
        self._news.set()

    @property
    def clear(self) -> bool:
        """Whether an ask may begin right now."""
        seconds = self._wait(self._loop.time())
        return seconds is not None and seconds <= _TICK

    @property
    def free(self) -> bool:
        """Whether one may begin right now that has not waited: nobody else waits either."""
        return not self._door.locked() and not self.closed and self.clear

    async def open(self) -> bool:
        """Wait for a moment at which an ask may begin; return False when there is to be none."""
        async with self._door:  # which lets them through in the order in which they came
            while not self.closed:
                now = self._loop.time()
                seconds = self._wait(now)
                if seconds is not None and seconds <= _TICK:
                    return True
                self._news.clear()
                await _rest(self._news, seconds)
        return False

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until there is to be no further ask."""
        await _rest(self._closed, seconds)

    def begin(self) -> Ask:
        """Note that an ask begins."""
        now = self._loop.time()
        self._in_flight += 1
        # What a timer was late is made up for, or a high rate would never be reached.
        slot = self._next if self._next > now - _LATE else now
        self._next = slot + self._current_gap()
        ask = self._pacer.begin(now)
        self.outages.begin(ask)
        return ask

    def abandon(self, ask: Ask) -> None:
        """Note that an ask was cut off, and nobody knows what became of it."""
        self._in_flight -= 1
        self._give_up(self.outages.end(ask, self._loop.time()))
        self._news.set()

    def end(self, ask: Ask, index: int, error: CareValidateError | None) -> None:
        """
        Note what became of an ask.

        Args:
            ask: From `begin`.

            index: The payment's.

            error: What it met; None for an answer.
        """
        now = self._loop.time()
        if error is None:  # as most end
            self._answered(ask, now)
            return
        refused = is_refusal(error)
        asked = asked_wait(error)
        if self.adaptive:
            if isinstance(error, APIStatusError | ResponseDecodeError):
                wait = _with_jitter(asked) if refused and asked is not None else None
                self._pacer.end(ask, now, refused=refused, wait=wait)
            # An answer that is lost took its time, too; what reached nobody tells nothing.
            if not refused and error.outcome is not Outcome.NOT_SENT:
                self._limit.end(now - ask.began, self._in_flight)
        self._in_flight -= 1
        if is_fatal(error):
            self._give_up(Surrender(error, plight(error)))
        elif (refused or self.outages.down) and asked is not None and asked > self.max_outage:
            self._give_up(Surrender(error, f"the vendor asks to wait {asked:,.0f} s"))
        elif is_sign_of_outage(error):
            self._give_up(self.outages.missed(ask, index, error, now))
        elif isinstance(error, APIStatusError):
            self._heard(now)
        self._give_up(self.outages.end(ask, now))
        self._show(now)
        self._news.set()

    def _answered(self, ask: Ask, now: float) -> None:
        if self.adaptive:
            self._pacer.end(ask, now, refused=False)
            self._limit.end(now - ask.began, self._in_flight)
        self._in_flight -= 1
        self._heard(now)  # so that there is no outage to end
        self._show(now)
        self._news.set()

    def _heard(self, now: float) -> None:
        if self.outages.heard(now):
            self._limit = Limit(self._concurrency)  # what it could take before says little

    def _give_up(self, surrender: Surrender | None) -> None:
        if surrender is None:
            return
        if self.failure is None:
            self.failure = surrender.error
            last = Pace(
                state=RunState.STOPPED,
                limit=self._current_limit(),
                rate=None,
                reason=surrender.reason,
            )
            self._told(last)
        self.close()

    # What is allowed

    def _current_limit(self) -> int:
        return self._limit.limit if self.adaptive else self._concurrency

    def _current_gap(self) -> float:
        pace = self._pacer.pace
        return self._gap if pace == math.inf else max(self._gap, time_to_wait(1 / pace))

    def _pause(self, now: float) -> float:
        return time_to_wait(self._pacer.until - now)

    def _wait(self, now: float) -> float | None:
        """Return the seconds until the next ask, None where only an answer can tell."""
        if self.outages.down:
            return self.outages.wait(now)
        if self._in_flight >= self._current_limit():
            return None
        # Slots in a pause are not made up for.
        self._next = max(self._next, now + self._pause(now))
        return self._next - now

    def _show(self, now: float) -> None:
        if self.failure is not None:
            return  # the last word is said
        state, reason = RunState.RUNNING, None
        pause = self._pause(now)
        if self.outages.down:
            state = RunState.WAITING
            patience = self.outages.patience
            until = "until it is back" if patience == math.inf else f"for up to {patience:,.0f} s"
            reason = f"{self.outages.plight}; trying again {until}"
        elif pause > _SHORT:
            state, reason = RunState.WAITING, f"the vendor asked to wait {math.ceil(pause):,} s"
        gap = self._current_gap()
        rate = 1 / gap if gap else None
        limit = 1 if self.outages.down else self._current_limit()
        facts = state, limit, rate, reason
        if facts != self._facts:  # which are looked at after each ask, and change now and then
            self._facts = facts
            self._told(Pace(state=state, limit=limit, rate=rate, reason=reason))

    def _told(self, pace: Pace) -> None:
        try:
            self._tell(pace)
        except Exception:
            # What a caller does with it must not change what happens to the money.
            _logger.exception("on_pace failed")


def _with_jitter(seconds: float) -> float:
    # On top, so that all who were asked to wait alike do not come back at one moment.
    jitter = random.uniform(0, min(0.5, seconds / 5))  # noqa: S311 - no secret
    return time_to_wait(seconds + jitter)


async def _rest(event: asyncio.Event, seconds: float | None) -> None:
    if seconds is None or seconds > 0:
        # Not wait_for, which before Python 3.12 can swallow a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
