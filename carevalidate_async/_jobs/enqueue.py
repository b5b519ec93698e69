"""
A file's rows into the queue, each once, in the file's order.

Nothing is kept here: how far a job is queued stands in the broker. A process that goes on with it
reads the file from its beginning, plans each row as before, and publishes from where the last one
came to. So it can be another process, on another machine that has the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from typing import TYPE_CHECKING, TypeVar

import attrs
import msgspec
import nats.errors
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from carevalidate_async._codec import encode
from carevalidate_async._files.fields import FileRow, Problem, content_key, copy_cell
from carevalidate_async._jobs.ledger import (
    ASKED_AT_ONCE,
    FULL,
    BrokerError,
    Ledger,
    OtherEnqueuerError,
    after,
    is_late,
    is_there,
)
from carevalidate_async._jobs.messages import (
    OUT,
    Job,
    Refused,
    Work,
    out_subject,
    packed,
    work_subject,
)
from carevalidate_async._run.ahead import Ahead
from carevalidate_async._run.books import Books, Planned
from carevalidate_async._run.counts import Counts, Tally, Trouble
from carevalidate_async._run.course import Course
from carevalidate_async.carevalidate import DIALECT
from carevalidate_async.journal import Duplicates, Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from carevalidate_async._files.rows import RowReader

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long the broker has to say that it has a message, before it is asked again."""

FULL_SECONDS = 1.0
"""Seconds between two looks at a queue that is full."""


class OtherFileError(Exception):
    """A job of that name has another file; the message says so."""


@attrs.frozen
class Message:
    """
    What is to be published.

    Attributes:
        subject: Where.

        body: What.

        headers: How often.
    """

    subject: str
    body: bytes
    headers: dict[str, str]


class Enqueuer:
    """
    Queues one file as one job.

    Args:
        reader: The file's rows.

        ledger: The broker.

        name: The job's.

        file: The file's name, for people.

        duplicates: What to do with rows whose content the file had before.

        note: Told when the queue is full, or the broker does not answer, and when that ends.

        progress: Called with the rows that have their place, now and then.

    Attributes:
        skipped: Rows that had theirs before.
    """

    def __init__(
        self,
        reader: RowReader,
        ledger: Ledger,
        *,
        name: str,
        file: str,
        duplicates: Duplicates,
        note: Callable[[str], None],
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._name = name
        self._duplicates = duplicates
        self._note = note
        self._progress = progress
        self._stop = asyncio.Event()
        self._refused: list[tuple[FileRow, str, tuple[Problem, ...], str | None]] = []
        self._counted = ""
        self._new = Job(
            file=file,
            began=time.time(),
            duplicates=str(duplicates),
            form=str(reader.format),
            header=[*reader.header],
        )
        self._token = self._new.token(name)
        self.skipped = 0

    def stop(self) -> None:
        """Queue no further row; what is queued stays."""
        self._stop.set()

    async def run(self) -> Job:
        """
        Queue what is not queued yet, and return the job's record.

        Raises:
            OtherFileError: The job was begun with another file, or with other duplicates.

            OtherEnqueuerError: Another process queues it.

            FileError, OSError: The file cannot be read on; what is queued stays.
        """
        found = await self._ledger.job(self._name)
        known, revision = found or (self._new, 0)
        self.skipped = known.rows
        self._token = known.token(self._name)
        if found is not None:
            self._check(known)
        job = msgspec.structs.replace(known, rows=0, line=0, queued=0, invalid=0, repeated=0)
        sums = hashlib.sha256()
        messages: list[Message] = []
        ahead = Ahead(self._reader)
        async with Journal("", target=self._name, rehearse=True) as journal:
            books = Books(
                journal,
                duplicates=self._duplicates,
                rejects=self,  # type: ignore[arg-type]  # what it is asked for
                tell=self._tell,
                tally=Tally(),
                course=Course(),
            )
            try:
                while (batch := await ahead.next(unless=self._stop)) is not None:
                    ahead.note(waiting=0)
                    await books.plan(batch)
                    rows = [row for row, _ in batch]
                    messages += self._messages(books.pass_over(), beyond=known.line)
                    self._compare(rows, sums, known, before=job.rows)
                    job.line = rows[-1].line
                    _count(job, books.counts)
                    if job.rows <= known.rows or job.rows < known.planned:
                        continue  # those have their place, or are compared as a whole
                    if known.planned > known.rows:
                        messages = await self._without_result(messages)
                    job.digest = job.planned_digest = sums.hexdigest()
                    job.planned, job.whole = job.rows, False
                    # First what is going to be published: whoever goes on after a crash has to know
                    # which rows these were.
                    known = msgspec.structs.replace(
                        known, planned=job.planned, planned_digest=job.digest, whole=False
                    )
                    revision = await self._put_record(known, revision)
                    if not await self._publish(messages):
                        return known
                    revision = await self._put_record(job, revision)
                    known, messages = msgspec.structs.replace(job), []
                    self._progress(job.rows)
            finally:
                ahead.close()
        if self._stop.is_set():
            return known
        if job.rows < max(known.rows, known.planned):
            raise OtherFileError(f"{self._other()}: it had more rows")
        if not known.whole:
            known = msgspec.structs.replace(known, whole=True)
            await self._put_record(known, revision)
        return known

    async def _put_record(self, job: Job, revision: int) -> int:
        """Write the job's record over the one of that revision; return the new one's."""

        async def put() -> int:
            try:
                return await self._ledger.put(self._name, job, revision)
            except OtherEnqueuerError:
                found = await self._ledger.job(self._name)
                if found is None or found[0] != job:
                    raise
                return found[1]  # it was written, and the answer got lost

        return await self._patiently(put)

    async def _without_result(self, messages: Sequence[Message]) -> list[Message]:
        """Return those rows of a batch that was cut off that nobody has confirmed since."""
        return [
            message
            for message in messages
            if not await self._patiently(functools.partial(self._has_result, message))
        ]

    async def _has_result(self, message: Message) -> bool:
        line = int(message.subject.rpartition(".")[2])
        try:
            await self._ledger.js.get_last_msg(OUT, out_subject(self._token, "result", line))
        except NotFoundError:
            return False
        return True

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what the broker says; wait for one that is away, and ask it again."""
        while True:
            try:
                return await ask()
            except (nats.errors.Error, OSError) as error:
                if _is_refusal(error):
                    raise BrokerError(
                        f"the broker refuses it: {error}; what is queued stays"
                    ) from None
                self._note("the broker does not answer; waiting for it")
                if await self._rest(FULL_SECONDS):
                    raise BrokerError("the broker does not answer; what is queued stays") from None

    # Rows that are not queued: Books tells of them, and hands them to what it takes for a rejects
    # file

    def _tell(self, found: Trouble) -> None:
        self._counted = found.outcome

    def write(self, row: FileRow, problems: Sequence[Problem], key: str | None = None) -> None:
        """Note a row that was refused."""
        self._refused.append((row, self._counted, tuple(problems), key))

    def flush(self) -> None:
        """Do nothing: they are published with the others."""

    # The same file

    def _check(self, known: Job) -> None:
        if known.duplicates != self._duplicates:
            raise OtherFileError(
                f"the job {self._name} was begun with --duplicates {known.duplicates}"
            )
        if (known.form, known.header) != (self._new.form, self._new.header):
            raise OtherFileError(f"{self._other()}: its columns differ")

    def _compare(
        self, rows: Sequence[FileRow], sums: hashlib._Hash, known: Job, *, before: int
    ) -> None:
        """Add rows to the digest, and see that those that were queued before are the same."""
        for number, row in enumerate(rows, start=before + 1):
            sums.update(f"{row.line}\n{packed(row)}\n".encode())
            told = {known.planned: known.planned_digest, known.rows: known.digest}.get(number)
            if told is not None and sums.hexdigest() != told:
                raise OtherFileError(f"{self._other()}: its first {number:,} rows differ")

    def _other(self) -> str:
        return (
            f"the job {self._name} was begun with another file; give this one a name of its own "
            "(--job)"
        )

    # Publishing

    def _messages(self, planned: Sequence[Planned], *, beyond: int) -> list[Message]:
        """Return what is to be published of a batch, in the file's order; clear what was noted."""
        told = [
            (row.line, self._refusal(row, counted, problems, key))
            for row, counted, problems, key in self._refused
            if row.line > beyond
        ]
        self._refused.clear()
        told += [(item.row.line, self._work(item)) for item in planned if item.row.line > beyond]
        return [message for _, message in sorted(told, key=lambda pair: pair[0])]

    def _work(self, item: Planned) -> Message:
        copy = item.plan.copy
        row = item.row
        work = Work(
            line=row.line,
            payment=msgspec.Raw(encode(DIALECT.codec.dump(item.payment))),
            original=packed(row),
            reject_key=None if copy is None else copy_cell(content_key(item.payment), copy),
        )
        subject = work_subject(self._token, row.line)
        mark = f"{self._token}:{row.line}:{item.plan.key}"
        return Message(subject, msgspec.json.encode(work), {"Nats-Msg-Id": mark})

    def _refusal(
        self, row: FileRow, counted: str, problems: tuple[Problem, ...], key: str | None
    ) -> Message:
        refused = Refused(
            line=row.line,
            counted=counted,
            problems=[(problem.field, problem.reason) for problem in problems],
            original=packed(row),
            reject_key=key,
        )
        subject = out_subject(self._token, "refused", row.line)
        return Message(subject, msgspec.json.encode(refused), after(0))

    async def _publish(self, messages: Sequence[Message]) -> bool:
        """Publish until the broker has all; return False where somebody said stop before."""
        waiting = list(messages)
        troubled = False
        while waiting:
            step, later = waiting[:ASKED_AT_ONCE], waiting[ASKED_AT_ONCE:]
            left, why = await self._ask(step)
            waiting = [*left, *later]
            if not left:
                continue
            if not troubled:
                self._note(why)
            troubled = True
            if await self._rest(FULL_SECONDS):
                return False
        if troubled:
            self._note("going on")
        return True

    async def _ask(self, messages: Sequence[Message]) -> tuple[list[Message], str]:
        """Publish, and return those that the broker does not have yet, and why."""
        # Not its publish_async, which never hears that a queue is full.
        answers = await asyncio.gather(
            *(self._put(message) for message in messages), return_exceptions=True
        )
        left: list[Message] = []
        why = "the broker does not answer; waiting for it"
        for message, error in zip(messages, answers, strict=True):
            if error is None or is_there(error) or is_late(error):
                continue
            if isinstance(error, nats.errors.MaxPayloadError):
                line = message.subject.rpartition(".")[2]
                raise BrokerError(f"the row of line {line} is larger than the broker's max_payload")
            if _is_full(error):
                why = "the queue is full; waiting for the workers"
            elif _is_refusal(error):
                raise BrokerError(f"the broker takes no row: {error}")
            elif not isinstance(error, nats.errors.Error | OSError):
                raise error
            left.append(message)
        return left, why

    async def _put(self, message: Message) -> None:
        headers = dict(message.headers)
        await self._ledger.js.publish(
            message.subject, message.body, headers=headers, timeout=ANSWER_SECONDS
        )

    async def _rest(self, seconds: float) -> bool:
        """Wait so long, and return whether somebody said stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()


def _count(job: Job, counts: Counts) -> None:
    job.rows = counts.rows
    job.queued = counts.not_sent
    job.invalid = counts.invalid
    job.repeated = counts.duplicates


def _is_refusal(error: BaseException) -> bool:
    """Tell whether the broker has answered, and would say the same again."""
    return isinstance(error, APIError) and not isinstance(error, ServiceUnavailableError)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, APIError) and error.err_code == FULL
