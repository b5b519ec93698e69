"""
When a call is tried again, and after how long: the only file that knows tenacity.

The first try runs bare; tenacity is asked only once it has failed.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import attrs
import tenacity

from carevalidate_async._quota import RetryQuota
from carevalidate_async.errors import ConfigurationError, GaveUp, Outcome

ATTEMPT_TIMEOUT = 30.0
"""Seconds that an attempt may take, unless the caller says otherwise."""

DEADLINE = 120.0
"""Seconds that a call may take, unless the caller says otherwise."""

_EXACT = 2.0**50  # beyond which a float has no tenths

_no_waiting: set[object] = set()  # those who want none now


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


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Make every delay between attempts pass at once; see `carevalidate_async.testing`."""
    # For whatever task or thread, and as long as anybody is inside.
    somebody = object()
    _no_waiting.add(somebody)
    try:
        yield
    finally:
        _no_waiting.discard(somebody)


def time_to_wait(seconds: float) -> float:
    """Return *seconds*, or zero under `no_waiting`."""
    return 0.0 if _no_waiting else seconds


@attrs.frozen(kw_only=True)
class Clock:
    """
    What the retries know of time.

    Attributes:
        now: Seconds of a clock that never goes back.

        sleep: Waits that many seconds.

        uniform: Gives a random number between two.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    uniform: Callable[[float, float], float] = random.uniform


class Tried(Protocol):
    """What there is to know of a try's result, to tell what comes next."""

    @property
    def again(self) -> bool:
        """Whether it is worth another try."""

    @property
    def settled(self) -> bool:
        """Whether the vendor gave a clear answer, whichever."""

    @property
    def timed_out(self) -> bool:
        """Whether our own clock ended it."""

    @property
    def asked_delay(self) -> float | None:
        """Seconds that the vendor asked to wait; None where it did not."""


T = TypeVar("T", bound=Tried)


async def repeat(
    attempt: Callable[[Callable[[], None]], Awaitable[T]],
    *,
    policy: RetryPolicy,
    quota: RetryQuota | None,
    before_sleep: Callable[[T, float], None],
    deadline: float | None,
    clock: Clock,
) -> tuple[T, GaveUp | None]:
    """
    Return the first result that is final, or the last one and why there was no other.

    Args:
        attempt: Makes one try, and calls what it is given once it has its turn: from then on it
            counts. It returns its failures: what it raises ends the call.

        policy: How often and how patiently.

        quota: Pays for the retries; None for as many as the policy allows.

        before_sleep: Told of each wait: the result before it, and its seconds.

        deadline: Moment on the clock after which no try begins; None for no such moment.

        clock: Time and chance.
    """
    first = await attempt(no_charge)
    if first.settled and quota is not None:
        quota.give_back(quota.EARNED)
    if not first.again:
        return first, None
    retries = _Retries(
        attempt=attempt,
        made=[first],
        policy=policy,
        quota=quota,
        deadline=deadline,
        clock=clock,
    )
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(lambda result: result.again),
        wait=retries.wait,
        stop=retries.stop,
        sleep=retries.sleep,
        before_sleep=lambda state: before_sleep(_result(state), state.upcoming_sleep),
        retry_error_callback=_result,
    )
    try:
        return await retrying(retries.step), retries.gave_up
    finally:
        # What was taken for a retry that nobody made, whatever kept it from being made.
        retries.give_back(retries.held)


def no_charge() -> None:
    """Do nothing: first tries are free."""


@attrs.define(kw_only=True)
class _Retries(Generic[T]):
    """The state of one call's retries; each call has its own, as each has its own tenacity."""

    attempt: Callable[[Callable[[], None]], Awaitable[T]]
    made: list[T]
    policy: RetryPolicy
    quota: RetryQuota | None
    deadline: float | None
    clock: Clock
    held: int = 0  # tokens for the retry that comes next
    spent: int = 0  # tokens for the one that is under way
    gave_up: GaveUp | None = None

    async def step(self) -> T:
        """Make a try."""
        if self.made:
            return self.made.pop()  # tenacity's own first try: the one that was made already
        self.spent = 0
        result = await self.attempt(self._spend)
        if result.settled:
            self.give_back(self.spent)
        self.give_back(self.held)  # It never had its turn.
        self.held = 0
        return result

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds before the next try."""
        own = self.clock.uniform(0, self.policy.longest_delay(state.attempt_number))
        return own + (_result(state).asked_delay or 0.0)

    def stop(self, state: tenacity.RetryCallState) -> bool:
        """Tell whether there is no next try; tenacity has worked out the delay by now."""
        self.gave_up = self._reason(state)
        return self.gave_up is not None

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self.clock.sleep(time_to_wait(seconds))

    def give_back(self, tokens: int) -> None:
        """Give *tokens* back to the quota."""
        if self.quota is not None:
            self.quota.give_back(tokens)

    def _spend(self) -> None:
        self.spent, self.held = self.held, 0

    def _reason(self, state: tenacity.RetryCallState) -> GaveUp | None:
        last = _result(state)
        asked = last.asked_delay
        now = self.clock.now()
        if state.attempt_number >= self.policy.max_attempts:
            return GaveUp.MAX_ATTEMPTS
        if asked is not None and asked > self.policy.max_retry_after:
            return GaveUp.RETRY_AFTER
        if self.deadline is not None and now + state.upcoming_sleep >= self.deadline:
            return GaveUp.DEADLINE
        if self.quota is not None:
            # The last look, since it takes what it finds.
            taken = self.quota.take(timed_out=last.timed_out)
            if taken is None:
                return GaveUp.RETRY_QUOTA
            self.held = taken
        return None


def _result(state: tenacity.RetryCallState) -> Any:  # noqa: ANN401 - the try as it was
    return state.outcome.result()  # type: ignore[union-attr]  # set by then
