from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._books import Books
from carevalidate_async._counts import Tally
from carevalidate_async._fields import FileRow, content_key
from carevalidate_async._rows import RowReader
from carevalidate_async.journal import Duplicates, Journal

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
def books(journal: Journal, told: list[tuple[int, str]]) -> Books:
    def tell(line: int, text: str) -> None:
        told.append((line, text))

    return Books(journal, duplicates=Duplicates.REFUSE, rejects=None, tell=tell, tally=Tally())


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

        async def slow(self: Journal, settlements: Any) -> None:  # noqa: ANN401
            await books.plan(batch("3"))
            await settle(self, settlements)

        await books.plan(batch("1", "2"))
        monkeypatch.setattr(Journal, "settle", slow)
        await books.leave_waiting()

        assert (3, 2) == (books.counts.rows, books.counts.not_sent)
        assert books.hand_out() is not None
        assert books.hand_out() is None

    async def test_giving_up_leaves_no_row_without_a_place(self, books: Books) -> None:
        """
        What is in flight is unknown, and what waits is not sent.
        """
        await books.plan(batch("1", "2", "3"))
        books.hand_out()
        books.give_up()

        assert (1, 2) == (books.counts.unknown, books.counts.not_sent)
        assert books.counts.rows == books.counts.settled
