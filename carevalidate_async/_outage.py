"""
Whether a run's vendor is down: what each error tells of it, and when to see whether it still is.

Knows of no clock and no loop: it is told the moments.
"""

from __future__ import annotations

import random

import attrs

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
    ResponseDecodeError,
)

STREAK = 16
"""
Payments in a row, at least, that fail before the vendor counts as down; of errors that may be a
payment's own (500) three times as many as are in flight.
"""

DOWN_AFTER = 2.0
"""Seconds without a clear answer, at least, before the vendor counts as down."""

FIRST_PATIENCE = 10.0
"""Seconds that a vendor is waited for by default, at most, that has not answered once."""

LONGEST_PROBE_DELAY = 30.0
"""Seconds between two asks, at most, while the vendor is down."""

_MOMENT = 0.01  # seconds
_OF_THE_WHOLE = frozenset({408, 429, 502, 503, 504})  # statuses that no payment causes


@attrs.frozen
class Surrender:
    """
    Why no further payment is to be sent.

    Attributes:
        error: What was met.

        reason: The same in half a sentence.
    """

    error: CareValidateError
    reason: str


class Outages:
    """
    Tells whether the vendor is down, and when to probe.

    Attributes:
        count: How often it was down.

        patience: Seconds that it is waited for; fewer before its first answer, since who was never
            heard from may not be there at all: a wrong URL, say.

    Args:
        concurrency: Asks in flight at most.

        max_outage: Seconds that a vendor that is down is waited for; infinity for however long.

        now: The present moment, in seconds.

        at_first: Seconds that one is waited for, at most, that has not answered once.
    """

    def __init__(
        self, *, concurrency: int, max_outage: float, now: float, at_first: float = FIRST_PATIENCE
    ) -> None:
        self._max_outage = max_outage
        self._many = max(STREAK, 3 * concurrency)
        self._missing: set[int] = set()  # payments that failed since a clear answer
        self._heard = now  # the last clear answer
        self._outage: _Outage | None = None
        self.patience = min(max_outage, at_first)
        self.count = 0

    @property
    def down(self) -> bool:
        """Whether the vendor is down."""
        return self._outage is not None

    @property
    def plight(self) -> str | None:
        """What is the matter, in half a sentence; None while the vendor is not down."""
        return None if self._outage is None else plight(self._outage.error)

    def begin(self, ask: object) -> None:
        """Note that an ask begins; it is a probe while the vendor is down."""
        if self._outage is not None:
            self._outage.probe(ask)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next probe; None while there is none, or one under way."""
        return None if self._outage is None else self._outage.wait(now)

    def heard(self, now: float) -> bool:
        """Note a clear answer, and return whether it ends an outage."""
        was_down, self._outage = self.down, None
        self._missing.clear()
        self._heard = now
        self.patience = self._max_outage
        return was_down

    def missed(
        self, ask: object, index: int, error: CareValidateError, now: float
    ) -> Surrender | None:
        """
        Note that an ask met what others may meet, too.

        Args:
            ask: As `begin` was told.

            index: The payment's.

            error: What was met.

            now: The present moment.

        Returns:
            Why it is no use to go on; None where it may be.
        """
        self._missing.add(index)
        if self._outage is not None:
            self._outage.missed(ask, error, now)
            return None
        # A connection that fails is nothing of a payment's own, an error of the vendor's may be.
        status = getattr(error, "status", None)
        own = status is not None and status not in _OF_THE_WHOLE
        if len(self._missing) < (self._many if own else STREAK):
            return None
        if not error.retryable:
            return Surrender(error, plight(error))
        if now - self._heard >= time_to_wait(DOWN_AFTER):
            self.count += 1
            self._outage = _Outage(error, began=self._heard, now=now, patience=self.patience)
        return None

    def end(self, ask: object, now: float) -> Surrender | None:
        """
        Note that an ask has ended, whatever became of it: there is to be a next probe, and an end.

        Returns:
            Why it is no use to go on; None where it may be.
        """
        if self._outage is None:
            return None
        self._outage.release(ask, now)
        waited = self._outage.waited(now)
        if waited < self.patience:
            return None
        error = self._outage.error
        return Surrender(error, f"{plight(error)} for {waited:,.0f} s")


class _Outage:
    """
    One outage.

    Attributes:
        error: What was met last.
    """

    def __init__(
        self, error: CareValidateError, *, began: float, now: float, patience: float
    ) -> None:
        self._began = began
        self._patience = patience
        self._probe: object | None = None
        self._probe_at = now
        self._delay = 1.0
        self._seconds = 0.0  # before the next probe
        self._put_off = 0.0  # before all probes so far, whether or not they were waited for
        self._delay_probe(error, now)

    def wait(self, now: float) -> float | None:
        return self._probe_at - now if self._probe is None else None

    def probe(self, ask: object) -> None:
        self._probe = ask
        self._put_off += self._seconds

    def missed(self, ask: object, error: CareValidateError, now: float) -> None:
        if self._probe is ask:
            self._probe = None
            self._delay_probe(error, now)

    def release(self, ask: object, now: float) -> None:
        # It told nothing; another one may be the probe at once.
        if self._probe is ask:
            self._probe, self._probe_at, self._seconds = None, now, 0.0

    def waited(self, now: float) -> float:
        return max(now - self._began, self._put_off)

    def _delay_probe(self, error: CareValidateError, now: float) -> None:
        self.error = error
        seconds = self._delay * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
        # The last probe comes when the patience ends: nobody waits beyond it for the next one.
        seconds = min(seconds, max(0.0, self._patience - self.waited(now)) + _MOMENT)
        seconds = max(seconds, asked_wait(error) or 0.0)
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


def is_fatal(error: CareValidateError) -> bool:
    """Tell whether the rows to come would fare no better, however long one waits."""
    credential = isinstance(error, AuthenticationError | PermissionDeniedError)
    return credential or isinstance(error, ClientClosedError | ConfigurationError)


def asked_wait(error: CareValidateError | None) -> float | None:
    """Return the seconds that the vendor asks to wait; None where it does not say."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def plight(error: CareValidateError) -> str:
    """Return what an error tells of the vendor, in half a sentence."""
    status = getattr(error, "status", None)
    name = " ".join(str(word) for word in (status, type(error).__name__) if word is not None)
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return f"the vendor refuses the API key ({name})"
    if isinstance(error, APIConnectionError):
        return f"the vendor cannot be reached ({error.summary})"
    if isinstance(error, ClientClosedError | ConfigurationError):
        return f"the client cannot send ({error.summary})"
    return f"the vendor takes no payment ({name})"


def own_words(error: CareValidateError) -> str:
    """
    Return what happened in words of ours.

    An error's `summary` may repeat the vendor's, who may name a person that only the vendor knew.
    """
    if isinstance(error, APIStatusError):
        code = "" if error.code is None else f", {error.code}"
        return f"the vendor answered {error.status}{code}"
    if isinstance(error, ResponseDecodeError):
        return f"the vendor answered {error.status}, and the answer cannot be read"
    return error.summary
