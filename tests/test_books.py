from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._files.fields import FileRow, content_key
from carevalidate_async._files.rejects import Rejects
from carevalidate_async._files.rows import RowReader
from carevalidate_async._run.books import Books
from carevalidate_async._run.counts import Tally, Trouble
from carevalidate_async._run.course import Course
from carevalidate_async.bulk import Row
from carevalidate_async.errors import Attempt, BadRequestError, Outcome, RateLimitError
from carevalidate_async.hooks import AttemptEnded
from carevalidate_async.journal import Candidate, Duplicates, Journal, JournalError
from carevalidate_async.models import ConfirmationReceipt, Meta, PaymentConfirmation

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

HEADER = ("case_id", "amount", "payment_date", "valid_until", "status")


def batch(*amounts: str) -> list[tuple[FileRow, str]]:
    """Return rows as they are planned, one an amount."""
    file = io.StringIO(newline="")
    rows = [("case-1", amount, "2026-01-05", "2026-02-05", "PAID") for amount in amounts]
    csv.writer(file).writerows([HEADER, *rows])
    read = RowReader(io.BytesIO(file.getvalue().encode()))
    return [(row, content_key(row.payment) if row.payment else "") for row in read]


@pytest.fixture
async def journal(tmp_path: pathlib.Path) -> AsyncIterator[Journal]:
    async with Journal(str(tmp_path / "journal"), target="t") as journal:
        yield journal


@pytest.fixture
def told() -> list[tuple[int, str]]:
    return []


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def course() -> Course:
    return Course()


def groups(course: Course) -> list[tuple[str | None, str | None, int, list[int]]]:
    """Return what is known of the rows that need a person, by kind."""
    return [
        (group.outcome, group.code, group.count, [row.line for row in group.examples])
        for group in course.groups()
    ]


@pytest.fixture
def books(journal: Journal, told: list[tuple[int, str]], tally: Tally, course: Course) -> Books:
    def tell(found: Trouble) -> None:
        told.append((found.line, found.text))

    return Books(
        journal,
        duplicates=Duplicates.REFUSE,
        rejects=None,
        tell=tell,
        tally=tally,
        course=course,
    )


TRY = Attempt(number=1, duration=0.0, happened="ok", outcome=Outcome.RECORDED)


def attempted(payment: PaymentConfirmation | None) -> AttemptEnded:
    """Return what a hook hears of an attempt for *payment*."""
    assert payment is not None
    key = payment.idempotency_key
    return AttemptEnded(operation="confirm_payment", idempotency_key=key, attempt=TRY)


class TestBooks:
    async def test_payments_are_handed_out_in_order_and_under_their_keys(
        self, books: Books
    ) -> None:
        """
        What waits is handed out as the file has it, each payment under the key that is on disk.
        """
        rows = batch("1", "2")
        await books.plan(rows)
        first, second, none = books.hand_out(), books.hand_out(), books.hand_out()

        assert first is not None
        assert second is not None
        assert none is None
        assert [key for _, key in rows] == [first.idempotency_key, second.idempotency_key]

    async def test_rows_that_cannot_be_sent_have_their_place_at_once(
        self, books: Books, told: list[tuple[int, str]]
    ) -> None:
        """
        An invalid row and a duplicate are counted and told when they are planned.
        """
        await books.plan(batch("1", "nothing", "1"))

        assert (3, 1, 1) == (books.counts.rows, books.counts.invalid, books.counts.duplicates)
        assert [3, 4] == [line for line, _ in told]

    async def test_what_is_planned_meanwhile_still_waits(
        self, books: Books, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows that are planned while others are being left are not lost between the two.
        """
        settle = Journal.settle

        async def slow(self: Journal, settlements: Any) -> None:
            await books.plan(batch("3"))
            await settle(self, settlements)

        await books.plan(batch("1", "2"))
        monkeypatch.setattr(Journal, "settle", slow)
        await books.leave_waiting()

        assert (3, 2) == (books.counts.rows, books.counts.not_sent)
        assert books.hand_out() is not None
        assert books.hand_out() is None

    async def test_giving_up_leaves_no_row_without_a_place(
        self, books: Books, course: Course, told: list[tuple[int, str]]
    ) -> None:
        """
        What is in flight is unknown, and what waits is not sent.
        """
        await books.plan(batch("1", "2", "3"))
        books.hand_out()
        books.give_up()

        assert (1, 2) == (books.counts.unknown, books.counts.not_sent)
        assert books.counts.rows == books.counts.settled
        assert [(2, "unknown: the run ended before its outcome was on disk")] == told
        assert [
            ("not_sent", "the run ended before it was sent", 2, [3, 4]),
            ("unknown", "the run ended before its outcome was on disk", 1, [2]),
        ] == groups(course)

    @pytest.mark.parametrize("fresh", [True, False])
    async def test_rows_that_were_not_planned_have_a_reason_too(
        self,
        books: Books,
        course: Course,
        journal: Journal,
        fresh: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        Where the journal breaks over them, they are counted and grouped with their lines.
        """

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        monkeypatch.setattr(journal, "plan", fail)
        monkeypatch.setattr(journal, "fresh", fresh)
        with pytest.raises(JournalError):
            await books.plan(batch("1", "2"))
        books.give_up()
        name = "not_sent" if fresh else "unknown"
        reason = "sent" if fresh else "looked up in the journal"

        assert 2 == getattr(books.counts, name)
        assert [(name, f"the run ended before it was {reason}", 2, [2, 3])] == groups(course)

    async def test_doubt_that_was_not_settled_is_named(
        self, tmp_path: pathlib.Path, told: list[tuple[int, str]]
    ) -> None:
        """
        What an earlier run may have put on record stays unknown where this one does not ask, and is
        told; what is merely unsent is not told row by row.
        """
        rows = batch("1", "2")
        path = str(tmp_path / "own")
        async with Journal(path, target="t") as journal:
            await journal.plan([Candidate(line=2, content=rows[0][1])], Duplicates.REFUSE)
        async with Journal(path, target="t") as journal:
            books = Books(
                journal,
                duplicates=Duplicates.REFUSE,
                rejects=None,
                tell=lambda found: told.append((found.line, found.text)),
                tally=Tally(),
                course=Course(),
            )
            await books.plan(rows)
            await books.leave_waiting()

        assert [(2, "unknown: the run ended before it was asked for again")] == told
        assert (1, 1) == (books.counts.unknown, books.counts.not_sent)

    @pytest.mark.parametrize("broken", [False, True])
    async def test_requests_that_nobody_waited_for_count(
        self, books: Books, tally: Tally, broken: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The requests of rows that are cut off are counted, where the journal cannot be written too.
        """

        async def fail(*_: object) -> None:
            raise JournalError("disk full")

        await books.plan(batch("1", "2"))
        for event in [attempted(books.hand_out())] * 2:
            tally(event)
        tally(attempted(books.hand_out()))
        if broken:
            monkeypatch.setattr(Journal, "settle", fail)
            with pytest.raises(JournalError):
                await books.cut_off()
            books.give_up()
        else:
            await books.cut_off()

        assert (3, 2) == (books.counts.attempts, books.counts.unknown)

    async def test_requests_are_counted_once(self, books: Books, tally: Tally) -> None:
        """
        Of a row that came back its own record counts, and nothing of it is kept.
        """
        await books.plan(batch("1"))
        payment = books.hand_out()
        tally(attempted(payment))
        assert payment is not None
        receipt = ConfirmationReceipt(meta=Meta(attempts=(TRY,)))
        outcome = Outcome.RECORDED
        row = Row(index=0, payment=payment, receipt=receipt, outcome=outcome, attempts=(TRY,))
        await books.settle([row])

        assert (1, 1) == (books.counts.attempts, books.counts.confirmed)
        assert 0 == tally.take(str(payment.idempotency_key))

    @pytest.mark.parametrize(
        ("later", "when"),
        [
            (25 * 3600, "25 hours ago, which is longer than --max-key-age"),
            (72 * 3600, "3 days ago, which is longer than --max-key-age"),
            (-3600, "at a time that nobody knows, since the clock went back"),
        ],
    )
    async def test_a_row_under_a_key_that_is_too_old_is_unknown(
        self, tmp_path: pathlib.Path, told: list[tuple[int, str]], later: float, when: str
    ) -> None:
        """
        It is not handed out, and told with its key, by which a person can look it up.
        """
        ((row, key),) = batch("1")
        path = str(tmp_path / "own")
        async with Journal(path, target="t", clock=lambda: 1e9) as journal:
            await journal.plan([Candidate(line=2, content=key)], Duplicates.REFUSE)
        clock = partial(float, 1e9 + later)
        async with Journal(path, target="t", max_key_age=86_400, clock=clock) as journal:
            books = Books(
                journal,
                duplicates=Duplicates.REFUSE,
                rejects=None,
                tell=lambda found: told.append((found.line, found.text)),
                tally=Tally(),
                course=Course(),
            )
            await books.plan([(row, key)])

        assert books.hand_out() is None
        assert (1, 1) == (books.counts.rows, books.counts.unknown)
        assert [(2, f"unknown: not asked for again: key {key} may have been sent {when}")] == told

    async def test_what_is_told_of_a_row(self, journal: Journal, tmp_path: pathlib.Path) -> None:
        """
        A row is told with all that is known of it, in words of ours; the vendor's are in the
        rejects file alone, since they may name a person.
        """
        found: list[Trouble] = []
        course = Course()
        text = ",".join(HEADER) + "\ncase-1,1,2026-01-05,2026-02-05,PAID\n"
        rejects = Rejects(str(tmp_path / "r"), RowReader(io.BytesIO(text.encode())))
        books = Books(
            journal,
            duplicates=Duplicates.REFUSE,
            rejects=rejects,
            tell=found.append,
            tally=Tally(),
            course=course,
        )
        await books.plan(batch("1", "nothing", "2"))
        payments = [books.hand_out(), books.hand_out()]
        no = BadRequestError(
            "BAD_CASE: Jane Roe has left", status=400, code="BAD_CASE", message="Jane Roe has left"
        )
        busy = RateLimitError("429: Jane Roe waits", status=429, code="SLOW", retryable=True)
        rows = [
            Row(index=index, payment=payment, error=error, outcome=Outcome.REJECTED)
            for index, (payment, error) in enumerate(zip(payments, (no, busy), strict=True))
            if payment is not None
        ]
        await books.settle(rows)
        rejects.close()
        first, second = (row.payment.idempotency_key for row in rows)

        assert [
            Trouble(
                line=3,
                outcome="invalid",
                text="invalid: amount: is not an amount such as 1234.50",
                field="amount",
            ),
            Trouble(
                line=2,
                outcome="rejected",
                text="rejected: the vendor answered 400, BAD_CASE",
                key=first,
                status=400,
                code="BAD_CASE",
                error="BadRequestError",
            ),
            Trouble(
                line=4,
                outcome="not_sent",
                text=f"not sent: the vendor answered 429, SLOW (key {second})",
                key=second,
                status=429,
                code="SLOW",
                error="RateLimitError",
            ),
        ] == found
        assert "Jane Roe" in (tmp_path / "r").read_text()
        assert "the vendor answered 400, BAD_CASE" in {row.reason for row in course.listed()}

    async def test_a_long_reason_is_cut(self, journal: Journal, tmp_path: pathlib.Path) -> None:
        """
        A vendor's novel does not make the rejects file one that the next run cannot read.
        """
        text = ",".join(HEADER) + "\ncase-1,1,2026-01-05,2026-02-05,PAID\n"
        read = RowReader(io.BytesIO(text.encode()))
        rejects = Rejects(str(tmp_path / "r"), read)
        books = Books(
            journal,
            duplicates=Duplicates.REFUSE,
            rejects=rejects,
            tell=lambda *_: None,
            tally=Tally(),
            course=Course(),
        )
        await books.plan(batch("1"))
        payment = books.hand_out()
        assert payment is not None
        no = BadRequestError("no", outcome=Outcome.REJECTED, status=400, message="x" * 200_000)
        await books.settle([Row(index=0, payment=payment, error=no, outcome=Outcome.REJECTED)])
        rejects.close()

        assert 1500 > (tmp_path / "r").stat().st_size > 1000
