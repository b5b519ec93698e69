"""A row's message to its result, and the worker that takes such messages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import attrs
import msgspec
import nats.errors
from nats.js.errors import APIError, NotFoundError

from carevalidate_async._jobs.ledger import (
    DURABLE,
    BrokerError,
    Ledger,
    after,
    connected,
    is_late,
)
from carevalidate_async._jobs.messages import (
    OUT,
    RECORDED,
    REPLAYED,
    WORK,
    WORK_SUBJECTS,
    Result,
    Tries,
    Work,
    job_of,
    out_subject,
    tries_of,
)
from carevalidate_async._jobs.pull import pull
from carevalidate_async.consumer import Consumer
from carevalidate_async.errors import Outcome
from carevalidate_async.events import Action, Decision, Event
from carevalidate_async.integrations.jetstream import (
    PUBLISH_TIMEOUT,
    JetStreamDelivery,
    consumer_config,
    provide_consumer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from carevalidate_async.consumer import Handler, Turns

_LONGEST = 1000  # characters of what the vendor said

_RANKS = {"rejected": 0, "unknown": 1, "already_recorded": 2, "confirmed": 2}
"""What a result knows; one that knows more replaces one that knows less."""


class JobDelivery(JetStreamDelivery):
    """
    A row's message; its result is written before it is acknowledged.

    Args:
        message: As it was fetched.

        js: Publishes.
    """

    def __init__(self, message: Msg, js: JetStreamContext) -> None:
        super().__init__(message, js, dead="")
        self._work = msgspec.json.decode(message.data, type=Work)
        self._number = message.metadata.sequence.stream
        self._replayed = REPLAYED in (message.headers or {})
        self._job = job_of(message.subject)
        self.event = Event(
            id=f"{self._job}:{self._work.line}",
            data=bytes(self._work.payment),
            attempt=self.event.attempt,
            in_doubt=self.event.in_doubt,
            age=self.event.age,
        )

    @property
    def job(self) -> str:
        """Name of the job that it is of."""
        return self._job

    async def look_back(self) -> None:
        """
        Find out whether an earlier delivery may have put the payment on record, and since when.

        A delivery that ended in another one has written what it met. Of one that was cut off
        nobody knows.
        """
        attempt = self.event.attempt
        if attempt is None or attempt == 1:
            return
        first = await self._met(1)
        if first is not None and not self._replayed:
            age = max(0.0, time.time() - first[1])
            self.event = attrs.evolve(self.event, age=age, made=time.monotonic())
        # What a delivery says of the payment is what is known after all of them.
        last = first if attempt == 2 else await self._met(attempt - 1)
        if last is not None and not self.event.in_doubt:
            doubt = last[0].outcome == Outcome.UNKNOWN
            self.event = attrs.evolve(self.event, in_doubt=doubt)

    async def _met(self, number: int) -> tuple[Tries, float] | None:
        """Return what a delivery met, and when in seconds since 1970; None where nobody knows."""
        try:
            found = await self._js.get_last_msg(OUT, self._tries(number))
        except NotFoundError:
            return None
        moment = time.time() if found.time is None else found.time.timestamp()
        return msgspec.json.decode(found.data or b"", type=Tries), moment

    def _tries(self, number: int) -> str:
        """Return where it is said what a delivery of this message met."""
        return out_subject(self._job, "tries", self._work.line, self._number, number)

    async def return_unasked(self) -> None:
        """Give it back, and say that it was not asked for."""
        known = Outcome.UNKNOWN if self.event.may_have_landed else Outcome.NOT_SENT
        await self.publish(Decision(action=Action.STOP, outcome=known))
        await self.give_back()

    async def publish(self, decision: Decision) -> None:
        """Write what became of the row, or, where there is to be another delivery, what it met."""
        receipt, error = decision.receipt, decision.error
        attempts = receipt.meta.attempts if receipt is not None else ()
        attempts = error.attempts if error is not None else attempts
        line = self._work.line
        if decision.action in {Action.RETRY, Action.STOP}:
            tries = Tries(line=line, outcome=str(decision.outcome), tries=tries_of(attempts))
            await self._put(self._tries(self.event.attempt or 0), msgspec.json.encode(tries))
            return
        result = Result(
            line=line, state=_state(decision), key=decision.key or "", tries=tries_of(attempts)
        )
        if result.state not in RECORDED:
            said = getattr(error, "message", None)
            result.reason = decision.reason
            result.error = None if error is None else type(error).__name__
            result.status = getattr(error, "status", None)
            result.code = getattr(error, "code", None)
            result.said = None if said is None else str(said)[:_LONGEST]
            result.began = time.time() - (self.event.age_now or 0.0)
            result.work = self._work
        await self._write(result)

    async def _write(self, result: Result) -> None:
        """Write a row's result, unless there is one that knows as much."""
        subject, body = out_subject(self._job, "result", result.line), msgspec.json.encode(result)
        last = 0
        while True:
            try:
                await self._put(subject, body, after(last))
            except APIError as error:
                if not is_late(error):
                    raise
            else:
                return
            try:
                found = await self._js.get_last_msg(OUT, subject)
            except NotFoundError:  # it went meanwhile, since its row was queued once more
                last = 0
                continue
            before = msgspec.json.decode(found.data or b"", type=Result)
            more = _RANKS[result.state] > _RANKS[before.state]
            if not more and (before.state in RECORDED or not self._replayed):
                return
            last = found.seq or 0

    async def _put(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        await self._js.publish(subject, body, headers=headers, timeout=PUBLISH_TIMEOUT)


def _state(decision: Decision) -> str:
    receipt = decision.receipt
    if decision.action is Action.ACK:
        fresh = receipt is not None and not receipt.meta.already_recorded
        return "confirmed" if fresh else "already_recorded"
    return "unknown" if decision.outcome is Outcome.UNKNOWN else "rejected"


class Worker:
    """
    Confirms rows of jobs until it is told to end.

    Args:
        url: The broker's.

        handler: Says what is to be done with each row.

        target: The origin that its payments go to. A job whose payments went elsewhere before is
            left alone.

        concurrency: Rows that it holds at once, at most.

        rate: Payments that it begins per second, at most.

        turns: Says when the next payment may be asked for; a rate that all workers share.

        adaptive: Whether to go below both as the vendor's answers tell.

        ack_wait: Seconds after which the rows of a worker that has died are given to others.

        grace: Seconds that it has to finish what it holds once it is told to end.

        note: Told what there is to know.

    Attributes:
        consumer: Has what was done so far.
    """

    def __init__(
        self,
        url: str,
        handler: Handler,
        *,
        target: str,
        concurrency: int,
        rate: float | None,
        turns: Turns | None,
        adaptive: bool,
        ack_wait: float,
        grace: float,
        note: Callable[[str], None],
    ) -> None:
        self._url = url
        self._target = target
        self._note = note
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()
        self._bound: dict[str, str] = {}
        self._ledger: Ledger | None = None
        self._concurrency = concurrency
        self._grace = grace
        self._wanted = consumer_config(DURABLE, WORK_SUBJECTS, ack_wait=ack_wait)
        self.consumer = Consumer(
            handler,
            concurrency=concurrency,
            rate=rate,
            turns=turns,
            adaptive=adaptive,
            extend_every=ack_wait / 3,
            on_stop=self._stopped,
        )

    async def run(self) -> None:
        """
        Work until told to end, or until nothing more can be done.

        Raises:
            BrokerError: Nobody answers there.

            MismatchError: What is on the broker has other settings.
        """
        async with connected(self._url, self._note) as js:
            try:
                self._ledger = await Ledger.open(js)
                await provide_consumer(js, WORK, self._wanted)
                held = await pull(js, WORK, DURABLE, self._take, self._concurrency, self._ended)
            except (nats.errors.Error, OSError) as error:
                told = type(error).__name__
                raise BrokerError(f"the broker does not go on with this: {told}") from None
            await self._finish(held)

    async def _finish(self, held: set[asyncio.Task[None]]) -> None:
        """Wait for what is held; cancel what takes too long, and so leave it to others."""
        if not held:
            return
        hurry = asyncio.ensure_future(self._hurry.wait())
        done = asyncio.ensure_future(asyncio.wait({*held}))
        try:
            await asyncio.wait(
                {done, hurry}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hurry.cancel()
            for task in held:
                task.cancel()
            await asyncio.gather(done, hurry, *held, return_exceptions=True)

    def end(self) -> None:
        """Finish what is held, and take nothing new; the second time, finish nothing."""
        if self._ended.is_set():
            self._hurry.set()
        self._ended.set()

    def _stopped(self, reason: str) -> None:
        self._note(f"Stopping: {reason}")
        self.end()

    async def _take(self, message: Msg) -> None:
        assert self._ledger is not None  # noqa: S101 - for the type checker
        try:
            delivery = JobDelivery(message, self._ledger.js)
        except msgspec.MsgspecError:
            # Nobody could ever do anything with it, and its row is no row of a job.
            self._note(f"Dropped a message that is no row: {message.subject}")
            await message.term()
            return
        target = await self._target_of(delivery.job)
        await delivery.look_back()
        if target != self._target or self._ended.is_set():
            await delivery.return_unasked()
        if target != self._target:
            self.consumer.stop(
                f"the payments of the job {delivery.job} go to {target}, and this worker's to "
                f"{self._target}"
            )
        elif not self._ended.is_set():
            await self.consumer.take(delivery)

    async def _target_of(self, job: str) -> str:
        if job not in self._bound:
            assert self._ledger is not None  # noqa: S101 - for the type checker
            self._bound[job] = await self._ledger.bind(job, self._target)
        return self._bound[job]
