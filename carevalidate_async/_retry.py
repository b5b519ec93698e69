"""
When a call is tried again, and after how long: the only file that knows tenacity.

The first try runs bare; tenacity is asked only once it has failed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import tenacity

from carevalidate_async.errors import ConfigurationError, Outcome

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    How often and how patiently a call is tried.

    The delay before try *n* + 1 is random between zero and
    ``min(max_delay, base_delay * 2**(n-1))`` ("full jitter"), or the vendor's Retry-After where
    that is longer.

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


def worth_repeating(*, transient: bool, outcome: Outcome, repeatable: bool) -> bool:
    """
    Tell whether to try again, as far as the money goes.

    Args:
        transient: Whether another try can help.

        outcome: What the failed try alone tells about the money.

        repeatable: Whether the operation can arrive twice without harm.
    """
    return transient and (repeatable or outcome is Outcome.NOT_SENT)


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


async def repeat(
    attempt: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    again: Callable[[T], bool],
    asked_delay: Callable[[T], float | None],
    before_sleep: Callable[[T, float], None],
    deadline: float | None,
    clock: Clock,
) -> T:
    """
    Return the first result that is final, or the last one.

    Args:
        attempt: Makes one try. It returns its failures: what it raises ends the call.

        policy: How often and how patiently.

        again: Whether a result is worth another try.

        asked_delay: Seconds that the vendor asked to wait, None where it did not.

        before_sleep: Told of each wait: the result before it, and its seconds.

        deadline: Moment on the clock after which no try begins; None for no such moment.

        clock: Time and chance.
    """
    first = await attempt()
    if policy.max_attempts == 1 or not again(first):
        return first
    made = [first]

    async def step() -> T:
        # tenacity's own first try: the one that was made already.
        return made.pop() if made else await attempt()

    def wait(state: tenacity.RetryCallState) -> float:
        exponent = min(state.attempt_number - 1, 60)  # 2**60 s is beyond any max_delay
        own = clock.uniform(0, min(policy.max_delay, policy.base_delay * 2**exponent))
        asked = asked_delay(_result(state))
        return own if asked is None else max(own, asked)

    def stop(state: tenacity.RetryCallState) -> bool:
        # tenacity works the delay out before it asks whether to stop.
        asked = asked_delay(_result(state))
        return (
            state.attempt_number >= policy.max_attempts
            or (asked is not None and asked > policy.max_retry_after)
            or (deadline is not None and clock.now() + state.upcoming_sleep >= deadline)
        )

    def _result(state: tenacity.RetryCallState) -> T:
        return state.outcome.result()  # type: ignore[union-attr,no-any-return]  # set by then

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(again),
        wait=wait,
        stop=stop,
        sleep=clock.sleep,
        before_sleep=lambda state: before_sleep(_result(state), state.upcoming_sleep),
        retry_error_callback=_result,
    )
    return await retrying(step)
