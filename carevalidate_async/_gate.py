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
from carevalidate_async._retry import time_to_wait
from carevalidate_async.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    PermissionDeniedError,
    RateLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("carevalidate_async")

STREAK = 16
"""
Payments in a row, at least, that fail before the vendor counts as down; of errors that may be a
payment's own (500) three times as many as are in flight.
"""

DOWN_AFTER = 2.0
"""Seconds without a clear answer, at least, before the vendor counts as down."""

FIRST_PATIENCE = 10.0
"""Seconds that a vendor is waited for, at most, that has not answered once in this run."""

LONGEST_PROBE_DELAY = 30.0
"""Seconds between two asks, at most, while the vendor is down."""

_OF_THE_WHOLE = frozenset({408, 429, 502, 503, 504})  # statuses that no payment causes
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

        outages: How often the vendor was down.

        failure: What ended the run early; None where nothing did.

    Args:
        concurrency: Asks in flight at most.

        rate: Asks begun per second at most; None for no limit.

        adaptive: Whether to go below both as the vendor's answers tell.

        max_outage: Seconds that a vendor that is down is waited for.

        tell: Called whenever the pace changes.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        rate: float | None,
        adaptive: bool,
        max_outage: float,
        tell: Callable[[Pace], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = concurrency
        self._gap = 1 / rate if rate is not None else 0.0
        self.adaptive = adaptive
        self.max_outage = max_outage
        # Who was never heard from may not be there at all: a wrong URL, say.
        self._patience = min(max_outage, FIRST_PATIENCE)
        self._tell = tell
        self._pacer = Pacer()
        self._limit = Limit(concurrency)
        self._next = 0.0  # moment of the next slot
        self._door = asyncio.Lock()
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self._in_flight = 0
        self._missing: set[int] = set()  # payments that failed since a clear answer
        self._heard = self._loop.time()  # the last clear answer
        self._down: _Outage | None = None
        self._shown: Pace | None = None
        self.outages = 0
        self.failure: CareValidateError | None = None

    @property
    def closed(self) -> bool:
        """Whether there is to be no further ask."""
        return self._closed.is_set()

    @property
    def down(self) -> bool:
        """Whether the vendor is down."""
        return self._down is not None

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
        if self._down is not None:
            self._down.probe(ask)
        return ask

    def abandon(self, ask: Ask) -> None:
        """Note that an ask was cut off, and nobody knows what became of it."""
        self._in_flight -= 1
        self._look_at_outage(ask, self._loop.time())
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
        refused = is_refusal(error)
        asked = _asked_wait(error)
        if self.adaptive:
            wait = _with_jitter(asked) if refused and asked is not None else None
            self._pacer.end(ask, now, refused=refused, wait=wait)
            if not refused:
                self._limit.end(now - ask.began, self._in_flight)
        self._in_flight -= 1
        if error is None:
            self._heard_from(now)
        elif _is_fatal(error):
            self._give_up(error, _plight(error))
        elif (refused or self.down) and asked is not None and asked > self.max_outage:
            self._give_up(error, f"the vendor asks to wait {asked:,.0f} s")
        elif is_sign_of_outage(error):
            self._missed(ask, index, error, now)
        elif isinstance(error, APIStatusError):
            self._heard_from(now)
        self._look_at_outage(ask, now)
        self._show(now)
        self._news.set()

    # What the answers tell of the vendor

    def _heard_from(self, now: float) -> None:
        self._missing.clear()
        self._heard = now
        self._patience = self.max_outage
        if self._down is not None:
            self._down = None
            self._limit = Limit(self._concurrency)  # what it could take before says little

    def _missed(self, ask: Ask, index: int, error: CareValidateError, now: float) -> None:
        self._missing.add(index)
        if self._down is not None:
            self._down.missed(ask, error, now)
            return
        # A connection that fails is nothing of a payment's own, an error of the vendor's may be.
        status = getattr(error, "status", None)
        own = status is not None and status not in _OF_THE_WHOLE
        if len(self._missing) < (max(STREAK, 3 * self._concurrency) if own else STREAK):
            return
        if not error.retryable:
            self._give_up(error, _plight(error))
        elif now - self._heard >= time_to_wait(DOWN_AFTER):
            self.outages += 1
            self._down = _Outage(error, began=self._heard, now=now)

    def _look_at_outage(self, ask: Ask, now: float) -> None:
        """See to it that there is a next probe, whatever became of this one, and an end."""
        if self._down is None:
            return
        self._down.release(ask, now)
        waited = self._down.waited(now)
        if waited >= self._patience:
            error = self._down.error
            self._give_up(error, f"{_plight(error)} for {waited:,.0f} s")

    def _give_up(self, error: CareValidateError, reason: str) -> None:
        if self.failure is None:
            self.failure = error
            self._shown = Pace(
                state=RunState.STOPPED, limit=self._current_limit(), rate=None, reason=reason
            )
            self._told(self._shown)
        self.close()

    # What is allowed

    def _current_limit(self) -> int:
        return self._limit.limit if self.adaptive else self._concurrency

    def _current_gap(self) -> float:
        return max(self._gap, time_to_wait(1 / self._pacer.pace))

    def _pause(self, now: float) -> float:
        return time_to_wait(self._pacer.until - now)

    def _wait(self, now: float) -> float | None:
        """Return the seconds until the next ask, None where only an answer can tell."""
        if self._down is not None:
            return self._down.wait(now)
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
        if self._down is not None:
            state = RunState.WAITING
            reason = f"{_plight(self._down.error)}; trying again for up to {self._patience:,.0f} s"
        elif pause > _SHORT:
            state, reason = RunState.WAITING, f"the vendor asked to wait {math.ceil(pause):,} s"
        gap = self._current_gap()
        rate = 1 / gap if gap else None
        pace = Pace(state=state, limit=self._current_limit(), rate=rate, reason=reason)
        if pace != self._shown:
            self._shown = pace
            self._told(pace)

    def _told(self, pace: Pace) -> None:
        try:
            self._tell(pace)
        except Exception:
            # What a caller does with it must not change what happens to the money.
            _logger.exception("on_pace failed")


class _Outage:
    """
    A vendor that is down, and when to see whether it still is.

    Attributes:
        error: What was met last.
    """

    def __init__(self, error: CareValidateError, *, began: float, now: float) -> None:
        self._began = began
        self._probe: Ask | None = None
        self._probe_at = now
        self._delay = 1.0
        self._seconds = 0.0  # before the next probe
        self._put_off = 0.0  # before all probes so far, whether or not they were waited for
        self._delay_probe(error, now)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next probe; None while one is under way."""
        return self._probe_at - now if self._probe is None else None

    def probe(self, ask: Ask) -> None:
        """Note that *ask* is a probe."""
        self._probe = ask
        self._put_off += self._seconds

    def missed(self, ask: Ask, error: CareValidateError, now: float) -> None:
        """Note that an ask failed, too."""
        if self._probe is ask:
            self._probe = None
            self._delay_probe(error, now)

    def release(self, ask: Ask, now: float) -> None:
        """Note that an ask has ended that told nothing; another may be the probe at once."""
        if self._probe is ask:
            self._probe, self._probe_at, self._seconds = None, now, 0.0

    def waited(self, now: float) -> float:
        """Return the seconds that the vendor has been waited for."""
        return max(now - self._began, self._put_off)

    def _delay_probe(self, error: CareValidateError, now: float) -> None:
        self.error = error
        seconds = self._delay * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
        seconds = max(seconds, _asked_wait(error) or 0.0)
        self._delay = min(LONGEST_PROBE_DELAY, 2 * self._delay)
        self._seconds = seconds
        self._probe_at = now + time_to_wait(seconds)


def is_sign_of_outage(error: CareValidateError) -> bool:
    """Tell whether others may meet the same, and whether it may pass."""
    return isinstance(error, APIConnectionError) or error.retryable


def is_refusal(error: CareValidateError | None) -> bool:
    """Tell whether the vendor asks for fewer requests, whatever they are about."""
    return isinstance(error, RateLimitError) or (
        isinstance(error, APIStatusError) and error.status == 503
    )


def _asked_wait(error: CareValidateError | None) -> float | None:
    return error.retry_after if isinstance(error, APIStatusError) else None


def _with_jitter(seconds: float) -> float:
    # On top, so that all who were asked to wait alike do not come back at one moment.
    jitter = random.uniform(0, min(0.5, seconds / 5))  # noqa: S311 - no secret
    return time_to_wait(seconds + jitter)


def _is_fatal(error: CareValidateError) -> bool:
    """Tell whether the rows to come would fare no better, however long one waits."""
    credential = isinstance(error, AuthenticationError | PermissionDeniedError)
    return credential or isinstance(error, ClientClosedError | ConfigurationError)


def _plight(error: CareValidateError) -> str:
    status = getattr(error, "status", None)
    name = " ".join(str(word) for word in (status, type(error).__name__) if word is not None)
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return f"the vendor refuses the API key ({name})"
    if isinstance(error, APIConnectionError):
        return f"the vendor cannot be reached ({error.summary})"
    if isinstance(error, ClientClosedError | ConfigurationError):
        return f"the client cannot send ({error.summary})"
    return f"the vendor takes no payment ({name})"


async def _rest(event: asyncio.Event, seconds: float | None) -> None:
    if seconds is None or seconds > 0:
        # Not wait_for, which before Python 3.12 can swallow a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
