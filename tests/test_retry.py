from __future__ import annotations

import asyncio
import itertools
import random
import statistics
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import Time
from carevalidate_async import ConfigurationError, Outcome, RetryPolicy
from carevalidate_async._retry import Clock, repeat, worth_repeating

if TYPE_CHECKING:
    from collections.abc import Callable


async def fail(
    time: Time,
    policy: RetryPolicy,
    *,
    again: Callable[[int], bool] = lambda _: True,
    asked_delay: Callable[[int], float | None] = lambda _: None,
    before_sleep: Callable[[int, float], None] = lambda *_: None,
    deadline: float | None = None,
) -> int:
    """Return how many attempts a call has that never succeeds; each gives its number."""
    tries = itertools.count(1)

    async def attempt() -> int:
        return next(tries)

    return await repeat(
        attempt,
        policy=policy,
        again=again,
        asked_delay=asked_delay,
        before_sleep=before_sleep,
        deadline=deadline,
        clock=time.clock(),
    )


class TestRetryPolicy:
    def test_defaults(self) -> None:
        """A call is tried four times at most, and waits half a second at most at first."""
        policy = RetryPolicy()

        assert (4, 0.5, 8.0, 60.0) == attrs.astuple(policy)

    @pytest.mark.parametrize("attempts", [0, -1, 1.0, True, "3", None])
    def test_attempts_are_a_positive_int(self, attempts: object) -> None:
        """What is no count of attempts is refused, and named."""
        with pytest.raises(ConfigurationError, match="max_attempts"):
            RetryPolicy(max_attempts=attempts)  # type: ignore[arg-type]  # on purpose

    @pytest.mark.parametrize("name", ["base_delay", "max_delay", "max_retry_after"])
    @pytest.mark.parametrize(
        "seconds", [-0.1, float("inf"), float("nan"), -(10**400), 10**400, True, "1", None]
    )
    def test_delays_are_finite_seconds(self, name: str, seconds: object) -> None:
        """What is no finite number of seconds is refused, and named."""
        options: dict[str, Any] = {name: seconds}

        with pytest.raises(ConfigurationError, match=name) as caught:
            RetryPolicy(**options)

        assert Outcome.NOT_SENT is caught.value.outcome

    @pytest.mark.parametrize("name", ["base_delay", "max_delay", "max_retry_after"])
    def test_delays_may_be_zero(self, name: str) -> None:
        """No delay at all is a policy too."""
        options: dict[str, Any] = {name: 0}

        assert 0 == getattr(RetryPolicy(**options), name)


class TestWorthRepeating:
    @pytest.mark.parametrize(
        ("transient", "outcome", "repeatable", "worth"),
        [
            # Nothing arrived: whoever may pass is tried again.
            (True, Outcome.NOT_SENT, True, True),
            (True, Outcome.NOT_SENT, False, True),
            (False, Outcome.NOT_SENT, True, False),
            (False, Outcome.NOT_SENT, False, False),
            # It may have landed: only with a key, or where repeating is harmless.
            (True, Outcome.UNKNOWN, True, True),
            (True, Outcome.UNKNOWN, False, False),
            (False, Outcome.UNKNOWN, True, False),
            (False, Outcome.UNKNOWN, False, False),
            # It arrived and was refused: what takes no key is not sent a second time.
            (True, Outcome.REJECTED, True, True),
            (True, Outcome.REJECTED, False, False),
            (False, Outcome.REJECTED, True, False),
            (False, Outcome.REJECTED, False, False),
            # Nothing is both on record and transient; if a dialect says so, a key makes it safe.
            (True, Outcome.RECORDED, True, True),
            (True, Outcome.RECORDED, False, False),
            (False, Outcome.RECORDED, True, False),
            (False, Outcome.RECORDED, False, False),
        ],
    )
    def test_table(self, transient: bool, outcome: Outcome, repeatable: bool, worth: bool) -> None:
        """A try is repeated if that can help, and if it cannot be carried out twice."""
        told = worth_repeating(transient=transient, outcome=outcome, repeatable=repeatable)

        assert worth is told


class TestRepeat:
    async def test_first_success_is_final(self) -> None:
        """A result that needs no other try is returned at once."""
        time = Time()

        assert 1 == await fail(time, RetryPolicy(), again=lambda _: False)
        assert [] == time.slept

    @pytest.mark.parametrize("most", [1, 2, 3, 7])
    async def test_number_of_attempts(self, most: int) -> None:
        """There are max_attempts tries in all, the last of which is returned without a wait."""
        time = Time()

        assert most == await fail(time, RetryPolicy(max_attempts=most))
        assert most - 1 == len(time.slept)

    async def test_stops_in_the_middle(self) -> None:
        """The first result that is final ends the call, whichever it is."""
        time = Time()

        assert 3 == await fail(time, RetryPolicy(max_attempts=9), again=lambda n: n < 3)
        assert 2 == len(time.slept)

    @pytest.mark.parametrize("failing", [1, 2])
    async def test_exception_ends_the_call(self, failing: int) -> None:
        """What an attempt raises, the first or a later one, is passed on and not tried again."""
        made = []

        async def attempt() -> int:
            made.append(1)
            if len(made) == failing:
                raise LookupError
            return 0

        with pytest.raises(LookupError):
            await repeat(
                attempt,
                policy=RetryPolicy(),
                again=lambda _: True,
                asked_delay=lambda _: None,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Time().clock(),
            )

        assert failing == len(made)

    async def test_told_before_each_wait(self) -> None:
        """Each wait is announced with the result before it and its seconds."""
        time = Time()
        told: list[tuple[int, float]] = []

        await fail(
            time,
            RetryPolicy(max_attempts=3, base_delay=1),
            before_sleep=lambda result, delay: told.append((result, delay)),
        )

        assert [(1, 1), (2, 2)] == told
        assert [1, 2] == time.slept

    async def test_calls_share_no_state(self) -> None:
        """Fifty calls that fail side by side each make their own number of tries."""

        async def one(most: int) -> int:
            tries = itertools.count(1)

            async def attempt() -> int:
                await asyncio.sleep(0)
                return next(tries)

            return await repeat(
                attempt,
                policy=RetryPolicy(max_attempts=most, base_delay=0),
                again=lambda _: True,
                asked_delay=lambda _: None,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Clock(now=lambda: 0.0, sleep=asyncio.sleep),
            )

        wanted = [1 + n % 7 for n in range(50)]

        assert wanted == await asyncio.gather(*map(one, wanted))


class TestJitter:
    async def test_range_doubles_to_the_cap(self) -> None:
        """Each delay is drawn between zero and twice the limit before, up to max_delay."""
        time = Time()

        await fail(time, RetryPolicy(max_attempts=8, base_delay=0.5, max_delay=8))

        assert [(0, limit) for limit in (0.5, 1, 2, 4, 8, 8, 8)] == time.ranges[:7]

    async def test_lowest_draw_is_no_wait(self) -> None:
        """The jitter is full: a delay may be nothing, also at the cap."""
        time = Time(chance=lambda low, _: low)

        await fail(time, RetryPolicy(max_attempts=8))

        assert [0] * 7 == time.slept

    async def test_spread_at_the_cap(self) -> None:
        """Delays at the cap spread over all of it, rather than stand at it."""
        time = Time(chance=random.Random(7).uniform)

        await fail(time, RetryPolicy(max_attempts=2003, base_delay=4, max_delay=8))
        capped = time.slept[2:]

        assert 2000 == len(capped)
        assert 0 <= min(capped) < 0.1
        assert 7.9 < max(capped) <= 8
        assert 4 == pytest.approx(statistics.mean(capped), rel=0.05)
        deciles = [round(8 * n / 10, 1) for n in range(1, 10)]
        assert deciles == pytest.approx(statistics.quantiles(capped, n=10), abs=0.35)

    async def test_own_chance_is_uniform(self) -> None:
        """Where nothing else is given, delays are drawn by the uniform distribution."""
        assert random.uniform == Clock(now=lambda: 0.0, sleep=asyncio.sleep).uniform

    async def test_many_attempts_do_not_overflow(self) -> None:
        """The thousandth delay is as bounded as the tenth."""
        time = Time()

        assert 1500 == await fail(time, RetryPolicy(max_attempts=1500))
        assert 8 == max(time.slept)


class TestRetryAfter:
    async def test_longer_than_ours_is_obeyed(self) -> None:
        """A vendor that asks for a longer delay than ours gets it."""
        time = Time()

        await fail(time, RetryPolicy(max_attempts=3, base_delay=1), asked_delay={1: 30.0}.get)

        assert [30, 2] == time.slept

    @pytest.mark.parametrize("asked", [0.0, 0.001, 0.99])
    async def test_shorter_than_ours_is_not(self, asked: float) -> None:
        """A vendor that asks for a shorter delay gets ours: it does not know how many we are."""
        time = Time()

        await fail(
            time,
            RetryPolicy(max_attempts=2, base_delay=1, max_delay=1),
            asked_delay=lambda _: asked,
        )

        assert [1] == time.slept

    @pytest.mark.parametrize(("asked", "tries"), [(60.0, 2), (60.001, 1), (1e300, 1)])
    async def test_over_the_cap_ends_the_call(self, asked: float, tries: int) -> None:
        """A vendor that asks for more than max_retry_after is not tried again, nor waited for."""
        time = Time()

        assert tries == await fail(time, RetryPolicy(max_attempts=2), asked_delay=lambda _: asked)
        assert tries - 1 == len(time.slept)

    @pytest.mark.parametrize(("asked", "tries"), [(9.999, 2), (10.0, 1), (11.0, 1)])
    async def test_past_the_deadline_ends_the_call(self, asked: float, tries: int) -> None:
        """A delay that would end at the deadline or later is not waited for."""
        time = Time()

        assert tries == await fail(
            time, RetryPolicy(max_attempts=2), asked_delay=lambda _: asked, deadline=time.now + 10
        )
        assert tries - 1 == len(time.slept)


class TestDeadline:
    async def test_own_delay_past_it_ends_the_call(self) -> None:
        """No try begins after the deadline, and no wait leads up to it in vain."""
        time = Time()

        # Delays of 1, 2, 4; the next would be 8.
        policy = RetryPolicy(max_attempts=9, base_delay=1)

        assert 4 == await fail(time, policy, deadline=time.now + 10)
        assert [1, 2, 4] == time.slept

    async def test_time_of_attempts_counts(self) -> None:
        """The time that attempts take is gone for delays."""
        time = Time()

        async def attempt() -> float:
            time.now += 5
            return time.now

        await repeat(
            attempt,
            policy=RetryPolicy(max_attempts=9, base_delay=1),
            again=lambda _: True,
            asked_delay=lambda _: None,
            before_sleep=lambda *_: None,
            deadline=time.now + 10,
            clock=time.clock(),
        )

        assert [1] == time.slept

    @given(
        policy=st.builds(
            RetryPolicy,
            max_attempts=st.integers(1, 12),
            base_delay=st.floats(0, 10),
            max_delay=st.floats(0, 10),
            max_retry_after=st.floats(0, 30),
        ),
        asks=st.lists(st.none() | st.floats(0, 20), min_size=12, max_size=12),
        deadline=st.none() | st.floats(0.001, 60),
        seed=st.integers(0, 9),
    )
    async def test_whatever_happens(
        self, policy: RetryPolicy, asks: list[float | None], deadline: float | None, seed: int
    ) -> None:
        """
        Whatever the policy and the vendor say, tries are counted, delays are at least those asked
        for and at most the larger cap, and none ends past the deadline.
        """
        time = Time(now=0.0, chance=random.Random(seed).uniform)

        made = await fail(time, policy, asked_delay=lambda n: asks[n - 1], deadline=deadline)

        assert made - 1 == len(time.slept)
        assert 1 <= made <= policy.max_attempts
        assert deadline is None or time.now < deadline
        for asked, delay, (low, high) in zip(asks, time.slept, time.ranges, strict=False):
            assert (0, True) == (low, high <= policy.max_delay)
            assert (asked or 0) <= delay <= max(asked or 0, high)
            assert asked is None or asked <= policy.max_retry_after
