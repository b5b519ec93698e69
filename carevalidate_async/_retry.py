"""
When a call is tried again, and after how long: the only file that knows tenacity.

The first try runs bare; tenacity is asked only once it has failed.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs

from carevalidate_async._policy import RetryPolicy
from carevalidate_async._quota import RetryQuota
from carevalidate_async.errors import GaveUp

if TYPE_CHECKING:
    import tenacity

_no_waiting: dict[int, list[float]] = {}  # those who want none now, and what each was spared


@contextlib.contextmanager
def no_waiting() -> Iterator[list[float]]:
    """Make every delay between attempts pass at once; see `carevalidate_async.testing`."""
    # For whatever task or thread, and as long as anybody is inside.
    spared: list[float] = []
    _no_waiting[id(spared)] = spared
    try:
        yield spared
    finally:
        del _no_waiting[id(spared)]


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


def load() -> None:
    """Load what the first retry needs, before there is one."""
    import tenacity  # noqa: F401 - it stays loaded


async def repeat(
    attempt: Callable[[Callable[[], None]], Awaitable[T]],
    *,
    policy: RetryPolicy,
    quota: RetryQuota | None,
    before_sleep: Callable[[T, float], None],
    deadline: float | None,
    clock: Clock,
    first: T | None = None,
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

        first: The first try's result, where that was made, and `earn` was told of it.
    """
    if first is None:
        first = await attempt(no_charge)
        earn(quota, first)
    if not first.again:
        return first, None
    import tenacity

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


def earn(quota: RetryQuota | None, first: Tried) -> None:
    """Let a first try that got a clear answer pay for retries to come."""
    if quota is not None and first.settled:
        quota.give_back(quota.EARNED)


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
        for spared in [*_no_waiting.values()]:
            spared.append(seconds)
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
