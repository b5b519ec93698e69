"""How often and how patiently a call is tried: what a caller can say, and what it can cost."""

from __future__ import annotations

import math
import sys

import attrs

from carevalidate_async.errors import ConfigurationError, GaveUp, Outcome

ATTEMPT_TIMEOUT = 30.0
"""Seconds that an attempt may take, unless the caller says otherwise."""

DEADLINE = 120.0
"""Seconds that a call may take, unless the caller says otherwise."""

_EXACT = 2.0**50  # beyond which a float has no tenths


@attrs.frozen(kw_only=True)
class WorstCase:
    """
    What a call may cost at most; as text, a sentence that says so.

    The caller's own hooks and a busy event loop come on top of the seconds.

    Attributes:
        requests: Requests that reach the vendor.

        seconds: From the call's start to its end, if a connection is free whenever it wants one.

        queued: Seconds from its start to its end if it has to wait for one; None where nothing
            bounds that wait.
    """

    requests: int
    seconds: float
    queued: float | None

    def __str__(self) -> str:
        requests = f"{self.requests} request{'' if self.requests == 1 else 's'}"
        told = f"at most {requests} and {_rounded_up(self.seconds)} seconds"
        if self.queued is None:
            return f"{told}, waits for a free connection not counted"
        if self.queued > self.seconds:
            return f"{told}, {_rounded_up(self.queued)} with waits for a free connection"
        return told


def _rounded_up(seconds: float) -> str:
    tenths = math.ceil(round(seconds * 10, 6)) if seconds < _EXACT else seconds * 10
    return f"{tenths / 10:.15g}"


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    How often and how patiently a call is tried.

    The delay before try *n* + 1 is random between zero and
    ``min(max_delay, base_delay * 2**(n-1))`` ("full jitter"), on top of the vendor's Retry-After
    where it gives one: never sooner than asked, and not all at the same moment.

    Whether a try is repeated at all is for its outcome and the operation to say, and a client's
    calls share a `RetryQuota`: this is the upper bound.

    Attributes:
        max_attempts: Tries in all, the first one included; 1 turns retries off.

        base_delay: Seconds; the longest delay before the second try.

        max_delay: Seconds; no delay of our own is longer.

        max_retry_after: Seconds; a vendor that asks to wait longer gets no further try, and the
            error that says how long it asked for is raised at once.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    max_attempts: int = 4
    base_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0

    def __attrs_post_init__(self) -> None:
        if type(self.max_attempts) is not int or self.max_attempts < 1:
            raise ConfigurationError("RetryPolicy.max_attempts must be an int of at least 1")
        for name in ("base_delay", "max_delay", "max_retry_after"):
            check_seconds(f"RetryPolicy.{name}", getattr(self, name), zero=True)

    def longest_delay(self, number: int) -> float:
        """Return the longest delay of our own after try *number*, in seconds."""
        # 2**60 s is beyond any max_delay, and beyond 2**1023 there are no floats.
        return min(self.max_delay, self.base_delay * 2.0 ** min(number - 1, 60))

    def worst_case(
        self, *, attempt_timeout: float = ATTEMPT_TIMEOUT, deadline: float | None = DEADLINE
    ) -> WorstCase:
        """
        Return what a call under this policy may cost at most.

        Args:
            attempt_timeout: Seconds that each attempt may take.

            deadline: Seconds that the whole call may take; None for no such limit.

        Raises:
            ConfigurationError: One of them is no number of seconds.
        """
        check_seconds("attempt_timeout", attempt_timeout)
        if deadline is not None:
            check_seconds("deadline", deadline)
        retries = self.max_attempts - 1
        # From the 61st on all delays are alike; a sum over a billion of them would take a while.
        own = sum(self.longest_delay(number) for number in range(1, min(retries, 61) + 1))
        own += max(0, retries - 61) * self.longest_delay(61)
        seconds = self.max_attempts * attempt_timeout + own + retries * self.max_retry_after
        return WorstCase(
            requests=self.max_attempts,
            seconds=seconds if deadline is None else min(seconds, deadline),
            queued=deadline,
        )


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Refuse what is no finite number of seconds above zero (or not below, with *zero*)."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        # An int can be beyond what a clock can add.
        or not (0 < value <= sys.float_info.max or (zero and value == 0))
    ):
        least = "not negative" if zero else "above zero"
        raise ConfigurationError(f"{name} must be a finite number of seconds, {least}")


def why_not_again(*, transient: bool, outcome: Outcome, repeatable: bool) -> GaveUp | None:
    """
    Return why not to try again, as far as the money goes; None where nothing speaks against it.

    Args:
        transient: Whether another try can help.

        outcome: What the failed try alone tells about the money.

        repeatable: Whether the operation can arrive twice without harm.
    """
    if not transient:
        return GaveUp.FINAL
    return None if repeatable or outcome is Outcome.NOT_SENT else GaveUp.UNSAFE
