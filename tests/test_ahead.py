from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import attrs
import pytest

from carevalidate_async._files.fields import FileRow, JsonObject
from carevalidate_async._files.rows import FileFormat
from carevalidate_async._run import ahead
from carevalidate_async._run.ahead import Ahead
from input_files import PAYMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Given:
    """
    Rows that are there already.

    Attributes:
        count: How many were read.

        third: Set once three were.
    """

    format = FileFormat.JSONL
    header = ()
    bytes_read = 0

    def __init__(self, rows: Sequence[FileRow]) -> None:
        self._rows = rows
        self.ignored: list[str] = []
        self.count = 0
        self.third = threading.Event()

    def __iter__(self) -> Iterator[FileRow]:
        for row in self._rows:
            self.count += 1
            if self.count == 3:
                self.third.set()
            yield row


LONG = "x" * 4000


class TestAhead:
    @pytest.mark.parametrize(
        "row",
        [
            FileRow(line=1, original=JsonObject(LONG)),
            FileRow(line=1, original=(LONG[:2000], LONG[2000:])),
            FileRow(line=1, original="", payment=attrs.evolve(PAYMENT, description=LONG)),
        ],
    )
    async def test_long_rows_are_read_a_few_ahead(
        self, monkeypatch: pytest.MonkeyPatch, row: FileRow
    ) -> None:
        """
        Rows that are read ahead, or taken together, are bounded by the memory that they take.
        """
        monkeypatch.setattr(ahead, "MOST_BYTES", 10_000)
        given = Given([row] * 20)
        reading = Ahead(given)
        await asyncio.to_thread(given.third.wait, 10)
        taken = 0
        while batch := await reading.next(unless=asyncio.Event()):
            assert 2 >= len(batch)
            taken += len(batch)
            assert 3 >= given.count - taken

        assert 20 == taken

    async def test_one_is_read_however_long_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A row beyond the bound waits until it is the only one.
        """
        monkeypatch.setattr(ahead, "MOST_BYTES", 10)
        reading = Ahead(Given([FileRow(line=n, original=LONG) for n in range(5)]))
        lines = []
        while batch := await reading.next(unless=asyncio.Event()):
            ((row, _),) = batch
            lines.append(row.line)

        assert [0, 1, 2, 3, 4] == lines

    async def test_rows_that_wait_to_be_sent_are_rows_at_hand(self) -> None:
        """
        A batch that is taken lets no other be read in its place; as many are as are sent.
        """
        given = Given([FileRow(line=1, original="")] * (3 * ahead.MOST_ROWS))
        reading = Ahead(given)
        await reached(given, ahead.MOST_ROWS + 1)  # one is held until there is room
        first = await reading.next(unless=asyncio.Event())
        await asyncio.sleep(0.05)
        still = given.count
        reading.note(waiting=ahead.BATCH - 100)
        await reached(given, still + 100)
        await asyncio.sleep(0.05)

        assert first is not None
        assert ahead.BATCH == len(first)
        assert ahead.MOST_ROWS + 1 == still
        assert still + 100 == given.count
        reading.close()

    @pytest.mark.parametrize("broken", [False, True])
    async def test_rows_that_come_in_the_very_moment_are_given(self, *, broken: bool) -> None:
        """
        Python may let the thread that reads run right after a look that found nothing; what it adds
        then, and that it has ended, are seen together.
        """
        go = threading.Event()

        class Late:
            bytes_read = 0

            def __iter__(self) -> Iterator[FileRow]:
                go.wait()
                yield FileRow(line=1)
                if broken:
                    raise OSError("the disk broke")

        reading = Ahead(Late())  # type: ignore[arg-type]  # as much of it as is looked at
        lock = reading._lock

        class Lock:
            def __enter__(self) -> None:
                lock.acquire()

            def __exit__(self, *exc_info: object) -> None:
                lock.release()
                if threading.current_thread() is threading.main_thread() and not go.is_set():
                    go.set()
                    while any(thread.name == "rows" for thread in threading.enumerate()):
                        time.sleep(0.001)

        reading._lock = Lock()  # type: ignore[assignment]  # it locks as the other does
        first = await reading.next(unless=asyncio.Event())

        assert first is not None
        assert [1] == [row.line for row, _ in first]
        if broken:
            with pytest.raises(OSError, match="broke"):
                await reading.next(unless=asyncio.Event())
        else:
            assert None is await reading.next(unless=asyncio.Event())


async def reached(given: Given, count: int) -> None:
    async with asyncio.timeout(10):
        while given.count < count:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.001)
