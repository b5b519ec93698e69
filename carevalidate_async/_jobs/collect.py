"""
A job's results to its counts, from anywhere: the same summary as of a run on one machine.

All is read from the broker, from the first result on, as often as anybody asks; nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import attrs
import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from carevalidate_async._files.fields import Problem
from carevalidate_async._files.kinds import FileFormat
from carevalidate_async._jobs.ledger import DURABLE, BrokerError
from carevalidate_async._jobs.messages import (
    OUT,
    RECORDED,
    WORK,
    Job,
    Refused,
    Result,
    Tries,
    Try,
    out_subject,
    parts_of,
    problems_of,
    unpacked,
    work_subject,
)
from carevalidate_async._run.counts import Counts, Summary, Trouble, titled
from carevalidate_async._run.course import Course
from carevalidate_async._run.sight import Sight
from carevalidate_async.errors import Attempt, Outcome
from carevalidate_async.hooks import AttemptEnded
from carevalidate_async.journal import Duplicates

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._jobs.ledger import Ledger
    from carevalidate_async._run.sight import Watcher

FETCHED = 500
"""Results that are asked for at once."""

PATIENCE = 1.0
"""Seconds that new results are waited for, before the job itself is looked at."""

IDLE = 30.0
"""Seconds after which the broker forgets a collector that asks for nothing."""

_TRIES = 5  # of what a connection that breaks may cut short

_STATES = ("", "confirmed", "already_recorded", "rejected", "unknown")


@attrs.frozen(kw_only=True)
class Queue:
    """
    The workers' queue at one moment; of all jobs together.

    Attributes:
        waiting: Rows that nobody has taken yet.

        in_flight: Rows that a worker holds, or that wait for their next delivery.

        redelivered: How many of those were delivered more than once.

        oldest_unknown: Seconds since the first of this job's rows was asked for whose outcome is
            unknown, and which is asked for again; None where there is none.
    """

    waiting: int = 0
    in_flight: int = 0
    redelivered: int = 0
    oldest_unknown: float | None = None


@attrs.frozen(kw_only=True)
class JobRows:
    """What a rejects file has to know of a job's file."""

    format: FileFormat
    header: tuple[str, ...]


class Collector:
    """
    Follows one job.

    Args:
        ledger: The broker.

        name: The job's.

        job: Its record.

        watcher: Told of rows that need another look, and how far it is.

        rejects: Where rows to be corrected go; None for nowhere.

    Attributes:
        course: What happened when.

        queue: The workers' queue, as it was seen last.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        name: str,
        job: Job,
        watcher: Watcher,
        rejects: Rejects | None = None,
    ) -> None:
        self._ledger = ledger
        self._name = name
        self._token = job.token(name)
        self._job = job
        self._watcher = watcher
        self._rejects = rejects
        self._counts = Counts()
        self._seen = bytearray()  # of each line, what became of it
        self._results = 0
        self._asked = 0  # rows that were asked for at all
        self._doubts: dict[int, float] = {}  # lines, and when they were asked for
        self._next = 1  # the number of the next message of the stream
        self._moment = 0.0
        self._last = 0.0  # when the last result came
        self._waiting = 0  # rows of it that the queue has
        self._at_rest = False  # whether nobody took any between two looks
        self._stop = asyncio.Event()
        self.course = Course(lambda: self._moment)
        self.queue = Queue()

    def stop(self) -> None:
        """Wait for the job's end no longer."""
        self._stop.set()

    async def follow(self) -> None:
        """Wait for the job's end, or until somebody says stop."""
        done = False
        while not (done or self._stop.is_set()):
            try:
                await self._read(wait=True)
                done = True
            except (nats.errors.Error, OSError, TimeoutError):
                await self._rest(1.0)  # it is away; its connection tells so

    async def catch_up(self) -> None:
        """
        Read what there is, without waiting for more.

        Raises:
            BrokerError: The broker does not answer.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await self._look()
                before = self._waiting, self.queue.in_flight
                await self._read(wait=False)
                # Where a row was taken meanwhile, it may be on record by now.
                self._at_rest = before == (self._waiting, self.queue.in_flight)
                return
        raise BrokerError("the broker does not answer")

    async def _read(self, *, wait: bool) -> None:
        """Read results: to the job's end, or until there are no more."""
        js = self._ledger.js
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._next,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=IDLE,
        )
        subject = out_subject(self._token, ">")
        sub = await js.pull_subscribe(subject, stream=OUT, config=config)
        seen = 0  # of what the broker has sent to this subscription
        try:
            while not (wait and self._stop.is_set()):
                info = await sub.consumer_info()
                if not info.num_pending:
                    sent = 0 if info.delivered is None else info.delivered.consumer_seq or 0
                    if sent != seen:
                        raise nats.errors.TimeoutError  # it got lost with a connection
                    await self._look()
                    # Looked at before: a result may have come since.
                    if not wait or self.ended:
                        return
                messages: list[Msg] = []
                with contextlib.suppress(nats.errors.TimeoutError):
                    messages = await sub.fetch(FETCHED, timeout=PATIENCE)
                for message in messages:
                    seen += 1
                    if message.metadata.sequence.consumer != seen:
                        raise nats.errors.TimeoutError  # as above; those in between come again
                    self._take(message)
                if self._rejects is not None:
                    self._rejects.flush()
                self._report()
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await sub.unsubscribe()

    async def _look(self) -> None:
        """See how far the job is queued, and how the queue is."""
        self._job = await self._ledger.record(self._name)
        self._moment = max(self._moment, time.time() - self._job.began)
        subjects = work_subject(self._token, "*")
        work = await self._ledger.js.stream_info(WORK, subjects_filter=subjects)
        self._waiting = len(work.state.subjects or ())
        oldest = min(self._doubts.values(), default=None)
        with contextlib.suppress(nats.js.errors.NotFoundError):  # no worker has ever come
            info = await self._ledger.js.consumer_info(WORK, DURABLE)
            self.queue = Queue(
                waiting=info.num_pending or 0,
                in_flight=info.num_ack_pending or 0,
                redelivered=info.num_redelivered or 0,
                oldest_unknown=None if oldest is None else max(0.0, self._moment - oldest),
            )

    @property
    def ended(self) -> bool:
        """Whether all rows of the job have their place."""
        return self._job.whole and self._results >= self._job.queued

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # What a message says

    def _take(self, message: Msg) -> None:
        meta = message.metadata
        self._next = meta.sequence.stream + 1
        self._moment = max(self._moment, meta.timestamp.timestamp() - self._job.began)
        match parts_of(message.subject)[1]:
            case "result":
                self._settled(msgspec.json.decode(message.data, type=Result))
            case "tries":
                self._tried(msgspec.json.decode(message.data, type=Tries))
            case "refused":
                self._refused(msgspec.json.decode(message.data, type=Refused))

    def _tried(self, tries: Tries) -> None:
        self._requests("", tries.tries)
        if tries.outcome == Outcome.UNKNOWN and not self._state(tries.line):
            self._doubts.setdefault(tries.line, self._moment)

    def _settled(self, result: Result) -> None:
        before = self._state(result.line)
        self._doubts.pop(result.line, None)
        self._requests(result.key, result.tries)
        self._asked += bool(result.tries)
        self._last = self._moment
        if before:  # it was replayed, and is now on record
            self._counts.add(_STATES[before], -1)
        else:
            self._results += 1
        self._seen[result.line] = _STATES.index(result.state)
        self._counts.add(result.state)
        if result.state in RECORDED:
            self.course.good(result.state)
            return
        reason = result.reason or ""
        self._trouble(result, reason)
        if result.state == "rejected" and self._rejects is not None and result.work is not None:
            words = reason if result.said is None else f"the vendor said: {result.said}"
            row = unpacked(result.line, result.work.original)
            self._rejects.write(row, [Problem("", words)], result.work.reject_key)

    def _trouble(self, result: Result, reason: str) -> None:
        self.course.settled(
            result.state,
            line=result.line,
            key=result.key or None,
            error=result.error,
            status=result.status,
            code=result.code,
            reason=reason,
        )
        more = f" (key {result.key})" if result.state == "unknown" else ""
        self._watcher.problem(
            Trouble(
                line=result.line,
                outcome=result.state,
                text=f"{titled(result.state)}: {reason}{more}",
                key=result.key or None,
                status=result.status,
                code=result.code,
                error=result.error,
            )
        )

    def _refused(self, refused: Refused) -> None:
        problems = problems_of(refused)
        reason = "; ".join(map(str, problems))
        field = "; ".join(problem.field for problem in problems) or None
        self.course.settled(
            refused.counted,
            line=refused.line,
            key=None,
            error=None,
            status=None,
            code=field,
            reason=reason,
        )
        text = f"{titled(refused.counted)}: {reason}"
        self._watcher.problem(
            Trouble(line=refused.line, outcome=refused.counted, text=text, field=field)
        )
        if self._rejects is not None:
            row = unpacked(refused.line, refused.original)
            self._rejects.write(row, problems, refused.reject_key)

    def _requests(self, key: str, tries: list[Try]) -> None:
        self._counts.attempts += len(tries)
        for number, one in enumerate(tries, start=1):
            attempt = Attempt(
                number=number,
                duration=one.duration,
                happened="",
                outcome=Outcome(one.outcome),
                status=one.status,
            )
            self.course(
                AttemptEnded(operation="confirm_payment", idempotency_key=key, attempt=attempt)
            )

    def _state(self, line: int) -> int:
        if line >= len(self._seen):
            self._seen.extend(bytes(line + 1 - len(self._seen)))
        return self._seen[line]

    # What there is to see

    @property
    def counts(self) -> Counts:
        """Return where the rows are; those that wait have no place yet."""
        job = self._job
        found = attrs.evolve(
            self._counts, rows=job.rows, invalid=job.invalid, duplicates=job.repeated
        )
        # Those of a batch that is being queued may have results, and are in no record yet.
        found.rows = max(found.rows, found.settled)
        return found

    def _report(self) -> None:
        self._watcher.progress(self._sight)

    def _sight(self) -> Sight:
        counts = self.counts
        return Sight(
            counts=counts,
            total=self._job.rows if self._job.whole else None,
            failed=counts.failed,
            retries=max(0, counts.attempts - self._asked),
            seconds=self.course.elapsed,
            recent=self.course.recent(),
            queue=in_words(self.queue),
        )

    def summary(self, *, at_rest: bool = False) -> Summary:
        """
        Return the job's counts.

        Args:
            at_rest: Whether no worker holds any of its rows, for sure. Otherwise those without a
                result may be on record without anybody here knowing, and so may those that no
                longer wait.
        """
        counts = self.counts
        repeated = Duplicates(self._job.duplicates)
        if repeated is Duplicates.ONCE and counts.duplicates:
            self.course.good("duplicates", counts.duplicates)
        at_rest = self._at_rest and (at_rest or not self.queue.in_flight)
        left = counts.rows - counts.settled
        unsent = max(0, min(left, self._waiting) - len(self._doubts)) if at_rest else 0
        for name, rows in (("unknown", left - unsent), ("not_sent", unsent)):
            if rows:
                counts.add(name, rows)
                self.course.left(name, [], "its result is not there yet")
        if self.ended:
            self._moment = self._last
        self.course.end()
        stopped = self._stop.is_set()
        return Summary(
            counts=counts,
            elapsed=self.course.elapsed,
            duplicates=repeated,
            interrupted=stopped and not self.ended,
            stopped_by=None if self.ended or stopped else "the job has not ended",
            reached=True,
            retries=max(0, counts.attempts - self._asked),
            whole=self._job.whole,
        )


def in_words(queue: Queue) -> str:
    """Return the queue in one line."""
    words = f"queue: {queue.waiting:,} wait, {queue.in_flight:,} in flight"
    if queue.redelivered:
        words += f", {queue.redelivered:,} redelivered"
    if queue.oldest_unknown is not None:
        words += f"; oldest unknown {queue.oldest_unknown:,.0f} s"
    return words
