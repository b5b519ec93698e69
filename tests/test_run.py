from __future__ import annotations

import asyncio
import io
import os
import re
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from carevalidate_async._files.rejects import Rejects
from carevalidate_async._files.rows import RowReader
from carevalidate_async._run import ahead
from carevalidate_async._run.ahead import BATCH, MOST_ROWS
from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.course import Course
from carevalidate_async._run.file_run import Bounds, FileRun
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    ClientClosedError,
    IdempotencyConflictError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
)
from carevalidate_async.journal import Duplicates, Journal, JournalError
from carevalidate_async.models import ConfirmationReceipt, Meta, PaymentConfirmation
from carevalidate_async.testing import no_waiting

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from carevalidate_async._run.counts import Trouble
    from carevalidate_async._run.sight import Sight
    from carevalidate_async.bulk import Pace

HEADER = "case_id,amount,payment_date,valid_until,status,idempotency_key\n"
TRY = Attempt(number=1, duration=0.0, happened="ok", outcome=Outcome.RECORDED)
LOST = AnswerLostError("lost", outcome=Outcome.UNKNOWN, attempts=(TRY,))
NO = BadRequestError("no", outcome=Outcome.REJECTED, attempts=(TRY,), status=400, message="said")
AWAY = APIConnectionError("away", outcome=Outcome.NOT_SENT, retryable=True)
BUSY = RateLimitError("busy", outcome=Outcome.REJECTED, retryable=True, attempts=(TRY,), status=429)
BUSY_THEN_AWAY = APIConnectionError("away", outcome=Outcome.REJECTED, attempts=(TRY, TRY))
BUSY_THEN_CLOSED = ClientClosedError("closed", outcome=Outcome.REJECTED, attempts=(TRY, TRY))
NO_KEY = AuthenticationError("bad key", outcome=Outcome.REJECTED, attempts=(TRY,), status=401)
DENIED = PermissionDeniedError("denied", outcome=Outcome.REJECTED, attempts=(TRY,), status=403)


def good(number: int, key: str = "") -> str:
    return f"case-{number},{number}.50,2026-01-05,2026-02-05,PAID,{key}\n"


class FakeClient:
    """Answers by case: an error, or a receipt for the cases that have none."""

    def __init__(self, **answers: CareValidateError) -> None:
        self.answers = {name.replace("_", "-"): error for name, error in answers.items()}
        self.always: CareValidateError | None = None
        self.keys: dict[str, str | None] = {}
        self.gate: asyncio.Event | None = None
        self.on_ask: Callable[[PaymentConfirmation], None] = lambda _: None

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        self.keys[payment.case_id] = payment.idempotency_key
        self.on_ask(payment)
        if self.gate is not None:
            await self.gate.wait()
        error = self.always or self.answers.get(payment.case_id)
        if error is not None:
            raise error
        return ConfirmationReceipt(meta=Meta(attempts=(TRY,)))


class Notes:
    """Keeps what a watcher is told."""

    def __init__(self) -> None:
        self.problems: dict[int, str] = {}
        self.would: list[tuple[int, Decimal]] = []
        self.lines: list[int] = []
        self.notes: list[str] = []
        self.seen: list[tuple[int, int | None, int]] = []
        self.paces: list[Pace] = []
        self.news: list[Sight] = []  # what was to be shown at once
        self.threads: set[int] = set()
        self.on_progress: Callable[[Sight], None] = lambda _: None

    def progress(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        seen = sight()
        self.seen.append((seen.counts.settled, seen.total, seen.failed))
        self.threads.add(threading.get_ident())
        if at_once:
            self.news.append(seen)
        self.on_progress(seen)

    def problem(self, found: Trouble) -> None:
        self.problems[found.line] = found.text
        self.lines.append(found.line)

    def would_send(self, line: int, key: str, payment: PaymentConfirmation) -> None:
        assert 44 == len(key)
        self.would.append((line, payment.amount))
        self.lines.append(line)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def paced(self, pace: Pace) -> None:
        self.paces.append(pace)


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    """A row is asked for again at once."""
    with no_waiting():
        yield


class Bench:
    """One file, one journal, and as many runs as a test wants."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.journal = str(folder / "journal")
        self.rejects = folder / "rejects.csv"
        self.client = FakeClient()
        self.notes = Notes()

    async def run(
        self,
        text: str,
        *,
        during: Callable[[FileRun], None] = lambda _: None,
        stream: Any = None,
        rehearse: bool = False,
        **options: Any,
    ) -> Summary:
        self.notes = Notes()
        reader = RowReader(stream or io.BytesIO((HEADER + text).encode()))
        rejects = Rejects(str(self.rejects), reader)
        names = Bounds.__annotations__.keys() & options.keys()
        bounds = Bounds(**{name: options.pop(name) for name in names})
        async with Journal(self.journal, target="t", rehearse=rehearse) as journal:
            run = FileRun(
                reader,
                client=self.client,
                journal=journal,
                watcher=self.notes,
                rejects=rejects,
                bounds=bounds,
                **options,
            )
            during(run)
            summary = await (run.rehearse() if rehearse else run.run())
        rejects.close()
        assert summary.counts.rows == summary.counts.settled
        return summary


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


class TestCounts:
    async def test_each_row_is_counted_once(self, bench: Bench) -> None:
        """
        Every kind of row has its own count, and together they are all rows.
        """
        bench.client = FakeClient(
            case_1=NO,
            case_2=LOST,
            case_3=AWAY,
            case_4=IdempotencyConflictError("there", outcome=Outcome.RECORDED, attempts=(TRY,)),
            case_5=InvalidRequestError("case_id", "is strange"),
        )
        text = "".join(map(good, range(7))) + good(6) + ",,,,,\nx,y\n"

        summary = await bench.run(text, concurrency=2)

        assert (
            Counts(
                rows=9,
                confirmed=2,
                already_recorded=1,
                rejected=1,
                invalid=2,
                duplicates=1,
                unknown=1,
                not_sent=1,
                attempts=2 + 1 + 1 + 10,
            )
            == summary.counts
        )
        assert 1 == summary.exit_status
        assert (9, 9, 6) == bench.notes.seen[-1]

    async def test_rows_that_need_a_look_are_named_by_line(self, bench: Bench) -> None:
        """
        What is told of a row is its line, its state and its reason, never its values.
        """
        bench.client = FakeClient(case_1=NO, case_2=LOST)
        await bench.run(good(1) + good(2) + good(3) + good(3) + "x,-1,,,,\n")

        assert {2, 3, 5, 6} == set(bench.notes.problems)
        assert "rejected: the vendor answered 400" == bench.notes.problems[2]
        assert re.fullmatch(r"unknown: lost \(key cv1-[0-9a-f]+\)", bench.notes.problems[3])
        assert bench.notes.problems[5].startswith("duplicate: is the same payment as line 4")
        assert bench.notes.problems[6].startswith("invalid: amount: must not be negative")

    async def test_rejects_hold_what_a_person_can_correct(self, bench: Bench) -> None:
        """
        Rejected, invalid and duplicate rows are written out with the vendor's own words; rows that
        may be on record are not, since a correction would get them a new key.
        """
        bench.client = FakeClient(case_1=NO, case_2=LOST, case_3=AWAY)
        await bench.run(good(1) + good(2) + good(3) + good(4) + good(4) + "x,-1,,,,\n")
        lines = bench.rejects.read_text().splitlines()

        assert ["2", "6", "7"] == sorted(line.partition(",")[0] for line in lines[1:])
        assert any(line.startswith("2,,the vendor said: said,case-1,1.50,") for line in lines)

    def test_the_exit_status_says_it_all(self) -> None:
        """
        0 only if every row is on record or a wanted duplicate, 130 after a stop.
        """

        def status(**facts: Any) -> int:
            options = {
                n: facts.pop(n) for n in set(facts) - {"confirmed", "duplicates_", "unknown"}
            }
            counts = Counts(
                confirmed=facts.get("confirmed", 0),
                duplicates=facts.get("duplicates_", 0),
                unknown=facts.get("unknown", 0),
            )
            kind = options.pop("duplicates", Duplicates.REFUSE)
            return Summary(counts=counts, elapsed=1.0, duplicates=kind, **options).exit_status

        assert 0 == status(confirmed=1)
        assert 0 == status(duplicates_=1, duplicates=Duplicates.ONCE)
        assert 1 == status(duplicates_=1)
        assert 1 == status(duplicates_=1, duplicates=Duplicates.EACH)
        assert 1 == status(unknown=1)
        assert 1 == status(stopped_by="x")
        assert 1 == status(stopped_by="x", refused=True, reached=True)
        assert 1 == status(stopped_by="x", refused=True, unknown=1)
        assert 2 == status(stopped_by="x", refused=True)
        assert 130 == status(interrupted=True, unknown=1)


class TestResume:
    async def test_rows_on_record_are_not_sent_again(self, bench: Bench) -> None:
        """
        The same file again counts what is on record as it was, and asks for the rest with the keys
        that it had.
        """
        bench.client = FakeClient(case_1=NO, case_2=LOST, case_3=AWAY)
        first = await bench.run("".join(map(good, range(5))))
        keys = dict(bench.client.keys)
        bench.client = FakeClient()
        second = await bench.run("".join(map(good, range(5))))

        assert 2 == first.counts.confirmed
        assert {"case-1", "case-2", "case-3"} == set(bench.client.keys)
        assert all(keys[case] == key for case, key in bench.client.keys.items())
        assert 5 == second.counts.confirmed
        assert 3 == second.counts.attempts
        assert 0 == second.exit_status

    async def test_doubt_from_an_earlier_run_stays_until_it_is_settled(self, bench: Bench) -> None:
        """
        A row that may have landed is unknown even when a later run could not send it.
        """
        bench.client = FakeClient(case_1=LOST)
        await bench.run(good(1))
        bench.client = FakeClient(case_1=AWAY)
        away = await bench.run(good(1))
        bench.client = FakeClient()
        settled = await bench.run(good(1))

        assert 1 == away.counts.unknown
        assert 1 == settled.counts.confirmed

    async def test_a_corrected_row_may_keep_its_key(self, bench: Bench) -> None:
        """
        A rejected row is corrected in place and run again, key and all.
        """
        bench.client = FakeClient(case_1=NO)
        await bench.run(good(1, "key-1"))
        summary = await bench.run(good(2, "key-1"))

        assert 1 == summary.counts.confirmed
        assert {"case-1": "key-1", "case-2": "key-1"} == bench.client.keys

    async def test_a_key_on_record_is_not_given_to_another_payment(self, bench: Bench) -> None:
        """
        A row under a key that an earlier run used for something else is invalid.
        """
        await bench.run(good(1, "key-1"))
        summary = await bench.run(good(2, "key-1") + good(3, "k") + good(4, "k"))

        assert 2 == summary.counts.invalid
        assert "an earlier run used this key" in bench.notes.problems[2]
        assert "line 3 used this key" in bench.notes.problems[4]


class TestDuplicates:
    async def test_once_sends_them_once_and_is_content(self, bench: Bench) -> None:
        """
        Wanted duplicates are counted, not sent, and not rejected.
        """
        summary = await bench.run(good(1) + good(1), duplicates=Duplicates.ONCE)

        assert (1, 1, 0) == (
            summary.counts.confirmed,
            summary.counts.duplicates,
            summary.exit_status,
        )
        assert {} == bench.notes.problems
        assert (2, 2, 0) == bench.notes.seen[-1]
        assert 1 == len(bench.rejects.read_text().splitlines())

    async def test_each_sends_each_under_its_own_key(self, bench: Bench) -> None:
        """
        Honest repetitions are payments of their own; a rejected one is told as the copy that it is.
        """
        keys: list[str | None] = []
        bench.client = FakeClient(case_1=NO)
        bench.client.on_ask = lambda payment: keys.append(payment.idempotency_key)
        text = good(1).replace(",\n", "\n") * 2
        stream = io.BytesIO(HEADER.replace(",idempotency_key", "").encode() + text.encode())
        summary = await bench.run("", stream=stream, duplicates=Duplicates.EACH)
        rejected = [line.split(",")[3] for line in bench.rejects.read_text().splitlines()[1:]]

        assert 2 == summary.counts.rejected
        assert 2 == len(set(keys))
        assert ["", f"\u2192 copy 2 of {keys[0]}"] == rejected

    async def test_each_cannot_send_one_key_twice(self, bench: Bench) -> None:
        """
        Rows that the file itself gives one key stay one payment.
        """
        summary = await bench.run(good(1, "k") + good(1, "k"), duplicates=Duplicates.EACH)

        assert 1 == summary.counts.duplicates
        assert 1 == summary.exit_status
        assert "under the same key" in bench.notes.problems[3]


class TestLeft:
    """Rows that a run ends before."""

    async def test_the_course_hears_of_all_of_them(self, bench: Bench) -> None:
        """
        They are one group with its reason and its first lines, and none of them is told by itself.
        """
        bench.client.always = NO_KEY
        course = Course()
        summary = await bench.run(
            "".join(map(good, range(3000))), concurrency=2, course=course, beat=60
        )
        asked = len(bench.client.keys)
        left, refused = course.groups()

        assert ("not_sent", None, "the run ended before it was sent", 3000 - asked) == (
            left.outcome,
            left.error,
            left.code,
            left.count,
        )
        assert ("AuthenticationError", asked) == (refused.error, refused.count)
        assert 3001 == left.last
        assert [left.first + n for n in range(5)] == [row.line for row in left.examples]
        assert {44} == {len(row.key or "") for row in left.examples}
        assert 3000 == course.troubled == summary.counts.not_sent
        assert asked == len(bench.notes.problems)

    async def test_a_rehearsal_leaves_none(self, bench: Bench) -> None:
        """
        What a rehearsal would send needs no person.
        """
        course = Course()
        await bench.run("".join(map(good, range(300))), rehearse=True, course=course)

        assert 0 == course.troubled
        assert {"not_sent": 300} == course.whole().rows

    async def test_how_much_was_not_read_is_known(self, bench: Bench) -> None:
        """
        A file that was not read to its end may have about as many rows as its size lets expect.
        """
        asked: list[PaymentConfirmation] = []

        def on_ask(payment: PaymentConfirmation) -> None:
            asked.append(payment)
            if len(asked) == 5000:  # of the file's bytes some are always ahead of the rows
                run.stop()

        bench.client.on_ask = on_ask
        text = "".join(good(n) for n in range(100_000, 120_000))
        run: FileRun

        def during(started: FileRun) -> None:
            nonlocal run
            run = started

        size = len(HEADER + text)
        part = await bench.run(text, size=size, during=during)
        bench.client.on_ask = lambda _: None
        pipe = await bench.run(text[:400], during=lambda started: started.stop())
        whole = await bench.run(text, size=size)

        assert part.estimated_rows is not None
        assert not part.whole
        assert 15_000 <= part.estimated_rows <= 25_000
        assert (False, None) == (pipe.whole, pipe.estimated_rows)
        assert (True, None, 20_000) == (whole.whole, whole.estimated_rows, whole.counts.rows)

    async def test_a_stop_after_the_last_row_leaves_nothing_unread(self, bench: Bench) -> None:
        """
        Whoever stops a run whose file was read to its end loses no row of it.
        """
        bench.client.gate = gate = asyncio.Event()

        def during(run: FileRun) -> None:
            def look(sight: Sight) -> None:
                read = sight.total is not None
                if read and len(bench.client.keys) == 3 and not gate.is_set():
                    gate.set()
                    run.stop()

            bench.notes.on_progress = look

        summary = await bench.run("".join(map(good, range(3))), during=during, beat=0.001)

        assert (True, True, 3) == (summary.interrupted, summary.whole, summary.counts.confirmed)

    async def test_a_stop_before_its_end_is_heard_of_leaves_nothing_unread(
        self, bench: Bench
    ) -> None:
        """
        Nor does whoever stops it when all rows were taken, and the run does not know yet that they
        are all.
        """

        def during(run: FileRun) -> None:
            def on_ask(_: PaymentConfirmation) -> None:
                while any(thread.name == "rows" for thread in threading.enumerate()):
                    time.sleep(0.001)  # the event loop is to hear nothing of it
                run.stop()

            bench.client.on_ask = on_ask

        summary = await bench.run(good(1), during=during)

        assert (True, True, 1) == (summary.interrupted, summary.whole, summary.counts.confirmed)


class TestRefusedKey:
    async def test_an_end_is_told_at_once_and_the_rest_is_counted(self, bench: Bench) -> None:
        """
        Why a run ends early is said when it is known; a file is read to its end all the same.
        """
        bench.client.always = NO_KEY
        summary = await bench.run("".join(map(good, range(600))), concurrency=2)

        told = "the vendor refuses the API key (401 AuthenticationError)"
        assert [f"Stopping: {told}"] == bench.notes.notes
        assert f"{told}; no further row was sent" == summary.stopped_by
        assert (600, 600) == (summary.counts.rows, summary.counts.not_sent)

    @pytest.mark.parametrize("error", [NO_KEY, DENIED])
    async def test_a_refused_key_ends_the_run_and_spoils_no_row(
        self, bench: Bench, error: CareValidateError
    ) -> None:
        """
        When the vendor refuses the key, no row is rejected for it, and the run says so at once.
        """
        bench.client.always = error
        summary = await bench.run("".join(map(good, range(1000))), concurrency=4)

        assert 1000 == summary.counts.not_sent
        assert 8 >= len(bench.client.keys)
        assert summary.stopped_by is not None
        assert "the vendor refuses the API key (40" in summary.stopped_by
        assert 2 == summary.exit_status
        assert 1 == len(bench.rejects.read_text().splitlines())

    async def test_after_something_was_sent_it_is_a_failed_run(self, bench: Bench) -> None:
        """
        A key that is withdrawn in the midst of a run ends it with 1, and the next run resumes.
        """

        def withdraw(payment: PaymentConfirmation) -> None:
            if payment.case_id == "case-3":
                bench.client.always = NO_KEY

        bench.client.on_ask = withdraw
        summary = await bench.run("".join(map(good, range(9))), concurrency=1)
        bench.client = FakeClient()
        again = await bench.run("".join(map(good, range(9))))

        assert (3, 6) == (summary.counts.confirmed, summary.counts.not_sent)
        assert 1 == summary.exit_status
        assert 6 == again.counts.attempts
        assert 0 == again.exit_status

    async def test_doubt_from_an_earlier_run_is_no_wrong_configuration(self, bench: Bench) -> None:
        """
        Exit status 2 says that nothing was recorded, which nobody knows of a row that is unknown.
        """
        bench.client = FakeClient(case_1=LOST)
        await bench.run(good(1))
        bench.client = FakeClient()
        bench.client.always = NO_KEY
        summary = await bench.run(good(1))

        assert (1, 1) == (summary.counts.unknown, summary.exit_status)

    @pytest.mark.parametrize("error", [BUSY, BUSY_THEN_AWAY, BUSY_THEN_CLOSED], ids=type)
    async def test_a_vendor_that_asks_for_patience_rejects_no_row(
        self, bench: Bench, error: CareValidateError
    ) -> None:
        """
        A row that met nothing but rate limits, or nobody after them, is sent again by the next run,
        not by a person.
        """
        bench.client = FakeClient(case_1=error)
        summary = await bench.run(good(1))

        assert (1, 0, 1) == (
            summary.counts.not_sent,
            summary.counts.rejected,
            summary.exit_status,
        )
        assert 1 == len(bench.rejects.read_text().splitlines())

    async def test_doubt_about_a_row_is_not_forgotten_over_it(self, bench: Bench) -> None:
        """
        A row that may have landed before the key was refused stays unknown.
        """
        bench.client = FakeClient(
            case_1=AuthenticationError("bad key", outcome=Outcome.UNKNOWN, status=401)
        )
        summary = await bench.run(good(1))

        assert 1 == summary.counts.unknown
        assert 1 == summary.exit_status


class TestOutOfReach:
    async def test_a_vendor_that_cannot_be_reached_ends_the_run(self, bench: Bench) -> None:
        """
        When row after row finds no connection, the rest is left for later.
        """
        bench.client.always = AWAY
        summary = await bench.run("".join(map(good, range(1000))), concurrency=4)

        assert 1000 == summary.counts.not_sent
        assert 50 > len(bench.client.keys)
        assert "cannot be reached (away)" in (summary.stopped_by or "")
        assert 1 == summary.exit_status

    async def test_a_few_such_rows_do_not(self, bench: Bench) -> None:
        """
        Connections that fail now and then end nothing.
        """
        bench.client = FakeClient(**{f"case_{n}": AWAY for n in range(0, 40, 2)})
        summary = await bench.run("".join(map(good, range(40))), concurrency=1)

        assert 20 == summary.counts.confirmed
        assert summary.stopped_by is None


class TestStop:
    async def test_payments_in_flight_are_finished(self, bench: Bench) -> None:
        """
        A stop takes no further row, waits for those in flight, and the next run sends the rest.
        """
        bench.client.gate = gate = asyncio.Event()

        def during(run: FileRun) -> None:
            def stop(_: PaymentConfirmation) -> None:
                if len(bench.client.keys) == 3:
                    run.stop()
                    asyncio.get_running_loop().call_later(0.02, gate.set)

            bench.client.on_ask = stop

        text = "".join(map(good, range(3000)))
        summary = await bench.run(text, concurrency=3, during=during)
        bench.client = FakeClient()
        again = await bench.run(text)

        assert summary.interrupted
        assert 130 == summary.exit_status
        assert 3 == summary.counts.confirmed
        assert summary.counts.rows == 3 + summary.counts.not_sent
        assert 3000 > summary.counts.not_sent
        assert 0 == summary.counts.unknown
        assert 2997 == len(bench.client.keys)
        assert 3000 == again.counts.confirmed

    async def test_rows_that_were_not_read_are_left_alone(self, bench: Bench) -> None:
        """
        A stop ends the reading too, however many rows there are to be read.
        """

        def during(run: FileRun) -> None:
            bench.client.on_ask = lambda _: run.stop()

        summary = await bench.run("".join(map(good, range(20_000))), during=during)

        assert 130 == summary.exit_status
        assert 4 * BATCH >= summary.counts.rows

    async def test_a_cancelled_run_leaves_no_task_behind(self, bench: Bench) -> None:
        """
        Who cancels the run itself is left with nothing that still reads or plans.
        """
        asked = asyncio.Event()
        bench.client.on_ask = lambda _: asked.set()
        read, write = os.pipe()
        os.write(write, HEADER.encode() + good(1).encode())
        before = asyncio.all_tasks()
        with open(read, "rb") as stream:
            reader = RowReader(stream)
            async with Journal(bench.journal, target="t") as journal:
                run = FileRun(reader, client=bench.client, journal=journal, watcher=bench.notes)
                task = asyncio.create_task(run.run())
                await asked.wait()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await asyncio.sleep(0)
            os.close(write)

        assert task.cancelled()
        assert before == asyncio.all_tasks()

    async def test_a_second_stop_in_the_moment_of_the_cut_is_harmless(self, bench: Bench) -> None:
        """
        Payments that take a while to be cut off do not make a second stop fail.
        """
        stop: Callable[[], None] = lambda: None  # noqa: E731 - set below

        class Slow(FakeClient):
            async def confirm_payment(
                self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
            ) -> NoReturn:
                self.keys[payment.case_id] = None
                if len(self.keys) == 4:
                    stop()
                try:
                    await asyncio.sleep(60)
                finally:  # the time is up
                    stop()
                    await asyncio.sleep(0.01)
                raise ZeroDivisionError

        bench.client = Slow()

        def during(run: FileRun) -> None:
            nonlocal stop
            stop = run.stop

        summary = await bench.run("".join(map(good, range(4))), during=during, grace=0.05)

        assert (4, 130) == (summary.counts.unknown, summary.exit_status)

    @pytest.mark.parametrize("impatient", [False, True])
    async def test_waiting_for_them_is_bounded(self, bench: Bench, *, impatient: bool) -> None:
        """
        Payments that do not end in time, or that nobody wants to wait for, are unknown, and asked
        for by the next run.
        """
        bench.client.gate = asyncio.Event()

        def during(run: FileRun) -> None:
            def stop(_: PaymentConfirmation) -> None:
                if len(bench.client.keys) == 3:
                    run.stop()
                    if impatient:
                        asyncio.get_running_loop().call_later(0.01, run.stop)

            bench.client.on_ask = stop

        text = "".join(map(good, range(5)))
        grace = 60.0 if impatient else 0.05
        summary = await bench.run(text, concurrency=3, during=during, grace=grace)
        told = (bench.notes.notes, set(bench.notes.problems.values()))
        bench.client = FakeClient()
        again = await bench.run(text)

        assert ["stopped while payments were in flight"] == told[0]
        assert {"unknown: the run ended before its answer came"} == told[1]
        # The file is read in a thread, and no further than it was when the run was stopped.
        assert 3 == summary.counts.unknown
        assert summary.counts.rows == 3 + summary.counts.not_sent
        assert 130 == summary.exit_status
        assert 5 == again.counts.confirmed

    async def test_a_pipe_that_says_nothing_does_not_hold_the_stop_up(self, bench: Bench) -> None:
        """
        While standard input is silent, rows that came are sent, and a stop ends the run.
        """
        read, write = os.pipe()
        os.write(write, (HEADER + good(1)).encode())
        stream = open(read, "rb")  # noqa: SIM115 - a thread may be at it to the end

        def during(run: FileRun) -> None:
            def stop(_: PaymentConfirmation) -> None:
                asyncio.get_running_loop().call_later(0.02, run.stop)

            bench.client.on_ask = stop

        summary = await bench.run("", stream=stream, during=during)
        os.close(write)
        stream.close()

        assert summary.interrupted
        assert 1 == summary.counts.confirmed


class TestPlanning:
    async def test_a_batch_is_planned_while_rows_of_the_last_one_wait(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A disk takes its time to put keys down; nobody waits for it as long as there are rows.
        """
        plan = Journal.plan
        planned = 0
        waiting: list[int] = []  # rows whose keys were on disk when a plan began

        async def watched(journal: Journal, candidates: Any, duplicates: Duplicates) -> Any:
            nonlocal planned
            if planned >= BATCH:
                waiting.append(planned - len(bench.client.keys))
            plans = await plan(journal, candidates, duplicates)
            planned += len(candidates)
            return plans

        def on_ask(_: PaymentConfirmation) -> None:
            while any(thread.name == "rows" for thread in threading.enumerate()):
                time.sleep(0.001)  # as long as not all rows were read

        monkeypatch.setattr(Journal, "plan", watched)
        bench.client.on_ask = on_ask
        summary = await bench.run("".join(map(good, range(MOST_ROWS))))

        assert MOST_ROWS == summary.counts.confirmed
        assert waiting
        assert min(waiting) > 0

    async def test_long_rows_are_planned_a_few_ahead(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows that wait to be sent are bounded by the memory that they take, as those are that are
        read ahead.
        """
        plan = Journal.plan
        batches: list[int] = []
        waiting: list[int] = []

        async def watched(journal: Journal, candidates: Any, duplicates: Duplicates) -> Any:
            batches.append(len(candidates))
            return await plan(journal, candidates, duplicates)

        class Slow(FakeClient):
            async def confirm_payment(self, *args: Any, **options: Any) -> ConfirmationReceipt:
                await asyncio.sleep(0.0005)  # long enough for planning to be ahead
                waiting.append(sum(batches) - len(self.keys))
                return await super().confirm_payment(*args, **options)

        monkeypatch.setattr(Journal, "plan", watched)
        monkeypatch.setattr(ahead, "MOST_BYTES", 40_000)
        bench.client = Slow()
        await bench.run("".join(map(good, range(2000))), concurrency=1)

        assert 64 < max(batches) < 200
        assert max(waiting) < 2 * max(batches) + 64

    async def test_rows_that_are_planned_at_the_very_end_get_their_place(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Of a run that ends early: also those that come while its journal is at work on others.
        """
        late = threading.Event()
        turn = asyncio.Lock()  # the journal has one thread
        plan, settle = Journal.plan, Journal.settle

        class Late(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                if self.tell() >= len(HEADER):
                    late.wait(10)
                return super().readline(size)

        async def plan_slowly(journal: Journal, *args: Any) -> Any:
            async with turn:
                await asyncio.sleep(0.05)
                return await plan(journal, *args)

        async def settle_slowly(journal: Journal, *args: Any) -> None:
            async with turn:
                await asyncio.sleep(0.05)
                await settle(journal, *args)

        monkeypatch.setattr(Journal, "plan", plan_slowly)
        monkeypatch.setattr(Journal, "settle", settle_slowly)
        reader = RowReader(Late((HEADER + good(1) + good(2)).encode()))
        async with Journal(bench.journal, target="t") as journal:
            run = FileRun(reader, client=bench.client, journal=journal, watcher=bench.notes)
            run._halt.set()  # as where the vendor refuses the key
            _ = run._plan_ahead()
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.02, late.set)  # while what is in flight settles
            await run._account_for_the_rest()

            assert 2 == run._books.counts.not_sent == run._books.counts.rows


class TestTrouble:
    async def test_a_journal_that_breaks_ends_the_run(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Nothing is sent without its key on disk, and what was sent without an outcome on disk is
        unknown.
        """

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        monkeypatch.setattr(Journal, "settle", fail)
        summary = await bench.run("".join(map(good, range(600))), concurrency=2)

        assert "the run cannot go on: disk full" == summary.stopped_by
        assert 0 == summary.counts.confirmed
        assert len(bench.client.keys) == summary.counts.unknown
        assert 1 == summary.exit_status

    async def test_a_plan_that_fails_lets_those_in_flight_settle(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows whose key is not on disk are not sent; those before them keep their outcome.
        """
        plan = Journal.plan
        calls = 0

        async def fail_later(journal: Journal, *args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise JournalError("disk full")
            return await plan(journal, *args)

        monkeypatch.setattr(Journal, "plan", fail_later)
        summary = await bench.run("".join(map(good, range(BATCH + 100))))

        assert 0 < summary.counts.confirmed <= BATCH
        assert 0 < summary.counts.not_sent <= BATCH
        assert summary.counts.confirmed == len(bench.client.keys)
        assert "disk full" in (summary.stopped_by or "")

    async def test_nothing_is_said_of_rows_that_an_earlier_run_may_have_sent(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows that were not looked up any more are in doubt, but where there was no earlier run.
        """

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        text = good(1) + good(2)
        plan = Journal.plan
        monkeypatch.setattr(Journal, "plan", fail)
        first = await bench.run(text)
        monkeypatch.setattr(Journal, "plan", plan)
        await bench.run(text)
        monkeypatch.setattr(Journal, "plan", fail)
        last = await bench.run(text)

        # How many rows were read by then, depends.
        assert 1 <= first.counts.rows == first.counts.not_sent
        assert 1 <= last.counts.rows == last.counts.unknown

    async def test_trouble_after_an_alarm_is_told_too(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        That the vendor refuses the key does not hide that the journal broke.
        """

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        bench.client.always = NO_KEY
        monkeypatch.setattr(Journal, "settle", fail)
        summary = await bench.run("".join(map(good, range(600))), concurrency=2)

        told = (summary.stopped_by or "").split("; ")
        assert ["no further row was sent", "the run cannot go on: disk full"] == told[1:]
        assert "the vendor refuses the API key" in told[0]

    async def test_doubt_is_counted_as_doubt_even_then(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A row that an earlier run left unknown is not called unsent by a run that broke.
        """
        bench.client = FakeClient(case_1=LOST, case_2=LOST, case_3=LOST)
        text = good(1) + good(2) + good(3)
        await bench.run(text)

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        monkeypatch.setattr(Journal, "settle", fail)
        bench.client = FakeClient(case_1=NO_KEY, case_2=NO_KEY, case_3=NO_KEY)
        summary = await bench.run(text, concurrency=1)

        assert 3 == summary.counts.unknown

    async def test_what_was_in_flight_is_no_less_in_doubt(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows whose answers nobody waited for are unknown, also where that cannot be put on disk.
        """
        settle = Journal.settle

        async def fail(journal: Journal, settlements: Any) -> None:
            settlements = list(settlements)
            if settlements:
                raise JournalError("disk full")
            await settle(journal, settlements)

        def stop_at_once(run: FileRun) -> None:
            def stop(_: PaymentConfirmation) -> None:
                run.stop()
                run.stop()

            bench.client.on_ask = stop

        monkeypatch.setattr(Journal, "settle", fail)
        bench.client.gate = asyncio.Event()
        summary = await bench.run(good(1), during=stop_at_once)

        assert "the run cannot go on: disk full" == summary.stopped_by
        assert (1, 0) == (summary.counts.unknown, summary.counts.not_sent)

    async def test_a_file_that_breaks_off_ends_the_run(self, bench: Bench) -> None:
        """
        An error while reading keeps what was sent, and says what happened.
        """

        class Breaking(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                line = super().readline(size)
                if not line:
                    raise OSError("the disk is gone")
                return line

        stream = Breaking((HEADER + "".join(map(good, range(300)))).encode())
        summary = await bench.run("", stream=stream)

        assert 300 == summary.counts.confirmed
        assert "the disk is gone" in (summary.stopped_by or "")

    async def test_a_run_without_a_client_is_a_mistake(self, tmp_path: pathlib.Path) -> None:
        """
        Only a rehearsal needs no client.
        """
        async with Journal(str(tmp_path / "j"), target="t") as journal:
            run = FileRun(
                RowReader(io.BytesIO(HEADER.encode())),
                client=None,
                journal=journal,
                watcher=Notes(),
            )
            with pytest.raises(ValueError, match="needs a client"):
                await run.run()


class TestRehearsal:
    async def test_it_tells_what_would_be_sent(self, bench: Bench) -> None:
        """
        A rehearsal names each row that would be sent and counts all others as a run would.
        """
        await bench.run(good(1))
        bench.client = FakeClient()
        summary = await bench.run(good(1) + good(2) + good(2) + "x,y\n", rehearse=True)

        assert [(3, Decimal("2.50"))] == bench.notes.would
        assert {} == bench.client.keys
        assert Counts(rows=4, confirmed=1, not_sent=1, duplicates=1, invalid=1) == summary.counts
        assert (4, 4, 2) == bench.notes.seen[-1]

    async def test_it_tells_in_the_file_s_order(self, bench: Bench) -> None:
        """
        Good rows and bad ones are named in the order in which they stand, however many of them
        were read together.
        """
        await bench.run(good(1) + "x,y\n" + good(2) + good(2) + good(3), rehearse=True)

        assert [2, 3, 4, 5, 6] == bench.notes.lines

    async def test_a_file_that_breaks_off_ends_it(self, bench: Bench) -> None:
        """
        An error while reading is told, and what was read before keeps its place.
        """

        class Breaking(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                line = super().readline(size)
                if not line:
                    raise OSError("the disk is gone")
                return line

        stream = Breaking((HEADER + good(1)).encode())
        summary = await bench.run("", stream=stream, rehearse=True)

        assert "the rehearsal cannot go on: the disk is gone" == summary.stopped_by
        assert (1, 1) == (summary.counts.not_sent, summary.exit_status)


class TestProgress:
    async def test_the_total_is_estimated_until_it_is_known(self, bench: Bench) -> None:
        """
        From the bytes read so far the number of rows is known roughly, and exactly at the end.
        """
        text = "".join(good(n) for n in range(10_000, 20_000))
        size = len(HEADER + text)
        summary = await bench.run(text, size=size)
        # The first few rows tell little.
        totals = [total or 0 for done, total, _ in bench.notes.seen if done > 500]

        assert 10_000 == summary.counts.confirmed
        assert len(totals) > 3
        assert all(9_700 < total <= 10_000 for total in totals)
        assert (10_000, 10_000, 0) == bench.notes.seen[-1]

    async def test_without_a_size_nobody_knows(self, bench: Bench) -> None:
        """
        For a pipe the total is unknown until its end.
        """
        await bench.run("".join(good(n) for n in range(600)))

        assert (None, 600) == (bench.notes.seen[0][1], bench.notes.seen[-1][1])

    async def test_a_run_that_waits_says_that_it_does(self, bench: Bench) -> None:
        """
        Where nothing moves, the watcher is told all the same, and never from another thread.
        """
        bench.client.gate = gate = asyncio.Event()

        def look(_: Sight) -> None:
            if bench.notes.seen.count((0, 1, 0)) > 9:
                gate.set()

        def during(_: FileRun) -> None:
            bench.notes.on_progress = look

        async with asyncio.timeout(20):
            await bench.run(good(1), during=during, beat=0.001)

        assert {threading.get_ident()} == bench.notes.threads

    async def test_the_grace_after_a_stop_is_seen(self, bench: Bench) -> None:
        """
        That the run ends is told at once, and then as long as payments in flight have.
        """
        bench.client.gate = gate = asyncio.Event()
        ending = 0

        def look(sight: Sight) -> None:
            nonlocal ending
            ending += sight.ending
            if ending > 9:
                gate.set()

        def during(run: FileRun) -> None:
            bench.client.on_ask = lambda _: run.stop()
            bench.notes.on_progress = look

        async with asyncio.timeout(20):
            await bench.run(good(1), during=during, beat=0.001)

        assert [(True, None)] == [(sight.ending, sight.left) for sight in bench.notes.news]

    async def test_a_change_of_state_is_told_at_once(self, bench: Bench) -> None:
        """
        That the run waits, goes on and ends is worth a look, whenever the last one was.
        """
        bench.client.always = AWAY
        course = Course()
        summary = await bench.run("".join(map(good, range(1000))), beat=60, course=course)
        news = bench.notes.news

        assert summary.stopped_by is not None
        assert [(True, False), (False, True)] == [
            (sight.waiting is not None, sight.ending) for sight in news
        ]
        assert [None, None] == [sight.left for sight in news]
        assert course.pause is None

    async def test_memory_does_not_grow_with_the_file(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows are read no further ahead than a few batches of those that are settled.
        """
        bench.client.gate = asyncio.Event()
        read = 0

        class Stream(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                nonlocal read
                read += 1
                return super().readline(size)

        def during(_: FileRun) -> None:
            asyncio.get_running_loop().call_later(0.2, check)

        def check() -> None:
            assert bench.client.gate is not None
            ahead.append(read)
            bench.client.gate.set()

        ahead: list[int] = []
        text = "".join(good(n) for n in range(5000))
        stream = Stream((HEADER + text).encode())
        summary = await bench.run("", stream=stream, during=during)

        assert 5000 == summary.counts.confirmed
        assert 6 * BATCH > ahead[0]
        assert not [t for t in threading.enumerate() if t.name == "rows"]
