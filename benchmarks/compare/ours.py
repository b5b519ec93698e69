"""Contenders: this package's calls and bulk runs."""

from __future__ import annotations

import contextlib
import io
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.compare.bare import tls
from benchmarks.compare.stub import FAULTY
from benchmarks.compare.target import KEY, Target, payment
from carevalidate_async import CareValidate
from carevalidate_async._commands.garbage import look_seldom
from carevalidate_async._files.rows import RowReader
from carevalidate_async._run.counts import Tally
from carevalidate_async._run.course import Course
from carevalidate_async._run.file_run import Bounds, FileRun
from carevalidate_async.journal import Journal
from carevalidate_async.testing import no_waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.compare.contender import Call, Play

HEADER = (
    "case_id,email,phone_number,decision_id,amount,description,payment_date,status,valid_until\n"
)


FAULTY_KEY = FAULTY.decode()


def client(target: Target, *, key: str = KEY, **options: Any) -> CareValidate:
    """Return our client."""
    most = max(100, target.concurrency)
    return CareValidate(key, base_url=target.url, ssl=tls(target), max_connections=most, **options)


@contextlib.asynccontextmanager
async def calls(target: Target, **options: Any) -> AsyncIterator[Call]:
    """Make a model and await the client's method."""
    async with client(target, **options) as care:

        async def call(number: int) -> None:
            await care.confirm_payment(payment(number))

        yield call


@contextlib.asynccontextmanager
async def calls_that_fail(target: Target) -> AsyncIterator[Call]:
    """Do the same where some requests fail, and are repeated without a wait."""
    with no_waiting():
        async with calls(target, key=FAULTY_KEY, retry_quota=None) as call:
            yield call


@contextlib.asynccontextmanager
async def bulk(target: Target, *, key: str = KEY) -> AsyncIterator[Play]:
    """Let the client do the many."""
    async with client(target, key=key) as care:

        async def play(count: int) -> None:
            rows = care.confirm_payments(map(payment, range(count)), concurrency=target.concurrency)
            async for row in rows:
                if row.error is not None:
                    raise row.error

        yield play


@contextlib.asynccontextmanager
async def bulk_that_fails(target: Target) -> AsyncIterator[Play]:
    """Do the same where some requests fail."""
    with no_waiting():
        async with bulk(target, key=FAULTY_KEY) as play:
            yield play


class _Silent:
    """Tells nobody."""

    def progress(self, *_: object, **__: object) -> None: ...

    def paced(self, *_: object) -> None: ...

    def problem(self, *_: object) -> None: ...

    def would_send(self, *_: object) -> None: ...

    def note(self, *_: object) -> None: ...


def _file(count: int) -> bytes:
    rows = "".join(
        f"case-{number},patient@example.com,+12025550123,decision-1,49.90,"
        "Payment for Compounded Semaglutide,2026-11-02,PAID,2026-12-02\n"
        for number in range(count)
    )
    return (HEADER + rows).encode()


@contextlib.asynccontextmanager
async def bulk_with_journal(target: Target) -> AsyncIterator[Play]:
    """Do what ``carevalidate confirm`` does: read a file, and keep a journal of its rows."""
    look_seldom()  # as the command does
    run = 0
    files: dict[int, bytes] = {}  # made once: a run reads its file
    with tempfile.TemporaryDirectory() as folder:
        async with client(target) as care:

            async def play(count: int) -> None:
                nonlocal run
                run += 1
                tally, course = Tally(), Course()
                rows = files.get(count) or files.setdefault(count, _file(count))
                path = pathlib.Path(folder, f"{run}.journal")
                async with Journal(str(path), target="stub") as journal:
                    file_run = FileRun(
                        RowReader(io.BytesIO(rows)),
                        client=care.with_options(hooks=[tally, course]),
                        journal=journal,
                        watcher=_Silent(),
                        bounds=Bounds(concurrency=target.concurrency),
                        tally=tally,
                        course=course,
                    )
                    summary = await file_run.run()
                if summary.counts.confirmed != count:
                    raise RuntimeError("not confirmed")

            yield play
