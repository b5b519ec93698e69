from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import sys
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calls import Time
from carevalidate_async import ConfigurationError, GaveUp, Outcome, RetryPolicy, RetryQuota
from carevalidate_async._policy import WorstCase, why_not_again
from carevalidate_async._retry import Clock, repeat, time_to_wait
from carevalidate_async.testing import no_waiting


@attrs.frozen(kw_only=True)
class Result:
    """
    What a try gave; by default a failure that is worth another.

    Attributes:
        number: The how manieth try it was.
    """

    number: int
    again: bool = True
    settled: bool = False
    timed_out: bool = False
    asked_delay: float | None = None


Trying = Callable[[int], Result]


def failing(number: int) -> Result:
    return Result(number=number)


def asking(*delays: float | None) -> Trying:
    """Fail, and ask for each of *delays* in turn, and for none after them."""
    asked = dict(enumerate(delays, start=1))
    return lambda number: Result(number=number, asked_delay=asked.get(number))


def succeeding(number: int, *, after: int = 0) -> Result:
    """Succeed after so many failures."""
    good = number > after
    return Result(number=number, again=not good, settled=good)


async def tries(
    time: Time,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
    trying: Trying = failing,
    *,
    quota: RetryQuota | None = None,
    before_sleep: Callable[[Result, float], None] = lambda *_: None,
    deadline: float | None = None,
) -> tuple[int, GaveUp | None]:
    """Return how many attempts a call has whose tries give what *trying* does, and why no more."""
    numbers = itertools.count(1)

    async def attempt(turn: Callable[[], None]) -> Result:
        turn()
        number = next(numbers)
        assert number <= policy.max_attempts
        return trying(number)

    last, gave_up = await repeat(
        attempt,
        policy=policy,
        quota=quota,
        before_sleep=before_sleep,
        deadline=deadline,
        clock=time.clock(),
    )
    return last.number, gave_up


class TestRetryPolicy:
    def test_defaults(self) -> None:
        """A call is tried four times at most, and waits half a second at most at first."""
        policy = RetryPolicy()

        assert (4, 0.5, 8.0, 60.0) == attrs.astuple(policy)

    @pytest.mark.parametrize("kind", [RetryPolicy, WorstCase, Clock])
    def test_facts_have_names(self, kind: Callable[..., object]) -> None:
        """Two facts of one kind cannot change places: each is given by its name."""
        with pytest.raises(TypeError, match="positional"):
            kind(4, 1.0, 2.0)

    @pytest.mark.parametrize("attempts", [0, -1, 1.0, True, "3", None])
    def test_attempts_are_a_positive_int(self, attempts: object) -> None:
        """What is no count of attempts is refused, and named."""
        with pytest.raises(ConfigurationError) as caught:
            RetryPolicy(max_attempts=attempts)  # type: ignore[arg-type]  # on purpose

        assert "RetryPolicy.max_attempts must be an int of at least 1" == str(caught.value)

    @pytest.mark.parametrize("name", ["base_delay", "max_delay", "max_retry_after"])
    @pytest.mark.parametrize(
        "seconds", [-0.1, float("inf"), float("nan"), -(10**400), 10**400, True, "1", None]
    )
    def test_delays_are_finite_seconds(self, name: str, seconds: object) -> None:
        """What is no finite number of seconds is refused, and named."""
        options: dict[str, Any] = {name: seconds}

        with pytest.raises(ConfigurationError) as caught:
            RetryPolicy(**options)

        wanted = "must be a finite number of seconds, not negative"
        assert f"RetryPolicy.{name} {wanted}" == str(caught.value)
        assert Outcome.NOT_SENT is caught.value.outcome

    @pytest.mark.parametrize("seconds", [0, sys.float_info.max])
    @pytest.mark.parametrize("name", ["base_delay", "max_delay", "max_retry_after"])
    def test_delays_at_the_ends_of_the_range(self, name: str, seconds: float) -> None:
        """No delay at all is a policy too, and so is the longest that there is a number for."""
        options: dict[str, Any] = {name: seconds}

        assert seconds == getattr(RetryPolicy(**options), name)


class TestWhyNotAgain:
    @pytest.mark.parametrize(
        ("transient", "outcome", "repeatable", "reason"),
        [
            # Nothing arrived: whoever may pass is tried again.
            (True, Outcome.NOT_SENT, True, None),
            (True, Outcome.NOT_SENT, False, None),
            (False, Outcome.NOT_SENT, True, GaveUp.FINAL),
            (False, Outcome.NOT_SENT, False, GaveUp.FINAL),
            # It may have landed: only with a key, or where repeating is harmless.
            (True, Outcome.UNKNOWN, True, None),
            (True, Outcome.UNKNOWN, False, GaveUp.UNSAFE),
            (False, Outcome.UNKNOWN, True, GaveUp.FINAL),
            (False, Outcome.UNKNOWN, False, GaveUp.FINAL),
            # It arrived and was refused: what takes no key is not sent a second time.
            (True, Outcome.REJECTED, True, None),
            (True, Outcome.REJECTED, False, GaveUp.UNSAFE),
            (False, Outcome.REJECTED, True, GaveUp.FINAL),
            (False, Outcome.REJECTED, False, GaveUp.FINAL),
            # Nothing is both on record and transient; if a dialect says so, a key makes it safe.
            (True, Outcome.RECORDED, True, None),
            (True, Outcome.RECORDED, False, GaveUp.UNSAFE),
            (False, Outcome.RECORDED, True, GaveUp.FINAL),
            (False, Outcome.RECORDED, False, GaveUp.FINAL),
        ],
    )
    def test_table(
        self, transient: bool, outcome: Outcome, repeatable: bool, reason: GaveUp | None
    ) -> None:
        """A try is repeated if that can help, and if it cannot be carried out twice."""
        told = why_not_again(transient=transient, outcome=outcome, repeatable=repeatable)

        assert reason is told


class TestRepeat:
    async def test_first_success_is_final(self) -> None:
        """A result that needs no other try is returned at once."""
        time = Time()

        assert (1, None) == await tries(time, trying=succeeding)
        assert [] == time.slept

    @pytest.mark.parametrize("most", [1, 2, 3, 7])
    async def test_number_of_attempts(self, most: int) -> None:
        """There are max_attempts tries in all, the last of which is returned without a wait."""
        time = Time()

        made = await tries(time, RetryPolicy(max_attempts=most))

        assert (most, GaveUp.MAX_ATTEMPTS) == made
        assert most - 1 == len(time.slept)

    async def test_stops_in_the_middle(self) -> None:
        """The first result that is final ends the call, whichever it is."""
        time = Time()

        def trying(number: int) -> Result:
            return Result(number=number, again=number < 3)

        assert (3, None) == await tries(time, RetryPolicy(max_attempts=9), trying)
        assert 2 == len(time.slept)

    @pytest.mark.parametrize("failing", [1, 2])
    async def test_exception_ends_the_call(self, failing: int) -> None:
        """What an attempt raises, the first or a later one, is passed on and not tried again."""
        made = []

        def trying(number: int) -> Result:
            made.append(number)
            if number == failing:
                raise LookupError
            return Result(number=number)

        with pytest.raises(LookupError):
            await tries(Time(), trying=trying)

        assert failing == len(made)

    async def test_told_before_each_wait(self) -> None:
        """Each wait is announced with the result before it and its seconds."""
        time = Time()
        told: list[tuple[int, float]] = []

        await tries(
            time,
            RetryPolicy(max_attempts=3, base_delay=1),
            before_sleep=lambda result, delay: told.append((result.number, delay)),
        )

        assert [(1, 1), (2, 2)] == told
        assert [1, 2] == time.slept

    async def test_calls_share_no_state(self) -> None:
        """Fifty calls that fail side by side each make their own number of tries."""

        async def one(most: int) -> int:
            numbers = itertools.count(1)

            async def attempt(turn: Callable[[], None]) -> Result:
                turn()
                await asyncio.sleep(0)
                return Result(number=next(numbers))

            last, _ = await repeat(
                attempt,
                policy=RetryPolicy(max_attempts=most, base_delay=0),
                quota=None,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Clock(now=lambda: 0.0, sleep=asyncio.sleep),
            )
            return last.number

        wanted = [1 + n % 7 for n in range(50)]

        assert wanted == await asyncio.gather(*map(one, wanted))


class TestJitter:
    async def test_range_doubles_to_the_cap(self) -> None:
        """Each delay is drawn between zero and twice the limit before, up to max_delay."""
        time = Time()

        await tries(time, RetryPolicy(max_attempts=8, base_delay=0.5, max_delay=8))

        assert [(0, limit) for limit in (0.5, 1, 2, 4, 8, 8, 8)] == time.ranges[:7]

    async def test_lowest_draw_is_no_wait(self) -> None:
        """The jitter is full: a delay may be nothing, also at the cap."""
        time = Time(chance=lambda low, _: low)

        await tries(time, RetryPolicy(max_attempts=8))

        assert [0] * 7 == time.slept

    async def test_spread_at_the_cap(self) -> None:
        """Delays at the cap spread over all of it, rather than stand at it."""
        time = Time(chance=random.Random(7).uniform)

        await tries(time, RetryPolicy(max_attempts=2003, base_delay=4, max_delay=8))
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

        assert (1500, GaveUp.MAX_ATTEMPTS) == await tries(time, RetryPolicy(max_attempts=1500))
        assert 8 == max(time.slept)


class TestRetryAfter:
    async def test_our_delay_comes_on_top(self) -> None:
        """A vendor is asked no sooner than it wants, and not by everybody at one moment."""
        time = Time()

        await tries(time, RetryPolicy(max_attempts=3, base_delay=1), asking(30.0))

        assert [31, 2] == time.slept

    @pytest.mark.parametrize("asked", [0.0, 0.001, 0.99])
    async def test_never_sooner_than_ours(self, asked: float) -> None:
        """A vendor that asks for less gets ours all the same: it does not know how many we are."""
        time = Time()

        await tries(
            time, RetryPolicy(max_attempts=2, base_delay=1, max_delay=1), asking(asked, asked)
        )

        assert [1 + asked] == time.slept

    async def test_spread_of_those_who_were_asked_alike(self) -> None:
        """Two thousand calls that are asked to wait alike come back one by one."""
        chance = random.Random(5).uniform
        slept = []
        for _ in range(2000):
            time = Time(chance=chance)
            await tries(time, RetryPolicy(max_attempts=2, base_delay=2), asking(30.0))
            slept += time.slept

        assert 30 <= min(slept) < 30.1
        assert 31.9 < max(slept) <= 32
        quartiles = statistics.quantiles(slept, n=4)
        assert [30.5, 31, 31.5] == pytest.approx(quartiles, abs=0.1)

    @pytest.mark.parametrize(
        ("asked", "made", "reason"),
        [
            (60.0, 2, GaveUp.MAX_ATTEMPTS),
            (60.001, 1, GaveUp.RETRY_AFTER),
            (1e300, 1, GaveUp.RETRY_AFTER),
        ],
    )
    async def test_over_the_cap_ends_the_call(
        self, asked: float, made: int, reason: GaveUp
    ) -> None:
        """A vendor that asks for more than max_retry_after is not tried again, nor waited for."""
        time = Time()

        assert (made, reason) == await tries(
            time, RetryPolicy(max_attempts=2), asking(asked, asked)
        )
        assert made - 1 == len(time.slept)

    @pytest.mark.parametrize(
        ("asked", "made", "reason"),
        [
            (9.999, 2, GaveUp.MAX_ATTEMPTS),
            (10.0, 1, GaveUp.DEADLINE),
            (11.0, 1, GaveUp.DEADLINE),
        ],
    )
    async def test_past_the_deadline_ends_the_call(
        self, asked: float, made: int, reason: GaveUp
    ) -> None:
        """A delay that would end at the deadline or later is not waited for."""
        time = Time(chance=lambda low, _: low)

        assert (made, reason) == await tries(
            time, RetryPolicy(max_attempts=2), asking(asked, asked), deadline=time.now + 10
        )
        assert made - 1 == len(time.slept)


class TestDeadline:
    async def test_own_delay_past_it_ends_the_call(self) -> None:
        """No try begins after the deadline, and no wait leads up to it in vain."""
        time = Time()

        # Delays of 1, 2, 4; the next would be 8.
        policy = RetryPolicy(max_attempts=9, base_delay=1)

        assert (4, GaveUp.DEADLINE) == await tries(time, policy, deadline=time.now + 10)
        assert [1, 2, 4] == time.slept

    async def test_time_of_attempts_counts(self) -> None:
        """The time that attempts take is gone for delays."""
        time = Time()

        def trying(number: int) -> Result:
            time.now += 5
            return Result(number=number)

        await tries(time, RetryPolicy(max_attempts=9, base_delay=1), trying, deadline=time.now + 10)

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
        capacity=st.integers(0, 60),
        seed=st.integers(0, 9),
    )
    async def test_whatever_happens(
        self,
        policy: RetryPolicy,
        asks: list[float | None],
        deadline: float | None,
        capacity: int,
        seed: int,
    ) -> None:
        """
        Whatever the policy and the vendor say, tries are counted, delays are at least those asked
        for and at most the policy's on top, no try begins past the deadline, the quota pays for
        each, and what the policy says of the worst case holds.
        """
        time = Time(now=0.0, chance=random.Random(seed).uniform)
        begun = []
        quota = RetryQuota(capacity)

        def trying(number: int) -> Result:
            begun.append(time.now)
            time.now += (number * 7 + seed) % 6
            return Result(number=number, asked_delay=asks[number - 1])

        made, gave_up = await tries(time, policy, trying, quota=quota, deadline=deadline)

        assert gave_up is not None
        assert made - 1 == len(time.slept)
        assert deadline is None or max(begun[1:], default=0) < deadline
        assert capacity - 5 * (made - 1) == quota.tokens
        for asked, delay, (low, high) in zip(asks, time.slept, time.ranges, strict=False):
            assert (0, True) == (low, high <= policy.max_delay)
            assert (asked or 0) <= delay <= (asked or 0) + high
            assert asked is None or asked <= policy.max_retry_after
        worst = policy.worst_case(attempt_timeout=5)
        assert made <= worst.requests
        assert time.now <= worst.seconds * (1 + 1e-9) or worst.seconds == 120
        assert 120 == worst.queued


class TestQuota:
    async def test_retries_are_paid_for(self) -> None:
        """Each retry takes five tokens; a call that fails for good gives none of them back."""
        quota = RetryQuota()

        await tries(Time(), RetryPolicy(max_attempts=4), quota=quota)

        assert 485 == quota.tokens

    async def test_timeouts_cost_more(self) -> None:
        """A retry after a timeout takes ten."""
        quota = RetryQuota()

        def trying(number: int) -> Result:
            return Result(number=number, timed_out=number == 1)

        await tries(Time(), RetryPolicy(max_attempts=3), trying, quota=quota)

        assert 485 == quota.tokens

    @pytest.mark.parametrize(("after", "left"), [(0, 100), (1, 100), (2, 95), (3, 90)])
    async def test_retry_that_succeeds_is_given_back(self, after: int, left: int) -> None:
        """A retry that gets a clear answer gives back what it took, and not what those before."""
        quota = RetryQuota(100)

        await tries(Time(), trying=lambda n: succeeding(n, after=after), quota=quota)

        assert left == quota.tokens

    async def test_first_try_earns(self) -> None:
        """A first try that gets a clear answer brings one token, up to the capacity."""
        quota = RetryQuota(500)
        await tries(Time(), RetryPolicy(max_attempts=2), quota=quota)
        held = [quota.tokens]
        for _ in range(7):
            await tries(Time(), trying=succeeding, quota=quota)
            held.append(quota.tokens)

        assert [495, 496, 497, 498, 499, 500, 500, 500] == held

    async def test_unclear_answer_earns_nothing(self) -> None:
        """An error that is final, but settles nothing, brings no token and gives none back."""
        quota = RetryQuota(500)

        def trying(number: int) -> Result:
            return Result(number=number, again=number == 1)

        await tries(Time(), trying=trying, quota=quota)
        await tries(Time(), trying=lambda n: Result(number=n, again=False), quota=quota)

        assert 495 == quota.tokens

    @pytest.mark.parametrize(("capacity", "made"), [(0, 1), (4, 1), (5, 2), (9, 2), (10, 3)])
    async def test_no_tokens_no_retry(self, capacity: int, made: int) -> None:
        """A call is tried again as often as the quota pays for, and then says why not."""
        quota = RetryQuota(capacity)

        assert (made, GaveUp.RETRY_QUOTA) == await tries(Time(), quota=quota)
        assert capacity - 5 * (made - 1) == quota.tokens

    async def test_timeout_that_cannot_be_paid_takes_nothing(self) -> None:
        """Nine tokens are not enough after a timeout, and stay where they are."""
        quota = RetryQuota(9)

        made = await tries(Time(), trying=lambda n: Result(number=n, timed_out=True), quota=quota)

        assert (1, GaveUp.RETRY_QUOTA) == made
        assert 9 == quota.tokens

    async def test_other_reasons_take_nothing(self) -> None:
        """A retry that is not made for another reason is not paid for."""
        quota = RetryQuota(100)

        await tries(Time(), RetryPolicy(max_attempts=1), quota=quota)
        await tries(Time(), trying=asking(61.0), quota=quota)
        time = Time()
        await tries(time, trying=asking(10.0), quota=quota, deadline=time.now + 9)

        assert 100 == quota.tokens

    async def test_cancelled_wait_is_given_back(self) -> None:
        """A retry that is cancelled before it began costs nothing."""
        quota = RetryQuota(100)
        waiting = asyncio.Event()

        async def sleep(_: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        async def attempt(_: Callable[[], None]) -> Result:
            return Result(number=1)

        task = asyncio.ensure_future(
            repeat(
                attempt,
                policy=RetryPolicy(),
                quota=quota,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Clock(now=lambda: 0.0, sleep=sleep),
            )
        )
        await waiting.wait()
        held = quota.tokens
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [95, 100] == [held, quota.tokens]

    @pytest.mark.parametrize("turn_comes", [True, False])
    @pytest.mark.parametrize("ends", ["cancelled", "failed"])
    async def test_retry_that_waits_for_its_turn(self, ends: str, turn_comes: bool) -> None:
        """A retry that ends before its turn came was not sent, and costs nothing."""
        quota = RetryQuota(100)
        number = itertools.count(1)
        waiting = asyncio.Event()

        async def attempt(turn: Callable[[], None]) -> Result:
            if next(number) == 1:
                turn()
                return Result(number=1)
            if turn_comes:
                turn()
            if ends == "cancelled":
                waiting.set()
                await asyncio.Event().wait()
            return Result(number=2, again=False)

        task = asyncio.ensure_future(
            repeat(
                attempt,
                policy=RetryPolicy(base_delay=0),
                quota=quota,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Time().clock(),
            )
        )
        if ends == "cancelled":
            await waiting.wait()
            task.cancel()
        await asyncio.wait([task])

        assert (95 if turn_comes else 100) == quota.tokens

    async def test_retry_that_is_settled_before_its_turn(self) -> None:
        """A retry that gets a clear answer without a turn gives back what it took, and no more."""
        quota = RetryQuota(100)
        quota.take(timed_out=False)

        async def attempt(_: Callable[[], None]) -> Result:
            return succeeding(next(number), after=1)

        number = itertools.count(1)
        await repeat(
            attempt,
            policy=RetryPolicy(),
            quota=quota,
            before_sleep=lambda *_: None,
            deadline=None,
            clock=Time().clock(),
        )

        assert 95 == quota.tokens

    async def test_error_in_what_is_told_before_a_wait(self) -> None:
        """A retry that is not made, since what is told of it fails, is given back."""
        quota = RetryQuota(100)

        def tell(*_: object) -> None:
            raise SystemExit

        with pytest.raises(SystemExit):
            await tries(Time(), quota=quota, before_sleep=tell)

        assert 100 == quota.tokens

    async def test_shared_by_calls_side_by_side(self) -> None:
        """Of fifty calls that fail at once, as many are tried again as one quota pays for."""
        quota = RetryQuota(100)

        async def one() -> int:
            async def attempt(turn: Callable[[], None]) -> Result:
                turn()
                await asyncio.sleep(0)
                assert 0 <= quota.tokens <= quota.capacity
                return Result(number=1)

            counted = []

            async def sleep(_: float) -> None:
                counted.append(1)
                await asyncio.sleep(0)

            await repeat(
                attempt,
                policy=RetryPolicy(base_delay=0),
                quota=quota,
                before_sleep=lambda *_: None,
                deadline=None,
                clock=Clock(now=lambda: 0.0, sleep=sleep),
            )
            return len(counted)

        assert 20 == sum(await asyncio.gather(*(one() for _ in range(50))))
        assert 0 == quota.tokens

    def test_shared_by_threads(self) -> None:
        """Ten threads that take and give back lose no token, and make none up."""
        quota = RetryQuota(200)
        seen = set()

        def work(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(2000):
                taken = quota.take(timed_out=chance.random() < 0.5)
                seen.add(0 <= quota.tokens <= quota.capacity)
                if taken is not None:
                    quota.give_back(taken)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert {True} == seen
        assert 200 == quota.tokens

    def test_locked_while_it_changes(self) -> None:
        """Whatever changes the tokens holds the lock: threads can interrupt each other anywhere."""
        quota = RetryQuota(20)
        entered: list[str] = []

        class Lock:
            def __enter__(self) -> None:
                entered.append("in")

            def __exit__(self, *_: object) -> None:
                entered.append("out")

        quota._lock = Lock()  # type: ignore[assignment]  # as far as it is used
        quota.take(timed_out=False)
        quota.take(timed_out=True)
        quota.give_back(5)

        assert ["in", "out"] * 3 == entered

    @pytest.mark.parametrize("capacity", [-1, 1.0, True, "3", None])
    def test_capacity_is_an_int(self, capacity: object) -> None:
        """What is no number of tokens is refused, and named."""
        with pytest.raises(ConfigurationError) as caught:
            RetryQuota(capacity)  # type: ignore[arg-type]  # on purpose

        assert "RetryQuota.capacity must be an int of at least 0" == str(caught.value)

    def test_repr(self) -> None:
        """It shows how much is left."""
        quota = RetryQuota(20)
        quota.take(timed_out=False)

        assert "<RetryQuota 15 of 20 tokens>" == repr(quota)


class QuotaMachine(RuleBasedStateMachine):
    """Calls begin, go well, fail, time out and are cancelled, in any order."""

    @initialize(capacity=st.integers(0, 60))
    def start(self, capacity: int) -> None:
        self.quota = RetryQuota(capacity)
        self.under_way: list[int] = []
        self.tokens = capacity

    @rule(timed_out=st.booleans())
    def try_fails(self, timed_out: bool) -> None:
        cost = 10 if timed_out else 5
        taken = self.quota.take(timed_out=timed_out)
        assert (cost if cost <= self.tokens else None) == taken
        if taken is not None:
            self.under_way.append(taken)
            self.tokens -= taken

    @rule()
    @precondition(lambda self: self.under_way)
    def retry_goes_well(self) -> None:
        taken = self.under_way.pop()
        self.quota.give_back(taken)
        self.tokens = min(self.quota.capacity, self.tokens + taken)

    @rule()
    @precondition(lambda self: self.under_way)
    def retry_fails(self) -> None:
        self.under_way.pop()

    @rule()
    def first_try_goes_well(self) -> None:
        self.quota.give_back(RetryQuota.EARNED)
        self.tokens = min(self.quota.capacity, self.tokens + 1)

    @invariant()
    def between_nothing_and_full(self) -> None:
        assert 0 <= self.quota.tokens <= self.quota.capacity
        assert self.tokens == self.quota.tokens


QuotaMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestQuotaMachine = QuotaMachine.TestCase


class TestWorstCase:
    @pytest.mark.parametrize(
        ("policy", "limits", "says"),
        [
            (RetryPolicy(), {}, "at most 4 requests and 120 seconds"),
            (
                RetryPolicy(max_attempts=1),
                {},
                "at most 1 request and 30 seconds, 120 with waits for a free connection",
            ),
            (
                RetryPolicy(max_attempts=2, base_delay=1, max_retry_after=5),
                {"attempt_timeout": 2, "deadline": 10},
                "at most 2 requests and 10 seconds",
            ),
            (
                # 4 x 30 + (0.5 + 1 + 2) + 3 x 60
                RetryPolicy(),
                {"deadline": None},
                "at most 4 requests and 303.5 seconds, waits for a free connection not counted",
            ),
            (
                RetryPolicy(max_attempts=8, max_retry_after=0),
                {"attempt_timeout": 1, "deadline": 1000},
                "at most 8 requests and 39.5 seconds, 1000 with waits for a free connection",
            ),
            # Rounded up, never down.
            (
                RetryPolicy(max_attempts=1),
                {"attempt_timeout": 1234567.81},
                "at most 1 request and 120 seconds",
            ),
            (
                RetryPolicy(max_attempts=1),
                {"attempt_timeout": 1234567.81, "deadline": None},
                "at most 1 request and 1234567.9 seconds, waits for a free connection not counted",
            ),
            (
                RetryPolicy(max_attempts=1),
                {"attempt_timeout": 0.1, "deadline": 0.1},
                "at most 1 request and 0.1 seconds",
            ),
            (
                RetryPolicy(max_attempts=1),
                {"attempt_timeout": 1e300, "deadline": 1e300},
                "at most 1 request and 1e+300 seconds",
            ),
            (
                RetryPolicy(base_delay=sys.float_info.max, max_delay=sys.float_info.max),
                {"deadline": None},
                "at most 4 requests and inf seconds, waits for a free connection not counted",
            ),
        ],
    )
    def test_in_words(self, policy: RetryPolicy, limits: dict[str, Any], says: str) -> None:
        """A policy says how many requests and how much time a call can cost."""
        assert says == str(policy.worst_case(**limits))

    def test_of_endless_patience(self) -> None:
        """A billion attempts are added up at once."""
        worst = RetryPolicy(max_attempts=10**9, max_retry_after=0).worst_case(
            attempt_timeout=1, deadline=None
        )

        assert 10**9 == worst.requests
        assert 9e9 == pytest.approx(worst.seconds)

    @pytest.mark.parametrize("attempts", [2, 59, 60, 61, 62, 63, 64, 99])
    def test_counts_every_delay(self, attempts: int) -> None:
        """All delays are in it, however many they are and however long they grow."""
        policy = RetryPolicy(
            max_attempts=attempts, base_delay=1, max_delay=sys.float_info.max, max_retry_after=0
        )
        delays = sum(policy.longest_delay(number) for number in range(1, attempts))

        worst = policy.worst_case(attempt_timeout=1, deadline=None)

        assert delays + attempts == pytest.approx(worst.seconds)

    @pytest.mark.parametrize("name", ["attempt_timeout", "deadline"])
    @pytest.mark.parametrize("seconds", [0, -1])
    def test_limits_are_checked(self, name: str, seconds: float) -> None:
        """What is no limit is refused, and named."""
        limits: dict[str, Any] = {name: seconds}
        with pytest.raises(ConfigurationError) as caught:
            RetryPolicy().worst_case(**limits)

        assert f"{name} must be a finite number of seconds, above zero" == str(caught.value)


class TestNoWaiting:
    def test_nested(self) -> None:
        """Delays pass at once inside, of the inner block and of the outer, and not outside."""
        waits = [time_to_wait(9)]
        with no_waiting():
            waits.append(time_to_wait(9))
            with no_waiting():
                waits.append(time_to_wait(9))
            waits.append(time_to_wait(9))
        waits.append(time_to_wait(9))

        assert [9, 0, 0, 0, 9] == waits

    def test_left_in_another_order(self) -> None:
        """As long as anybody is inside nobody waits, whoever came and goes first."""
        first, second = no_waiting(), no_waiting()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        between = time_to_wait(9)
        second.__exit__(None, None, None)

        assert [0, 9] == [between, time_to_wait(9)]

    def test_left_by_an_error(self) -> None:
        """A test that fails inside does not switch the next one's delays off."""
        with pytest.raises(LookupError), no_waiting():
            raise LookupError

        assert 9 == time_to_wait(9)
