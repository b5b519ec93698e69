from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import pytest

import virtual
from carevalidate_async import CareValidate, RetryPolicy
from carevalidate_async.bulk import BulkOptions, Row, combined, confirm_payments
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    Attempt,
    BadRequestError,
    CareValidateError,
    InternalServerError,
    InvalidRequestError,
    Outcome,
    RateLimitError,
)
from carevalidate_async.models import ConfirmationReceipt, Meta, PaymentConfirmation, PaymentStatus
from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TRY = Attempt(number=1, duration=0.01, happened="ok", outcome=Outcome.RECORDED)
RECEIPT = ConfirmationReceipt(meta=Meta(attempts=(TRY,)))
LOST = AnswerLostError("lost", outcome=Outcome.UNKNOWN, attempts=(TRY, TRY))
NO = BadRequestError("no", outcome=Outcome.REJECTED, attempts=(TRY,))
BUSY = RateLimitError("busy", outcome=Outcome.REJECTED, retryable=True, attempts=(TRY,))
AWAY = APIConnectionError("away", outcome=Outcome.NOT_SENT, retryable=True, attempts=(TRY,))


def payment(number: int, **changes: Any) -> PaymentConfirmation:
    return PaymentConfirmation(
        case_id=f"case-{number}",
        amount=Decimal(number),
        payment_date=date(2026, 1, 5),
        valid_until=date(2026, 2, 5),
        status=PaymentStatus.PAID,
        **changes,
    )


class FakeClient:
    """Answers each payment from a script, and a receipt once that is used up."""

    def __init__(self, *script: CareValidateError, seconds: float = 0.0) -> None:
        self.script = list(script)
        self.seconds = seconds
        self.asked: list[PaymentConfirmation] = []
        self.in_flight = 0
        self.most = 0

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        assert accept_duplicate
        self.asked.append(payment)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        if self.script:
            raise self.script.pop(0)
        return RECEIPT


async def collect(client: Any, payments: Any, **options: Any) -> list[Row]:
    options.setdefault("pause", 0.0)
    return [row async for row in confirm_payments(client, payments, **options)]


@attrs.frozen(kw_only=True)
class Numbered(PaymentConfirmation):
    """A caller's own kind of payment."""

    invoice: int


class TestRows:
    async def test_each_payment_is_on_record_once(self, sandbox: Sandbox) -> None:
        """
        Rows come with their place, their payment and their receipt, and all are on record.
        """
        async with CareValidate("test", base_url=sandbox.url) as care:
            rows = [r async for r in care.confirm_payments(map(payment, range(300)), concurrency=8)]

        assert list(range(300)) == sorted(row.index for row in rows)
        assert {Outcome.RECORDED} == {row.outcome for row in rows}
        assert {f"case-{n}" for n in range(300)} == {p.case_id for p in sandbox.payments}
        assert 300 == len(sandbox.payments)
        for row in rows:
            assert row.error is None
            assert row.receipt is not None
            assert row.payment.idempotency_key == row.receipt.meta.idempotency_key
            assert f"case-{row.index}" == row.payment.case_id

    async def test_async_iterables_are_as_good(self) -> None:
        """
        Payments may come one by one from something that waits.
        """

        async def payments() -> AsyncIterator[PaymentConfirmation]:
            for number in range(5):
                await asyncio.sleep(0)
                yield payment(number)

        rows = await collect(FakeClient(), payments())

        assert [0, 1, 2, 3, 4] == sorted(row.index for row in rows)

    @pytest.mark.parametrize("refused", [False, True])
    async def test_payments_of_a_kind_of_their_own(
        self, sandbox: Sandbox, *, refused: bool
    ) -> None:
        """
        What a caller's own kind of payment holds beside is on its row, whatever the vendor says.
        """
        if refused:
            sandbox.script(*[Fault.HTML(status=400, body='{"success": false}')] * 3)
        mine = [Numbered(**attrs.asdict(payment(n), recurse=False), invoice=n) for n in range(3)]
        async with CareValidate("test", base_url=sandbox.url) as care:
            rows = [row async for row in care.confirm_payments(mine)]

        outcome = Outcome.REJECTED if refused else Outcome.RECORDED
        assert [outcome] * 3 == [row.outcome for row in rows]
        assert [0, 1, 2] == sorted(getattr(row.payment, "invoice", -1) for row in rows)
        assert all("invoice" in repr(row.payment) for row in rows)

    async def test_nothing_gives_nothing(self) -> None:
        """
        No payments, no rows.
        """
        assert [] == await collect(FakeClient(), [])

    async def test_no_more_than_concurrency_are_in_flight(self) -> None:
        """
        The number of calls at once is bounded, and the bound is used.
        """
        client = FakeClient(seconds=0.005)
        await collect(client, map(payment, range(40)), concurrency=7)

        assert 7 == client.most

    async def test_payments_are_not_read_ahead_of_the_consumer(self) -> None:
        """
        Memory is bounded: a consumer that stops taking rows stops the reading.
        """
        taken = 0

        def endless() -> Iterator[PaymentConfirmation]:
            nonlocal taken
            while True:
                taken += 1
                yield payment(taken)

        async with contextlib.aclosing(
            confirm_payments(FakeClient(), endless(), concurrency=4)
        ) as rows:
            await anext(rows)
            await asyncio.sleep(0.02)

        assert 9 >= taken

    async def test_a_duplicate_is_a_success_that_says_so(self, sandbox: Sandbox) -> None:
        """
        A payment that was on record before the run is no error.
        """
        async with CareValidate("test", base_url=sandbox.url) as care:
            await collect(care, [payment(1, idempotency_key="k")])
            (row,) = await collect(care, [payment(1, idempotency_key="k")])

        assert row.receipt is not None
        assert row.receipt.meta.already_recorded is True
        assert 1 == len(sandbox.payments)

    @pytest.mark.parametrize(
        "bad", [{"concurrency": 0}, {"asks": 0}, {"rate": 0.0}, {"rate": -1.0}, {"rate": math.nan}]
    )
    async def test_options_that_make_no_sense_are_refused(self, bad: dict[str, float]) -> None:
        """
        A run with no workers, asks or speed is refused instead of hanging.
        """
        with pytest.raises(ValueError, match="at least 1"):
            await collect(FakeClient(), [], **bad)


class TestAsks:
    @pytest.mark.parametrize("first", [LOST, BUSY, AWAY])
    async def test_what_may_pass_is_asked_for_again_with_the_same_key(
        self, first: CareValidateError
    ) -> None:
        """
        An unknown outcome and a transient error lead to another ask under the one key.
        """
        client = FakeClient(first)
        (row,) = await collect(client, [payment(1)])

        assert 2 == len(client.asked)
        assert 1 == len({asked.idempotency_key for asked in client.asked})
        assert client.asked[0].idempotency_key is not None
        assert Outcome.RECORDED == row.outcome
        assert (*first.attempts, TRY) == row.attempts

    async def test_a_no_is_final(self) -> None:
        """
        What the vendor refused for good is not asked for again.
        """
        client = FakeClient(NO)
        (row,) = await collect(client, [payment(1)])

        assert 1 == len(client.asked)
        assert NO is row.error
        assert row.receipt is None
        assert Outcome.REJECTED == row.outcome

    async def test_asks_are_bounded(self) -> None:
        """
        A row that stays unknown is given back as such, with every try of every ask.
        """
        client = FakeClient(*[LOST] * 9)
        (row,) = await collect(client, [payment(1)], asks=3)

        assert 3 == len(client.asked)
        assert Outcome.UNKNOWN == row.outcome
        assert 6 == len(row.attempts)

    @pytest.mark.parametrize("last", [NO, AWAY, BUSY])
    async def test_doubt_is_only_settled_by_a_record(self, last: CareValidateError) -> None:
        """
        A payment that an earlier ask may have recorded stays unknown whatever else the last says.
        """
        (row,) = await collect(FakeClient(LOST, last), [payment(1)], asks=2)

        assert last is row.error
        assert Outcome.UNKNOWN == row.outcome

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_a_first_ask_speaks_for_itself(self, outcome: Outcome) -> None:
        """
        Without an earlier ask, or after one that is sure to have failed, the last one counts.
        """
        assert outcome == combined(None, outcome)
        assert outcome == combined(Outcome.REJECTED, outcome)
        assert outcome == combined(Outcome.NOT_SENT, outcome)

    def test_a_row_alone_can_be_asked_to_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Without a common pace, a row waits as long as Retry-After says, up to the run's patience,
        and then a while of our own on top.
        """
        monkeypatch.setattr("carevalidate_async.bulk.random.uniform", lambda _, high: high)
        asked: list[float] = []

        class Client(FakeClient):
            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                asked.append(virtual.now())
                return await super().confirm_payment(*args, **options)

        patient = RateLimitError("", outcome=Outcome.REJECTED, retryable=True, retry_after=7.0)
        virtual.run(collect(Client(patient, AWAY), [payment(1)], pause=0.5, adaptive=False))

        assert [0.0, 7.5, 8.5] == asked

    async def test_pauses_grow_up_to_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        The longest wait doubles with each ask and stops growing at 30 seconds.
        """
        longest: list[float] = []

        def uniform(low: float, high: float) -> float:
            longest.append(high)
            return low

        monkeypatch.setattr("carevalidate_async.bulk.random.uniform", uniform)
        await collect(FakeClient(*[LOST] * 8), [payment(1)], pause=0.5, asks=9)

        assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == longest

    async def test_lost_answers_are_settled_against_a_real_server(self, sandbox: Sandbox) -> None:
        """
        Whatever a connection does, each payment is on record once, and every try is counted.
        """
        sandbox.script(
            Fault.DROP_AFTER, Fault.REDIRECT, Fault.TRUNCATE, Fault.ERROR_AFTER, Fault.DROP_BEFORE
        )
        once = RetryPolicy(max_attempts=1)
        async with CareValidate("test", base_url=sandbox.url, retry=once) as care:
            rows = await collect(care, map(payment, range(3)), concurrency=3)

        assert [1, 1, 1] == [1 for row in rows if row.outcome is Outcome.RECORDED]
        assert ["case-0", "case-1", "case-2"] == sorted(p.case_id for p in sandbox.payments)
        assert sandbox.received == sum(len(row.attempts) for row in rows)


class TestRate:
    async def test_asks_are_evenly_spaced(self) -> None:
        """
        With 100 asks a second, 20 asks take the time of 19 gaps, further asks of a row included.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        client = FakeClient(BUSY, BUSY, BUSY)
        await collect(client, map(payment, range(17)), rate=100.0)

        assert 20 == len(client.asked)
        assert 0.19 <= clock() - began < 1.5

    def test_a_high_rate_is_reached(self) -> None:
        """
        What a timer was late is made up for: 1000 asks at 4000 a second take a quarter of a second,
        although each wait is 4 ms late.
        """

        async def late(event: asyncio.Event, seconds: float | None) -> None:
            await asyncio.sleep((seconds or 0) + 0.004)

        async def run() -> float:
            await collect(client, map(payment, range(1000)), rate=4000.0)
            return virtual.now()

        client = FakeClient()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("carevalidate_async._gate._rest", late)
            took = virtual.run(run())

        assert 1000 == len(client.asked)
        assert 0.24 <= took <= 0.26

    async def test_workers_without_a_payment_wait_for_no_slot(self) -> None:
        """
        At the end of the payments one slot more is waited for, not one a worker.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        await collect(FakeClient(), [payment(1)], rate=10.0, concurrency=1000)

        assert clock() - began < 10

    async def test_a_slow_source_saves_no_slots_up(self) -> None:
        """
        Payments that come late are still evenly spaced.
        """
        clock = asyncio.get_running_loop().time
        times: list[float] = []

        async def source() -> AsyncIterator[PaymentConfirmation]:
            await asyncio.sleep(0.1)
            for number in range(3):
                times.append(clock())
                yield payment(number)

        await collect(FakeClient(), source(), rate=20.0)

        assert all(0.04 <= later - before for before, later in itertools.pairwise(times))


class TestStop:
    async def test_what_is_in_flight_is_finished_and_no_more_is_taken(self) -> None:
        """
        After a stop the rows under way come out, and the rest of the payments are not touched.
        """
        stop = asyncio.Event()
        client = FakeClient(seconds=0.02)
        source = iter(map(payment, range(100)))
        rows = []
        async for row in confirm_payments(client, source, concurrency=4, stop=stop):
            rows.append(row)
            stop.set()

        assert 4 <= len(rows) <= 8
        assert len(rows) == len(client.asked)
        assert {Outcome.RECORDED} == {row.outcome for row in rows}
        assert len(rows) == int(next(source).amount)

    async def test_a_source_that_is_waited_for_holds_nothing_up(self) -> None:
        """
        A stop ends the run although its source has no end, and takes no payment that comes late.
        """
        stop = asyncio.Event()
        late = asyncio.Event()
        closed: list[bool] = []

        async def source() -> AsyncIterator[PaymentConfirmation]:
            try:
                yield payment(1)
                await late.wait()
                yield payment(2)
            finally:
                closed.append(True)

        client = FakeClient()
        async with asyncio.timeout(20):
            rows = confirm_payments(client, source(), concurrency=4, stop=stop)
            indices = []
            async for row in rows:
                indices.append(row.index)
                asyncio.get_running_loop().call_later(0.02, stop.set)
        late.set()

        assert ([0], 1, [True]) == (indices, len(client.asked), closed)

    async def test_a_source_s_own_timeout_is_raised(self) -> None:
        """
        That a source runs out of time is trouble, and no end of the payments.
        """

        async def source() -> AsyncIterator[PaymentConfirmation]:
            yield payment(1)
            raise TimeoutError("the database is slow")

        with pytest.raises(TimeoutError, match="the database is slow"):
            await collect(FakeClient(), source())

    async def test_a_stopped_run_does_not_ask_again(self) -> None:
        """
        A row that waits for its next ask comes out at once, as it stands.
        """
        stop = asyncio.Event()
        rows = confirm_payments(FakeClient(LOST), [payment(1)], pause=60.0, stop=stop)
        asyncio.get_running_loop().call_later(0.02, stop.set)
        (row,) = [row async for row in rows]

        assert LOST is row.error
        assert Outcome.UNKNOWN == row.outcome

    async def test_leaving_a_stopped_run_ends_it(self) -> None:
        """
        Workers that wake for the stop in the moment in which they are cancelled end all the same.
        """
        client = FakeClient(*[AWAY] * 15)
        stop = asyncio.Event()
        async with asyncio.timeout(20):
            rows = confirm_payments(
                client, map(payment, range(100)), concurrency=16, pause=3600.0, stop=stop
            )
            async with contextlib.aclosing(rows):
                async for _ in rows:
                    stop.set()
                    break

        assert stop.is_set()

    async def test_leaving_the_loop_cancels_what_is_in_flight(self) -> None:
        """
        A consumer that leaves early leaves no task behind.
        """
        client = FakeClient(seconds=0.01)
        before = asyncio.all_tasks()
        async with contextlib.aclosing(
            confirm_payments(client, map(payment, range(100)), concurrency=8)
        ) as rows:
            async for _ in rows:
                client.seconds = 60.0
                await asyncio.sleep(0.02)
                break

        assert 0 == client.in_flight
        assert before == asyncio.all_tasks()

    async def test_cancelling_the_consumer_cancels_what_is_in_flight(self) -> None:
        """
        A cancelled task leaves no task behind either.
        """
        client = FakeClient(seconds=60.0)
        task = asyncio.create_task(collect(client, map(payment, range(9)), concurrency=3))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert 0 == client.in_flight
        assert {asyncio.current_task()} == asyncio.all_tasks()


class TestTroubleWithPayments:
    async def test_what_is_in_flight_comes_out_before_the_trouble(self) -> None:
        """
        When the payments themselves fail, no outcome is lost to the exception.
        """

        def payments() -> Iterator[PaymentConfirmation]:
            yield payment(0)
            yield payment(1)
            raise OSError("the file is gone")

        rows = []

        async def take() -> None:
            client = FakeClient(seconds=0.01)
            async for row in confirm_payments(client, payments(), concurrency=5):
                rows.append(row)  # noqa: PERF401 - what came before the error is asked for

        with pytest.raises(OSError, match="the file is gone"):
            await take()

        assert [0, 1] == sorted(row.index for row in rows)

    async def test_a_bug_is_not_hidden_in_a_row(self) -> None:
        """
        An exception that is none of the package's ends the run.
        """

        class Broken(FakeClient):
            async def confirm_payment(self, *_: object, **__: object) -> NoReturn:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await collect(Broken(), [payment(1)])

    @pytest.mark.parametrize("wrong", [None, "no payment", {"case_id": "c"}, 5], ids=type)
    async def test_what_is_no_payment_is_refused_in_its_row(self, wrong: Any) -> None:
        """
        A wrong item spoils itself alone: the payments around it are recorded.
        """
        async with Sandbox() as sandbox, CareValidate("test", base_url=sandbox.url) as care:
            rows = await collect(care, [payment(1), wrong, payment(2)])

        assert 2 == len(sandbox.payments)
        (refused,) = (row for row in rows if row.error is not None)
        assert isinstance(refused.error, InvalidRequestError)
        assert (1, Outcome.NOT_SENT) == (refused.index, refused.outcome)

    async def test_a_source_that_hands_a_cancellation_on_ends_the_run(self) -> None:
        """
        A source whose own helper was cancelled is a source that fails: nothing hangs.
        """

        async def source() -> AsyncIterator[PaymentConfirmation]:
            yield payment(1)
            helper = asyncio.ensure_future(asyncio.sleep(60))
            helper.cancel()
            await helper

        rows = confirm_payments(FakeClient(), source(), concurrency=3)
        first = await anext(rows)
        with pytest.raises(asyncio.CancelledError):
            await anext(rows)

        assert Outcome.RECORDED is first.outcome

    async def test_a_worker_that_is_cancelled_ends_the_run(self) -> None:
        """
        Who takes the rows is told when somebody cancels the tasks behind them.
        """
        client = FakeClient(seconds=60)
        rows = confirm_payments(client, map(payment, range(9)), concurrency=3)
        before = asyncio.all_tasks()
        taking = asyncio.ensure_future(anext(rows))
        while not client.asked:  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before - {taking}:
            task.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await taking

    def test_options_have_their_types(self) -> None:
        """
        What the client's method takes is what the function does.
        """
        first, second, *options = inspect.signature(confirm_payments).parameters

        assert ["client", "payments"] == [first, second]
        assert options == list(BulkOptions.__annotations__)

    def test_bad_numbers_are_refused_at_once(self) -> None:
        """
        A wrong option is told by the call, not by the first row.
        """
        with pytest.raises(ValueError, match="at least 1"):
            confirm_payments(FakeClient(), [], concurrency=0)

    def test_a_row_shows_no_personal_data(self) -> None:
        """
        The repr of a row leaves out what the repr of its payment does.
        """
        error = InternalServerError("broken", outcome=Outcome.UNKNOWN)
        row = Row(
            index=0,
            payment=payment(1, email="someone@example.com"),
            error=error,
            outcome=Outcome.UNKNOWN,
        )

        assert "someone" not in repr(row)
        assert attrs.evolve(row) == row
