from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import nats
import pytest

from brokers import NatsServer
from carevalidate_async import (
    AnswerLostError,
    InternalServerError,
    Outcome,
    UnprocessableEntityError,
)
from carevalidate_async._files.fields import FileRow, JsonObject, content_key
from carevalidate_async._files.rows import RowReader
from carevalidate_async._jobs import enqueue
from carevalidate_async._jobs.collect import Collector
from carevalidate_async._jobs.enqueue import Enqueuer, OtherFileError
from carevalidate_async._jobs.ledger import (
    DURABLE,
    BrokerError,
    Ledger,
    OtherEnqueuerError,
    check_url,
    connected,
    shown,
)
from carevalidate_async._jobs.messages import (
    JOBS,
    OUT,
    WORK,
    WORK_SUBJECTS,
    Refused,
    Result,
    Work,
    is_job_name,
    job_name,
    packed,
    unpacked,
    work_subject,
)
from carevalidate_async._jobs.replay import letters, replay
from carevalidate_async._jobs.work import JobDelivery
from carevalidate_async.events import Action, Decision, Event, read_payment
from carevalidate_async.integrations.jetstream import (
    MismatchError,
    consumer_config,
    provide_consumer,
    stream_config,
)
from carevalidate_async.journal import Duplicates
from event_support import Relay

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator


HEADER = "case_id,amount,payment_date,valid_until,status,note\n"


def row(number: int, amount: str = "1.10") -> str:
    return f"case-{number},{amount},2026-01-05,2026-02-05,PAID,n{number}\n"


def text(rows: int) -> str:
    return HEADER + "".join(map(row, range(rows)))


@pytest.fixture
async def ledger(tmp_path: pathlib.Path) -> AsyncIterator[Ledger]:
    """What a broker of its own has of jobs: nothing."""
    with NatsServer(tmp_path / "streams") as server:
        async with connected(server.url, lambda _: None) as js:
            yield await Ledger.open(js)


def queuer(ledger: Ledger, rows: str, **options: Any) -> Enqueuer:
    chosen: dict[str, Any] = {
        "name": "job",
        "file": "payments.csv",
        "duplicates": Duplicates.REFUSE,
        "note": lambda _: None,
        **options,
    }
    return Enqueuer(RowReader(io.BytesIO(rows.encode())), ledger, **chosen)


async def queued(ledger: Ledger) -> list[Work]:
    """Return the rows that wait, oldest first."""
    state = (await ledger.js.stream_info(WORK)).state
    found = []
    for number in range(state.first_seq, state.last_seq + 1):
        message = await ledger.js.get_msg(WORK, number)
        found.append(msgspec.json.decode(message.data or b"", type=Work))
    return found


async def refused(ledger: Ledger, line: int) -> Refused:
    token = (await ledger.record("job")).token("job")
    message = await ledger.js.get_last_msg(OUT, f"carevalidate.out.{token}.refused.{line}")
    return msgspec.json.decode(message.data or b"", type=Refused)


async def result_of(ledger: Ledger, line: int) -> Result:
    token = (await ledger.record("job")).token("job")
    message = await ledger.js.get_last_msg(OUT, f"carevalidate.out.{token}.result.{line}")
    return msgspec.json.decode(message.data or b"", type=Result)


class TestEnqueue:
    async def test_each_row_waits_once(self, ledger: Ledger) -> None:
        """
        Rows that can be sent wait in the file's order, under the key that their content gives and
        with exact amounts.
        """
        job = await queuer(ledger, text(3)).run()

        works = await queued(ledger)
        assert [2, 3, 4] == [work.line for work in works]
        assert (3, 3, True) == (job.rows, job.queued, job.whole)
        payment = read_payment(Event(id="1", data=bytes(works[0].payment), attempt=1))
        assert Decimal("1.10") == payment.amount
        assert b'"amount":1.10' in bytes(works[0].payment)
        bare = attrs.evolve(payment, idempotency_key=None)
        assert content_key(bare) == payment.idempotency_key

    async def test_rows_that_cannot_be_sent(self, ledger: Ledger) -> None:
        """
        Rows that are no payment, or are there twice, do not wait; what is wrong is noted with them
        as they were read.
        """
        rows = HEADER + row(1) + row(2, "x") + row(1)
        job = await queuer(ledger, rows).run()

        assert (3, 1, 1, 1) == (job.rows, job.queued, job.invalid, job.repeated)
        invalid, twice = await refused(ledger, 3), await refused(ledger, 4)
        assert ("invalid", "amount") == (invalid.counted, invalid.problems[0][0])
        assert ["case-2", "x", *row(2).strip().split(",")[2:]] == unpacked(
            3, invalid.original
        ).original
        assert "duplicates" == twice.counted

    async def test_equal_rows_may_be_payments_of_their_own(self, ledger: Ledger) -> None:
        """
        With ``each``, equal rows wait under keys of their own; with ``once``, one of them does.
        """
        rows = HEADER + row(1) + row(1)
        each = await queuer(ledger, rows, name="each", duplicates=Duplicates.EACH).run()
        works = await queued(ledger)
        once = await queuer(ledger, rows, name="once", duplicates=Duplicates.ONCE).run()

        assert (2, 0) == (each.queued, each.repeated)
        keys = {json.loads(bytes(work.payment))["idempotencyKey"] for work in works}
        assert 2 == len(keys)
        assert works[0].reject_key is None
        assert "copy 2 of" in str(works[1].reject_key)
        assert (1, 1) == (once.queued, once.repeated)

    async def test_again_queues_nothing(self, ledger: Ledger) -> None:
        """
        The same file under the same name is queued once.
        """
        await queuer(ledger, text(5)).run()
        again = queuer(ledger, text(5))
        job = await again.run()

        assert 5 == len(await queued(ledger))
        assert (5, 5) == (job.rows, again.skipped)
        assert 5 == (await ledger.js.stream_info(WORK)).state.last_seq

    async def test_goes_on_where_another_one_ended(self, ledger: Ledger) -> None:
        """
        One that is stopped in the midst has queued a part; another one queues the rest, and each
        row once.
        """
        rows = 5000
        first: Enqueuer = queuer(ledger, text(rows), progress=lambda _: first.stop())
        part = await first.run()
        whole = await queuer(ledger, text(rows)).run()

        assert not part.whole
        assert 0 < part.rows < rows
        assert whole.whole
        works = await queued(ledger)
        assert [*range(2, rows + 2)] == [work.line for work in works]

    async def test_cut_off_in_its_first_batch_it_is_known(self, ledger: Ledger) -> None:
        """
        A process that is cut off while it publishes leaves word of which rows it was about to: the
        same file goes on, each row once, and another one is refused.
        """
        config = (await ledger.js.stream_info(WORK)).config
        await ledger.js.update_stream(attrs_of(config, max_msgs=4))
        first: Enqueuer = queuer(ledger, text(10), note=lambda _: first.stop())
        part = await first.run()
        await ledger.js.update_stream(attrs_of(config, max_msgs=-1))
        changed = text(10).replace("1.10", "999")
        with pytest.raises(OtherFileError, match="its first 10 rows differ"):
            await queuer(ledger, changed).run()
        with pytest.raises(OtherFileError, match="it had more rows"):
            await queuer(ledger, text(5)).run()
        whole = await queuer(ledger, text(10)).run()

        assert (0, 10, False) == (part.rows, part.planned, part.whole)
        assert (10, 10, True) == (whole.rows, whole.queued, whole.whole)
        assert [*range(2, 12)] == [work.line for work in await queued(ledger)]

    async def test_what_was_confirmed_meanwhile_is_not_queued_again(self, ledger: Ledger) -> None:
        """
        Rows of a batch that was cut off, and that workers have confirmed since, are left alone,
        however long ago that was.
        """
        config = (await ledger.js.stream_info(WORK)).config
        await ledger.js.update_stream(attrs_of(config, max_msgs=2, duplicate_window=0.1))
        first: Enqueuer = queuer(ledger, text(3), note=lambda _: first.stop())
        await first.run()
        await ledger.js.update_stream(attrs_of(config, max_msgs=-1, duplicate_window=0.1))
        taken = Taken(ledger)
        for _ in range(2):
            delivery = await taken.next()
            await delivery.publish(ON_RECORD)
            await delivery.ack()
        await asyncio.sleep(0.3)  # until the broker has forgotten them
        await queuer(ledger, text(3)).run()

        assert 1 == (await ledger.js.stream_info(WORK)).state.messages

    async def test_a_row_that_is_too_large_is_told(self, ledger: Ledger) -> None:
        """
        A row that the broker can never take ends it, and is named.
        """
        large = json.dumps({"caseId": "c", "description": "\u20ac" * 200_000}, ensure_ascii=False)
        good = (
            '{"caseId": "c", "amount": 1, "paymentDate": "2026-11-02", "validUntil": "2026-12-02"'
        )
        rows = f'{good}, "status": "PAID", "note": "{"€" * 200_000}"}}\n{large}\n'
        with pytest.raises(BrokerError, match="line 1 is larger than the broker's max_payload"):
            await queuer(ledger, rows).run()

    async def test_rows_that_are_added_later_are_queued(self, ledger: Ledger) -> None:
        """
        A file that has grown is the same one: what was added is queued.
        """
        await queuer(ledger, text(3)).run()
        job = await queuer(ledger, text(5)).run()

        assert 5 == job.queued
        assert 5 == len(await queued(ledger))

    @pytest.mark.parametrize(
        ("rows", "options", "why"),
        [
            (HEADER + row(9) + row(1) + row(2), {}, "first 3 rows differ"),
            (text(2), {}, "it had more rows"),
            (text(3).replace("note", "other"), {}, "columns differ"),
            (text(3), {"duplicates": Duplicates.ONCE}, "begun with --duplicates refuse"),
        ],
        ids=["rows", "fewer", "columns", "duplicates"],
    )
    async def test_another_file_under_its_name_is_refused(
        self, ledger: Ledger, rows: str, options: dict[str, Any], why: str
    ) -> None:
        """
        A job's name is of one file; another one is refused, and nothing of it is queued.
        """
        await queuer(ledger, text(3)).run()

        with pytest.raises(OtherFileError, match=why):
            await queuer(ledger, rows, **options).run()
        assert 3 == len(await queued(ledger))

    @pytest.mark.parametrize("records", [1, 2, 3])
    async def test_two_at_once_are_told(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, records: int
    ) -> None:
        """
        Of two processes that queue one job, the one that comes second with a record of it stops,
        and each row waits once.
        """
        rows = text(3000)
        put = ledger.put
        done = 0

        async def overtaken(name: str, job: Any, revision: int) -> int:
            nonlocal done
            done += 1
            if done == records:
                monkeypatch.setattr(ledger, "put", put)
                await queuer(ledger, rows).run()
            return await put(name, job, revision)

        monkeypatch.setattr(ledger, "put", overtaken)
        with pytest.raises(OtherEnqueuerError):
            await queuer(ledger, rows).run()

        lines = [work.line for work in await queued(ledger)]
        assert 3000 == len({*lines}) == len(lines)

    async def test_a_record_whose_answer_was_lost_is_its_own(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A record that was written, and of which nobody heard, is no other process's.
        """
        put = ledger.put
        lost = 0

        async def lossy(name: str, job: Any, revision: int) -> int:
            nonlocal lost
            written = await put(name, job, revision)
            if not lost:
                lost += 1
                raise nats.errors.TimeoutError
            return written

        monkeypatch.setattr(ledger, "put", lossy)
        job = await queuer(ledger, text(3)).run()

        assert (1, True, 3) == (lost, job.whole, job.queued)
        assert 3 == len(await queued(ledger))

    async def test_answers_that_get_lost_are_asked_for_again(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Whatever the broker was asked while it went away, it is asked again, and the job goes on
        where it was cut off, each row once.
        """
        config = (await ledger.js.stream_info(WORK)).config
        await ledger.js.update_stream(attrs_of(config, max_msgs=4))
        first: Enqueuer = queuer(ledger, text(9), note=lambda _: first.stop())
        await first.run()
        await ledger.js.update_stream(attrs_of(config, max_msgs=-1))
        lost: Counter[str] = Counter()

        def lossy(owner: Any, name: str, *, heard: int) -> None:
            answer = getattr(owner, name)
            asked = itertools.count()

            async def ask(*args: Any) -> Any:
                try:
                    return await answer(*args)
                finally:
                    if next(asked) % 2 == heard:
                        lost[name] += 1
                        raise nats.errors.TimeoutError

            monkeypatch.setattr(owner, name, ask)

        lossy(ledger, "put", heard=0)
        lossy(ledger, "job", heard=1)  # what is asked first is whether there is such a job
        lossy(ledger.js, "get_last_msg", heard=0)
        monkeypatch.setattr(enqueue, "FULL_SECONDS", 0.01)
        job = await queuer(ledger, text(9)).run()

        assert {"put", "job", "get_last_msg"} == lost.keys()
        assert (True, 9) == (job.whole, job.queued)
        assert [*range(2, 11)] == sorted(work.line for work in await queued(ledger))

    async def test_a_record_that_is_refused_is_not_waited_for(self, ledger: Ledger) -> None:
        """
        A broker that answers, and takes no record, ends it with what the broker says.
        """
        config = (await ledger.js.stream_info(f"KV_{JOBS}")).config
        await ledger.js.update_stream(attrs_of(config, max_msg_size=1))
        with pytest.raises(BrokerError, match=r"the broker refuses it: .*; what is queued stays"):
            await queuer(ledger, text(3)).run()

    async def test_waits_while_the_queue_is_full(self, ledger: Ledger) -> None:
        """
        A queue that is full is waited for; no row is lost, and none is there twice.
        """
        told: list[str] = []
        config = (await ledger.js.stream_info(WORK)).config
        await ledger.js.update_stream(attrs_of(config, max_msgs=10))
        task = asyncio.create_task(queuer(ledger, text(25), note=told.append).run())
        taken: list[int] = []
        sub = await ledger.js.pull_subscribe(WORK_SUBJECTS, durable="workers", stream=WORK)
        async with asyncio.timeout(20):
            while len(taken) < 25:
                for message in await sub.fetch(5, timeout=5):
                    taken.append(msgspec.json.decode(message.data, type=Work).line)
                    await message.ack_sync()
        job = await task

        assert job.whole
        assert [*range(2, 27)] == sorted(taken)
        assert ["the queue is full; waiting for the workers", "going on"] == told[:2]

    async def test_outlives_the_broker(self, tmp_path: pathlib.Path) -> None:
        """
        A broker that is killed and comes back is waited for; each row waits once.
        """
        told: list[str] = []
        with NatsServer(tmp_path / "streams") as server:
            async with connected(server.url, told.append) as js:
                ledger = await Ledger.open(js)
                killed = False

                def kill(_: int) -> None:
                    nonlocal killed
                    if not killed:
                        killed = True
                        server.kill()
                        asyncio.get_running_loop().call_later(0.5, server.start)

                job = await queuer(ledger, text(3000), progress=kill).run()
                lines = [work.line for work in await queued(ledger)]

        assert job.whole
        assert [*range(2, 3002)] == sorted(lines)
        assert "the broker is back" in told


def attrs_of(config: Any, **changes: Any) -> Any:
    return config.evolve(**changes)


class Taken:
    """A row that was fetched, and what became of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def next(self) -> JobDelivery:
        sub = await self._ledger.js.pull_subscribe(WORK_SUBJECTS, durable="workers", stream=WORK)
        (message,) = await sub.fetch(1, timeout=5)
        delivery = JobDelivery(message, self._ledger.js)
        await delivery.look_back()
        return delivery


LOST = AnswerLostError("lost", outcome=Outcome.UNKNOWN, retryable=True)
DOWN = InternalServerError(
    "down", outcome=Outcome.REJECTED, status=503, retryable=True, message="come back"
)
WRONG = UnprocessableEntityError(
    "no", outcome=Outcome.REJECTED, status=422, code="BAD", message="patient is unknown"
)


def decision(action: Action, outcome: Outcome, error: Any = None) -> Decision:
    return Decision(action=action, outcome=outcome, reason="told", key="k", error=error)


ON_RECORD = decision(Action.ACK, Outcome.RECORDED)
PARKED = decision(Action.PARK, Outcome.UNKNOWN, LOST)
DEAD = decision(Action.DEAD, Outcome.REJECTED, WRONG)


class TestResults:
    async def test_the_first_one_stays(self, ledger: Ledger) -> None:
        """
        A row's result is not replaced by that of a second delivery.
        """
        await queuer(ledger, text(1)).run()
        delivery = await Taken(ledger).next()
        await delivery.publish(DEAD)
        await delivery.publish(decision(Action.DEAD, Outcome.REJECTED, DOWN))

        found = await result_of(ledger, 2)
        assert ("rejected", 422, "BAD") == (found.state, found.status, found.code)
        assert "patient is unknown" == found.said
        assert found.work is not None

    async def test_more_is_known_of_unknown_than_of_rejected(self, ledger: Ledger) -> None:
        """
        What may be on record after all is no longer said to be refused.
        """
        await queuer(ledger, text(1)).run()
        delivery = await Taken(ledger).next()
        for made in (DEAD, PARKED):
            await delivery.publish(made)

        assert "unknown" == (await result_of(ledger, 2)).state

    async def test_a_record_is_the_last_word(self, ledger: Ledger) -> None:
        """
        What was unknown is replaced once it is known to be on record, and never back.
        """
        await queuer(ledger, text(1)).run()
        delivery = await Taken(ledger).next()
        for made in (PARKED, ON_RECORD, PARKED):
            await delivery.publish(made)

        assert "already_recorded" == (await result_of(ledger, 2)).state

    async def test_what_earlier_deliveries_met_is_looked_at(self, ledger: Ledger) -> None:
        """
        After deliveries that surely put nothing on record a row is in no doubt; after one that may
        have, or of which nothing is known, it is.
        """
        await queuer(ledger, text(1)).run()
        taken = Taken(ledger)
        first = await taken.next()
        await first.publish(decision(Action.RETRY, Outcome.REJECTED, DOWN))
        await first.retry(0.01)
        second = await taken.next()
        await second.publish(decision(Action.RETRY, Outcome.UNKNOWN, LOST))
        await second.retry(0.01)
        third = await taken.next()
        await third.retry(0.01)  # as one that was cut off, it says nothing
        fourth = await taken.next()

        assert [1, 2, 3, 4] == [d.event.attempt for d in (first, second, third, fourth)]
        assert not first.event.may_have_landed
        assert not second.event.may_have_landed
        assert third.event.may_have_landed
        assert fourth.event.may_have_landed

    async def test_a_row_is_as_old_as_its_first_delivery(self, ledger: Ledger) -> None:
        """
        However long a row has waited, its key is as old as its first delivery; where that is not
        known, as old as the row in the queue.
        """
        await queuer(ledger, text(2)).run()
        await asyncio.sleep(0.5)
        taken = Taken(ledger)
        known, unknown = await taken.next(), await taken.next()
        await known.publish(decision(Action.RETRY, Outcome.REJECTED, DOWN))
        for first in (known, unknown):
            await first.retry(0.01)
        again = {delivery.event.id: delivery for delivery in [await taken.next() for _ in "12"]}

        assert (known.event.age or 0.0) < 0.5
        assert (again[known.event.id].event.age or 0.0) < 0.5
        assert (again[unknown.event.id].event.age or 0.0) >= 0.5

    async def test_what_was_met_before_a_replay_says_nothing(self, ledger: Ledger) -> None:
        """
        A row that was queued once more, and cut off, is in doubt, whatever its first message met.
        """
        await queuer(ledger, text(1)).run()
        taken = Taken(ledger)
        first = await taken.next()
        await first.publish(decision(Action.RETRY, Outcome.REJECTED, DOWN))
        await first.publish(DEAD)
        await first.ack()
        (letter,) = [letter async for letter in letters(ledger, "job")]
        await replay(ledger, "job", letter)
        cut_off = await taken.next()
        await cut_off.retry(0.01)
        again = await taken.next()

        assert not cut_off.event.may_have_landed
        assert again.event.may_have_landed

    async def test_handler_sees_the_payment(self, ledger: Ledger) -> None:
        """
        What a handler is given is the row's payment, under the row's key.
        """
        await queuer(ledger, text(1)).run()
        delivery = await Taken(ledger).next()
        payment = read_payment(delivery.event)

        assert "case-0" == payment.case_id
        assert f"{(await ledger.record('job')).token('job')}:2" == delivery.event.id


class TestReplay:
    async def test_row_is_queued_once_more(self, ledger: Ledger) -> None:
        """
        A row that is replayed waits again under its key, in doubt and as old as it is; its new
        result replaces the old one whatever it is.
        """
        await queuer(ledger, text(2)).run()
        taken = Taken(ledger)
        for made in (PARKED, ON_RECORD):
            delivery = await taken.next()
            await delivery.publish(made)
            await delivery.ack()
        (letter,) = [letter async for letter in letters(ledger, "job")]
        await replay(ledger, "job", letter)
        with pytest.raises(nats.js.errors.NotFoundError):
            await result_of(ledger, 2)
        delivery = await taken.next()
        await delivery.publish(decision(Action.DEAD, Outcome.REJECTED, WRONG))

        assert (2, "unknown") == (letter.result.line, letter.result.state)
        assert delivery.event.may_have_landed
        assert delivery.event.age is not None
        assert "rejected" == (await result_of(ledger, 2)).state

    async def test_a_row_that_waits_is_left(self, ledger: Ledger) -> None:
        """
        A row that waits already is not queued twice, and keeps its result; one whose result went
        meanwhile is queued all the same.
        """
        await queuer(ledger, text(1)).run()
        taken = Taken(ledger)
        delivery = await taken.next()
        await delivery.publish(PARKED)
        (letter,) = [letter async for letter in letters(ledger, "job")]
        await replay(ledger, "job", letter)  # it is not acknowledged yet
        kept = await result_of(ledger, 2)
        await delivery.ack()
        await replay(ledger, "job", attrs.evolve(letter, number=letter.number + 1000))

        assert "unknown" == kept.state
        assert 1 == (await ledger.js.stream_info(WORK)).state.messages

    async def test_a_key_may_be_too_old(self, ledger: Ledger) -> None:
        """
        A row that may be on record, and whose key the vendor may have forgotten, is too old; one
        that was refused never is.
        """
        await queuer(ledger, text(2)).run()
        taken = Taken(ledger)
        for made in (PARKED, DEAD):
            delivery = await taken.next()
            await delivery.publish(made)
            await delivery.ack()
        unknown, rejected = [letter async for letter in letters(ledger, "job")]

        assert unknown.is_too_old(0.0)
        assert not unknown.is_too_old(3600)
        assert not unknown.is_too_old(None)
        assert not rejected.is_too_old(0.0)


class Silent:
    """Watches a job, and says nothing."""

    def progress(self, sight: Any, *, at_once: bool = False) -> None:
        sight()

    def paced(self, pace: Any) -> None: ...

    def problem(self, found: Any) -> None: ...

    def would_send(self, line: int, key: str, payment: Any) -> None: ...

    def note(self, text: str) -> None: ...


async def collected(ledger: Ledger) -> Any:
    collector = Collector(ledger, name="job", job=await ledger.record("job"), watcher=Silent())
    await collector.catch_up()
    return collector.summary().counts


class TestCollect:
    async def test_what_waits_is_not_sent_and_what_is_held_unknown(self, ledger: Ledger) -> None:
        """
        Rows that wait for their first delivery were not sent; while a worker holds one, nobody
        knows of any, and of one in doubt neither.
        """
        await queuer(ledger, text(3)).run()
        alone = await collected(ledger)
        await provide_consumer(ledger.js, WORK, consumer_config(DURABLE, WORK_SUBJECTS))
        delivery = await Taken(ledger).next()
        held = await collected(ledger)
        await delivery.publish(PARKED)
        await delivery.ack()
        (letter,) = [letter async for letter in letters(ledger, "job")]
        await replay(ledger, "job", letter)
        doubted = await collected(ledger)

        assert (3, 3, 0) == (alone.rows, alone.not_sent, alone.unknown)
        assert (3, 0, 3) == (held.rows, held.not_sent, held.unknown)
        assert (3, 2, 1) == (doubted.rows, doubted.not_sent, doubted.unknown)

    async def test_results_that_are_gone_make_nothing_unsent(self, ledger: Ledger) -> None:
        """
        A row that neither waits nor has a result, since somebody removed it, is unknown.
        """
        await queuer(ledger, text(2)).run()
        delivery = await Taken(ledger).next()
        await delivery.publish(ON_RECORD)
        await delivery.ack()
        await ledger.js.purge_stream(OUT)

        found = await collected(ledger)
        assert (2, 1, 1) == (found.rows, found.not_sent, found.unknown)

    async def test_results_of_a_batch_that_is_being_queued_count(self, ledger: Ledger) -> None:
        """
        Rows that have results before the process that queues them has said so are rows.
        """
        config = (await ledger.js.stream_info(WORK)).config
        await ledger.js.update_stream(attrs_of(config, max_msgs=2))
        first: Enqueuer = queuer(ledger, text(3), note=lambda _: first.stop())
        await first.run()
        delivery = await Taken(ledger).next()
        await delivery.publish(ON_RECORD)

        found = await collected(ledger)
        assert (1, 1, 0, 0) == (
            found.rows,
            found.already_recorded,
            found.not_sent,
            found.unknown,
        )

    async def test_what_a_broken_connection_lost_is_read_again(
        self, tmp_path: pathlib.Path
    ) -> None:
        """
        Results that were on their way when the connection broke are counted all the same.
        """
        rows = 1500
        with NatsServer(tmp_path / "streams") as server:
            async with (
                Relay(server.port) as relay,
                connected(server.url, lambda _: None) as js,
                connected(f"nats://127.0.0.1:{relay.port}", lambda _: None) as cut,
            ):
                ledger = await Ledger.open(js)
                await queuer(ledger, text(rows)).run()
                sub = await js.pull_subscribe(WORK_SUBJECTS, durable="workers", stream=WORK)
                taken = 0
                while taken < rows:
                    for message in await sub.fetch(200, timeout=5):
                        delivery = JobDelivery(message, js)
                        await delivery.publish(ON_RECORD)
                        await message.ack()
                        taken += 1
                relay.cut_after(60_000)  # bytes, in the midst of the results
                far = await Ledger.open(cut)
                job = await far.record("job")
                collector = Collector(far, name="job", job=job, watcher=Silent())
                async with asyncio.timeout(40):
                    await collector.follow()
                await collector.catch_up()
                found = collector.summary().counts

        assert relay.cuts
        assert (rows, rows) == (found.rows, found.already_recorded)


class TestLedger:
    async def test_a_job_goes_to_one_target(self, ledger: Ledger) -> None:
        """
        The first worker says where a job's payments go; later ones hear it.
        """
        assert await ledger.target("job") is None
        assert "https://one" == await ledger.bind("job", "https://one")
        assert "https://one" == await ledger.bind("job", "https://two")
        assert "https://one" == await ledger.target("job")

    async def test_forgets_a_job(self, ledger: Ledger) -> None:
        """
        A job that is forgotten leaves nothing, and another one of its name can be queued at once.
        """
        await queuer(ledger, text(2)).run()
        await ledger.forget("job")
        await asyncio.sleep(0.01)  # another moment, by which jobs are told apart

        assert [] == await ledger.names()
        assert 2 == (await queuer(ledger, text(2)).run()).queued
        assert 4 == len(await queued(ledger))  # what waited of the first one is not the second's

    async def test_a_stream_with_other_settings_is_told(self, tmp_path: pathlib.Path) -> None:
        """
        A stream that would forget rows is refused.
        """
        with NatsServer(tmp_path / "streams") as server:
            async with connected(server.url, lambda _: None) as js:
                await js.add_stream(stream_config(WORK, [WORK_SUBJECTS]))
                with pytest.raises(MismatchError, match="retention is limits, not workqueue"):
                    await Ledger.open(js)

    @pytest.mark.parametrize(
        "url",
        [
            *("http://127.0.0.1", "nats://", "127.0.0.1:4222", "nats://user:se#cret@host"),
            *("nats://user:se/cret@host", "nats://user:p[w@host", "nats://host:port"),
        ],
    )
    def test_what_is_no_url(self, url: str) -> None:
        """
        What is no URL of a NATS server is refused before anything is tried.
        """
        with pytest.raises(BrokerError, match="--broker") as caught:
            check_url(url)
        assert "user" not in str(caught.value)

    async def test_nobody_there(self) -> None:
        """
        A broker that is not there is told at once, without what it is opened with.
        """
        with pytest.raises(BrokerError, match=r"nats://127\.0\.0\.1:9 does") as caught:
            async with connected("nats://user:pass@127.0.0.1:9", lambda _: None):
                pass
        assert "pass" not in str(caught.value)
        assert "nats://127.0.0.1:9" == shown("nats://user:pass@127.0.0.1:9")


class TestNames:
    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("payments.csv", "payments-csv"),
            ("März 2026.csv", "M-rz-2026-csv"),
            ("...", "job"),
            ("x" * 99, "x" * 64),
        ],
    )
    def test_of_a_file(self, file: str, name: str) -> None:
        """
        A job is called after its file, in what a subject can hold.
        """
        assert name == job_name(file)
        assert is_job_name(name)

    def test_others_are_refused(self) -> None:
        """
        A name that would be more than one part of a subject, or none, is no name.
        """
        assert not any(map(is_job_name, ["", "a.b", "a b", "*", ">", "x" * 65]))

    def test_subject(self) -> None:
        """
        A row's subject has the job and the line.
        """
        assert "carevalidate.work.job.7" == work_subject("job", 7)


class TestRows:
    @pytest.mark.parametrize(
        "original",
        [["a", "b,c", "\udc80"], JsonObject('{"a": 1.10}'), "no row \udcff", [""]],
        ids=["cells", "object", "text", "empty"],
    )
    def test_come_back_as_they_were(self, original: Any) -> None:
        """
        A row is carried as it was read, bytes that are no text included.
        """
        found = unpacked(3, packed(FileRow(line=3, original=original))).original

        assert original == found
        assert isinstance(found, JsonObject) is isinstance(original, JsonObject)
