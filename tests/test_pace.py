"""How fast a run is, in an event loop whose clock only the run itself moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import virtual
from carevalidate_async._limits import Limit
from carevalidate_async.bulk import Pace, Row, RunState, confirm_payments
from carevalidate_async.errors import (
    APIConnectionError,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    InternalServerError,
    InvalidRequestError,
    Outcome,
    RateLimitError,
)
from vendors import PAYMENT, RECEIPT, Metered, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carevalidate_async.models import ConfirmationReceipt, PaymentConfirmation

WARM_UP = 10.0
AWAY = APIConnectionError("connection refused", outcome=Outcome.NOT_SENT, retryable=True)
BROKEN = InternalServerError("broken", status=500, outcome=Outcome.UNKNOWN, retryable=True)
GATEWAY = InternalServerError("away", status=502, outcome=Outcome.UNKNOWN, retryable=True)
NO = BadRequestError("no", status=400, outcome=Outcome.REJECTED)


def refused(retry_after: float | None) -> RateLimitError:
    return RateLimitError(
        "slow down",
        status=429,
        outcome=Outcome.REJECTED,
        retryable=True,
        retry_after=retry_after,
    )


class Watch:
    """Runs payments, and keeps what there was to see."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.paces: list[tuple[float, Pace]] = []
        self.error: BaseException | None = None
        self.ended = 0.0

    def run(
        self, client: Any, payments: Callable[[], Iterable[PaymentConfirmation]], **options: Any
    ) -> Watch:
        async def main() -> None:
            rows = confirm_payments(client, payments(), on_pace=self._see, **options)
            try:
                async for row in rows:
                    self.rows.append(row)
            except CareValidateError as error:
                self.error = error
            self.ended = virtual.now()

        virtual.run(main(), sockets=False)
        return self

    def _see(self, pace: Pace) -> None:
        self.paces.append((virtual.now(), pace))

    @property
    def reasons(self) -> list[str]:
        """Why the run was not running, each reason once."""
        found = (pace.reason for _, pace in self.paces if pace.reason is not None)
        return [reason for reason, _ in itertools.groupby(found)]


class Scripted:
    """Answers as a function of the moment and the number of the ask says."""

    def __init__(
        self, answer: Callable[[float, int], CareValidateError | None], seconds: float = 0.05
    ) -> None:
        self._answer = answer
        self._seconds = seconds
        self.asked: list[float] = []
        self.in_flight = 0

    async def confirm_payment(
        self, _: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        now = virtual.now()
        error = self._answer(now, len(self.asked))
        self.asked.append(now)
        self.in_flight += 1
        await asyncio.sleep(self._seconds)
        self.in_flight -= 1
        assert accept_duplicate
        if error is not None:
            raise error
        return RECEIPT


class TestVendorWithALimit:
    @pytest.mark.deep
    @pytest.mark.parametrize(
        ("burst", "seconds", "least"),
        [(25, 0.005, 0.95), (25, 0.1, 0.95), (0, 0.005, 0.95), (0, 0.1, 0.9)],
        ids=["bucket", "slow-bucket", "each-second", "slow-each-second"],
    )
    def test_is_found_without_being_told(self, burst: int, seconds: float, least: float) -> None:
        """
        A vendor that admits 200 a second gets at least 95 % of that (90 % where it counts by the
        second, and is slow), and refuses at most 5 % of what it gets.
        """
        vendor = Metered(lambda _: 200.0, seconds=seconds, burst=burst)
        Watch().run(vendor, lambda: until(50))

        assert vendor.refused
        assert vendor.goodput(WARM_UP, 50) >= least
        assert vendor.waste(WARM_UP, 50) <= 0.05

    @pytest.mark.parametrize(("retry_after", "least"), [(None, 0.8), (1.0, 0.5)])
    def test_a_low_one_is_found_soon(self, retry_after: float | None, least: float) -> None:
        """
        Of a vendor that admits 50 a second most is had within a quarter of a minute, or half where
        it asks to be left in peace for a second each time, and little is refused.
        """
        vendor = Metered(lambda _: 50.0, seconds=0.02, retry_after=retry_after)
        Watch().run(vendor, lambda: until(30))

        assert vendor.refused
        assert vendor.goodput(15, 30) >= least
        assert vendor.waste(15, 30) <= 0.15

    @pytest.mark.deep
    def test_is_found_again_when_it_halves_and_doubles(self) -> None:
        """
        The same holds for a limit that halves, and doubles again, in the midst of the run.
        """
        vendor = Metered(lambda now: 100.0 if 30 <= now < 50 else 200.0, seconds=0.03)
        Watch().run(vendor, lambda: until(70))

        assert vendor.goodput(WARM_UP, 70) >= 0.95
        assert vendor.waste(WARM_UP, 70) <= 0.05
        assert vendor.waste(32, 50) <= 0.1
        assert vendor.goodput(56, 70) >= 0.95

    @pytest.mark.deep
    def test_is_left_in_peace_while_it_asks_to(self) -> None:
        """
        No payment is sent before the Retry-After of any other is over, and such refusals become
        rare.
        """
        vendor = Metered(lambda _: 200.0, retry_after=1.0)
        watch = Watch().run(vendor, lambda: until(60))

        flight = 0.02 * 1.25
        everything = sorted(vendor.admitted + vendor.refused)
        for refusal in vendor.refused:
            assert not [m for m in everything if refusal + flight < m < refusal + 0.75 * 0.02 + 1]
        assert vendor.waste(WARM_UP, 60) <= 0.01
        assert vendor.goodput(30, 60) >= 0.9
        assert "the vendor asked to wait 2 s" in watch.reasons

    @pytest.mark.deep
    @pytest.mark.parametrize("seed", range(5))
    def test_is_found_again_after_trouble(self, seed: int) -> None:
        """
        A vendor that refused most of what it got for a while, and has got over it, is not asked at
        a crawl for long.
        """
        chance = random.Random(seed)
        waits = [None, 0.3, 1.0]

        def answer(now: float, _: int) -> CareValidateError | None:
            if now >= 25 or chance.random() >= 0.6:
                return None
            return refused(chance.choice(waits))

        vendor = Scripted(answer, seconds=0.1)
        Watch().run(vendor, lambda: until(70))

        assert 0.9 * 640 * 5 <= len([moment for moment in vendor.asked if 65 <= moment < 70])

    def test_pays_nobody_more_than_was_asked(self) -> None:
        """
        Every payment that was taken from the source comes out, once.
        """
        vendor = Metered(lambda _: 50.0)
        watch = Watch().run(vendor, lambda: until(20))

        assert list(range(len(watch.rows))) == sorted(row.index for row in watch.rows)
        assert {Outcome.RECORDED} == {row.outcome for row in watch.rows}
        assert len(vendor.admitted) == len(watch.rows)

    def test_given_bounds_are_never_passed(self) -> None:
        """
        Below what the vendor admits the pace is the caller's own, evenly spaced.
        """
        vendor = Metered(lambda _: 200.0)
        Watch().run(vendor, lambda: until(20), rate=50.0)

        gaps = [later - before for before, later in itertools.pairwise(vendor.admitted)]
        assert [] == vendor.refused
        assert 0.0195 <= min(gaps)
        assert 0.98 <= len(vendor.admitted) / (20 * 50) <= 1.01

    def test_can_be_left_to_the_caller(self) -> None:
        """
        A run that is not to adapt goes on at its own pace, whatever is refused.
        """
        vendor = Metered(lambda _: 20.0)
        watch = Watch().run(
            vendor, lambda: itertools.islice(until(1e9), 200), rate=100.0, adaptive=False, asks=1
        )

        assert 200 == len(watch.rows) == len(vendor.admitted + vendor.refused)
        assert 1.9 <= watch.ended <= 2.1
        assert {(RunState.RUNNING, 64, 100.0)} == {
            (pace.state, pace.limit, pace.rate) for _, pace in watch.paces
        }


class TestVendorThatSlowsDown:
    @staticmethod
    def _crowd(slow_from: float, slow_to: float) -> tuple[list[tuple[float, int]], Any]:
        """Return what is in flight by moment, and a client whose answers take longer meanwhile."""
        seen: list[tuple[float, int]] = []

        class Slow(Scripted):
            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                crowded = slow_from <= virtual.now() < slow_to
                self._seconds = 0.02 * (8 if crowded else 1)
                seen.append((virtual.now(), self.in_flight))
                return await super().confirm_payment(*args, **options)

        return seen, Slow(lambda *_: None)

    def test_gets_fewer_at_once_until_it_recovers(self) -> None:
        """
        When answers suddenly take eight times as long, less is in flight; when they do no longer,
        as much as before.
        """
        seen, client = self._crowd(4, 6)
        Watch().run(client, lambda: until(9))

        def most(since: float, to: float) -> int:
            return max(flight for moment, flight in seen if since <= moment < to)

        assert most(2, 4) >= 60
        assert most(5, 6) <= 45
        assert most(8, 9) >= 60

    def test_is_not_judged_by_what_never_reached_it(self) -> None:
        """
        Payments that are refused before they are sent take no time, and answers that take some
        are not slow for that.
        """
        seen, client = self._crowd(0, 0)
        bad = InvalidRequestError("amount", "is odd")

        class Picky:
            asked = 0

            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                self.asked += 1
                if self.asked <= 2000:
                    raise bad
                receipt: ConfirmationReceipt = await client.confirm_payment(*args, **options)
                return receipt

        Watch().run(Picky(), lambda: until(2))

        assert 60 <= max(flight for _, flight in seen)

    def test_is_not_judged_by_the_time_that_we_take(self) -> None:
        """
        Answers of a millisecond that take ten times as long are no sign of trouble.
        """
        limit = Limit(64)
        for seconds in (0.0005, 0.005):
            for _ in range(2000):
                limit.end(seconds, limit.limit)

        assert 64 == limit.limit

    def test_begins_with_few(self) -> None:
        """
        A vendor nobody has asked yet is not met with all at once.
        """
        seen, client = self._crowd(0, 0)
        Watch().run(client, lambda: until(0.5))

        assert 8 > max(flight for moment, flight in seen if moment < 0.02)
        assert 60 <= max(flight for _, flight in seen)


class TestOutage:
    @pytest.mark.parametrize("error", [AWAY, GATEWAY], ids=["away", "gateway"])
    def test_is_waited_for(self, error: CareValidateError) -> None:
        """
        While the vendor is down it is asked now and then, no row is lost or marked for it, and the
        run goes on once it is back.
        """
        vendor = Scripted(lambda now, _: error if 5 <= now < 125 else None)
        watch = Watch().run(vendor, lambda: itertools.islice(until(1e9), 8_000))

        asked = [moment for moment in vendor.asked if 15 <= moment < 125]
        assert 8_000 == len(watch.rows)
        assert {Outcome.RECORDED} == {row.outcome for row in watch.rows}
        assert None is watch.error
        assert 4 <= len(asked) <= 12
        assert RunState.RUNNING is watch.paces[-1][1].state
        assert all("trying again for up to 300 s" in reason for reason in watch.reasons)
        waiting = [pace for _, pace in watch.paces if pace.state is RunState.WAITING]
        assert {1} == {pace.limit for pace in waiting}

    def test_is_not_waited_for_without_end(self) -> None:
        """
        After `max_outage` the run ends: what was taken comes out as it is, the rest is not taken,
        and what was met is raised.
        """
        vendor = Scripted(lambda now, _: AWAY if now >= 5 else None)
        watch = Watch().run(vendor, lambda: until(1e9), max_outage=60.0)

        assert AWAY is watch.error
        assert 60 <= watch.ended - 5 <= 61
        assert (RunState.STOPPED, True) == (
            watch.paces[-1][1].state,
            (watch.reasons[-1] or "").startswith(
                "the vendor cannot be reached (connection refused) for "
            ),
        )
        left = [row for row in watch.rows if row.error is not None]
        assert {Outcome.NOT_SENT} == {row.outcome for row in left}
        assert 16 <= len(left) <= 64

    @pytest.mark.parametrize("seconds", [3.0, 6.0, 20.0])
    def test_a_short_patience_is_kept(self, seconds: float) -> None:
        """
        The last look at whether the vendor is back comes when the patience ends, and no later.
        """
        vendor = Scripted(lambda now, _: GATEWAY if now >= 5 else None)
        watch = Watch().run(vendor, lambda: until(1e9), max_outage=seconds)

        assert GATEWAY is watch.error
        assert seconds <= watch.ended - 5 <= seconds + 1

    def test_is_soon_believed_of_a_vendor_that_never_answered(self) -> None:
        """
        Who was never heard from may not be there at all.
        """
        vendor = Scripted(lambda *_: AWAY)
        watch = Watch().run(vendor, lambda: until(1e9))

        assert AWAY is watch.error
        assert 10 <= watch.ended <= 11

    def test_is_none_where_a_few_payments_fail(self) -> None:
        """
        Payments that fail by themselves, however often, hold up no others and end after their asks.
        """
        vendor = Scripted(lambda _, number: BROKEN if number % 3 == 0 else None)
        watch = Watch().run(vendor, lambda: itertools.islice(until(1e9), 500))
        alone = Watch().run(Scripted(lambda *_: BROKEN), lambda: [PAYMENT] * 15)

        assert {Outcome.RECORDED} == {row.outcome for row in watch.rows}
        assert [] == watch.reasons + alone.reasons
        assert [10] * 15 == [len(row.attempts) or 10 for row in alone.rows]
        assert {Outcome.UNKNOWN} == {row.outcome for row in alone.rows}

    def test_is_none_while_a_vendor_says_no(self) -> None:
        """
        A no is a clear answer, however many of them there are.
        """
        watch = Watch().run(Scripted(lambda *_: NO), lambda: [PAYMENT] * 1000)

        assert 1000 == len(watch.rows)
        assert [] == watch.reasons

    @pytest.mark.parametrize("bad", [16, 64])
    def test_is_none_where_the_first_payments_are_the_bad_ones(self, bad: int) -> None:
        """
        Payments that the vendor fails on, as many as there are in flight, do not keep others back.
        """

        class Client(Scripted):
            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                self._answer = lambda *_: BROKEN if args[0].case_id == "bad" else None
                return await super().confirm_payment(*args, **options)

        poison = attrs.evolve(PAYMENT, case_id="bad")
        watch = Watch().run(
            Client(lambda *_: None), lambda: [*[poison] * bad, *[PAYMENT] * 200], concurrency=bad
        )

        assert None is watch.error
        assert bad + 200 == len(watch.rows)
        assert {"bad": bad, "case-1": 200} == Counter(row.payment.case_id for row in watch.rows)
        assert {Outcome.RECORDED} == {
            row.outcome for row in watch.rows if row.payment.case_id != "bad"
        }

    @pytest.mark.parametrize("retry_after", [301.0, 172_800.0])
    def test_is_not_slept_through_for_as_long_as_a_gateway_says(self, retry_after: float) -> None:
        """
        While the vendor is down, whoever asks to wait longer than the run does ends it.
        """
        later = InternalServerError(
            "x", status=502, outcome=Outcome.UNKNOWN, retryable=True, retry_after=retry_after
        )
        vendor = Scripted(lambda now, _: (later if now >= 40 else GATEWAY) if now >= 5 else None)
        watch = Watch().run(vendor, lambda: until(1e9))

        assert later is watch.error
        assert watch.ended < 40 + 31
        assert [f"the vendor asks to wait {retry_after:,.0f} s"] == watch.reasons[-1:]

    @staticmethod
    def _oddly(odd: Exception) -> Watch:
        """Return an outage in the midst of which asks end in *odd*."""

        class Client(Scripted):
            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                if 20 <= virtual.now() < 40:
                    raise odd
                return await super().confirm_payment(*args, **options)

        client = Client(lambda now, _: AWAY if 2 <= now < 100 else None)
        watch = Watch().run(client, lambda: itertools.islice(until(1e9), 20_000))
        assert [] != watch.reasons
        return watch

    def test_ends_though_a_probe_told_nothing(self) -> None:
        """
        A probe that is refused here, so that the vendor never sees it, is followed by another.
        """
        watch = self._oddly(InvalidRequestError("amount", "is odd"))

        assert None is watch.error
        assert 20_000 == len(watch.rows)

    def test_ends_though_a_probe_met_a_bug(self) -> None:
        """
        So is one that ends in what is no error of the package; the run ends with it then.
        """
        with pytest.raises(RuntimeError, match="bug"):
            self._oddly(RuntimeError("bug"))


class TestWatcher:
    def test_that_fails_changes_nothing(self) -> None:
        """
        What a caller's function raises is logged, and no payment is lost for it.
        """

        async def main() -> list[Row]:
            def fail(_: Pace) -> None:
                raise RuntimeError("no display")

            rows = confirm_payments(Scripted(lambda *_: None), [PAYMENT] * 50, on_pace=fail)
            return [row async for row in rows]

        assert 50 == len(virtual.run(main(), sockets=False))


class TestEnd:
    def test_comes_at_once_where_the_key_is_refused(self) -> None:
        """
        A refused API key ends the run: no further payment is taken.
        """
        refused = AuthenticationError("bad key", status=401, outcome=Outcome.REJECTED)
        vendor = Scripted(lambda _, number: refused if number >= 100 else None)
        watch = Watch().run(vendor, lambda: until(1e9))

        assert refused is watch.error
        assert ["the vendor refuses the API key (401 AuthenticationError)"] == watch.reasons
        assert len(watch.rows) == len(vendor.asked) <= 100 + 64

    def test_comes_where_the_wait_that_is_asked_for_is_too_long(self) -> None:
        """
        A vendor that asks to wait longer than the run would is not waited for.
        """
        later = RateLimitError(
            "later", status=429, outcome=Outcome.REJECTED, retryable=True, retry_after=3600.0
        )
        vendor = Scripted(lambda _, number: later if number >= 100 else None)
        watch = Watch().run(vendor, lambda: until(1e9))

        assert later is watch.error
        assert ["the vendor asks to wait 3,600 s"] == watch.reasons
        assert watch.ended < 2

    def test_comes_where_a_certificate_is_not_trusted(self) -> None:
        """
        What no wait can mend is not waited for.
        """
        untrusted = APIConnectionError("not trusted", outcome=Outcome.NOT_SENT, retryable=False)
        watch = Watch().run(Scripted(lambda *_: untrusted), lambda: until(1e9))

        assert untrusted is watch.error
        assert 16 <= len(watch.rows) <= 64
