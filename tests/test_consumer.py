from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import virtual
from carevalidate_async import (
    AnswerLostError,
    APIConnectionError,
    AuthenticationError,
    InvalidRequestError,
    Outcome,
    RateLimitError,
)
from carevalidate_async._jobs.collect import Queue
from carevalidate_async._run.counts import Counts
from carevalidate_async.consumer import AFTER_AN_ERROR, Consumer
from carevalidate_async.events import Action, Decision, Event
from carevalidate_async.integrations.letters import (
    BEGAN,
    IN_DOUBT,
    REASON,
    age_of,
    dead_headers,
    in_doubt,
    result_body,
)
from carevalidate_async.integrations.prometheus import ConsumerMetrics, JobMetrics

AWAY = APIConnectionError("away", outcome=Outcome.NOT_SENT, retryable=True)
LOST = AnswerLostError("lost", outcome=Outcome.UNKNOWN, retryable=True)
REFUSED = AuthenticationError("no", outcome=Outcome.REJECTED, status=401)
UNREAD = InvalidRequestError("amount", "is missing")

# As a handler gives them; an error tells the gate what was met, and without one nothing was.
DECISIONS = {
    Action.ACK: Decision(action=Action.ACK, outcome=Outcome.RECORDED, reason="on record"),
    Action.RETRY: Decision(
        action=Action.RETRY, outcome=Outcome.UNKNOWN, reason="lost", delay=7.0, error=LOST
    ),
    Action.DEAD: Decision(
        action=Action.DEAD, outcome=Outcome.NOT_SENT, reason="unread", error=UNREAD
    ),
    Action.PARK: Decision(action=Action.PARK, outcome=Outcome.UNKNOWN, reason="lost", error=LOST),
    Action.STOP: Decision(
        action=Action.STOP, outcome=Outcome.REJECTED, reason="refused", error=REFUSED
    ),
}


class Message:
    """A delivery that notes what is done with it, and when."""

    def __init__(self, number: int = 1, *, attempt: int | None = 1, fails: str = "") -> None:
        self.event = Event(id=f"m-{number}", data=b"{}", attempt=attempt)
        self.done: list[Any] = []
        self.extended: list[float] = []
        self._fails = fails

    def _note(self, what: str, *facts: Any) -> None:
        if what == self._fails:
            raise OSError("the broker is away")
        self.done.append((what, *facts) if facts else what)

    async def extend(self) -> None:
        self.extended.append(virtual.now())

    async def publish(self, decision: Decision) -> None:
        self._note(f"publish {decision.action}")

    async def ack(self) -> None:
        self._note("ack")

    async def retry(self, delay: float) -> None:
        self._note("retry", delay)

    async def give_back(self) -> None:
        self._note("give back")


def deciding(decision: Decision) -> Any:
    async def handle(_: Event) -> Decision:
        return decision

    return handle


class TestOrder:
    @pytest.mark.parametrize(
        ("action", "done"),
        [
            (Action.ACK, ["publish ack", "ack"]),
            (Action.RETRY, ["publish retry", ("retry", 7.0)]),
            (Action.DEAD, ["publish dead", "ack"]),
            (Action.PARK, ["publish park", "ack"]),
            (Action.STOP, ["publish stop", "give back"]),
        ],
    )
    def test_published_first_and_acknowledged_last(self, action: Action, done: list[Any]) -> None:
        """
        What came of a payment is put away before its message is acknowledged or given back.
        """
        message = Message()
        found = virtual.run(Consumer(deciding(DECISIONS[action])).take(message))

        assert done == message.done
        assert DECISIONS[action] is found

    def test_what_is_not_published_is_not_acknowledged(self) -> None:
        """
        Where a result cannot be put away its message is left alone: it will come again.
        """
        message = Message(fails="publish ack")
        consumer = Consumer(deciding(DECISIONS[Action.ACK]))

        with pytest.raises(OSError, match="away"):
            virtual.run(consumer.take(message))
        assert [] == message.done
        assert (1, 0) == (consumer.consumption().failed, consumer.consumption().held)

    def test_a_handler_that_fails_holds_nothing_up(self) -> None:
        """
        A message that the program cannot deal with comes again after a while, and the error is
        raised.
        """

        async def broken(_: Event) -> Decision:
            raise ZeroDivisionError

        message = Message()
        with pytest.raises(ZeroDivisionError):
            virtual.run(Consumer(broken).take(message))
        assert [("retry", AFTER_AN_ERROR)] == message.done

    def test_cancelled_it_leaves_the_message_alone(self) -> None:
        """
        A task that is cancelled in the midst has decided nothing.
        """

        async def slow(_: Event) -> Decision:
            await asyncio.sleep(60)
            raise AssertionError

        async def main() -> Message:
            message = Message()
            task = asyncio.create_task(Consumer(slow).take(message))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return message

        assert [] == virtual.run(main()).done


class TestStop:
    def test_a_refused_key_gives_all_back(self, caplog: pytest.LogCaptureFixture) -> None:
        """
        Once the credential is refused no payment is asked for; whatever is delivered is given back,
        and whoever is to know hears of it once.
        """
        told: list[str] = []
        asked: list[Event] = []

        async def handle(event: Event) -> Decision:
            asked.append(event)
            return DECISIONS[Action.STOP]

        async def main() -> list[Message]:
            consumer = Consumer(handle, on_stop=told.append)
            messages = [Message(number) for number in range(3)]
            for message in messages:
                await consumer.take(message)
            assert consumer.stopped_by == told[0]
            return messages

        with caplog.at_level(logging.ERROR, "carevalidate_async"):
            messages = virtual.run(main())
        assert ["publish stop", "give back"] * 3 == [w for m in messages for w in m.done]
        assert 1 == len(asked)
        assert ["the vendor refuses the API key (401 AuthenticationError)"] == told
        assert 1 == len(caplog.records)

    def test_those_that_wait_are_given_back(self) -> None:
        """
        Messages that wait for their turn when the consumer stops are given back, too.
        """

        async def handle(_: Event) -> Decision:
            await asyncio.sleep(1)
            return DECISIONS[Action.STOP]

        async def main() -> list[Message]:
            consumer = Consumer(handle, concurrency=1)
            messages = [Message(number) for number in range(4)]
            await asyncio.gather(*map(consumer.take, messages))
            return messages

        messages = virtual.run(main())
        assert [["publish stop", "give back"]] * 4 == [message.done for message in messages]


class TestHolding:
    def test_messages_that_are_held_are_extended(self) -> None:
        """
        As long as a message is worked on, the broker is told so; then no more.
        """

        async def slow(_: Event) -> Decision:
            await asyncio.sleep(35)
            return DECISIONS[Action.ACK]

        async def main() -> Message:
            message = Message()
            await Consumer(slow, extend_every=10).take(message)
            await asyncio.sleep(60)
            return message

        assert [10, 20, 30] == virtual.run(main()).extended

    def test_those_that_wait_are_extended(self) -> None:
        """
        A message that waits for its turn is extended like one that is worked on.
        """

        async def slow(_: Event) -> Decision:
            await asyncio.sleep(25)
            return DECISIONS[Action.ACK]

        async def main() -> list[Message]:
            messages = [Message(number) for number in range(2)]
            consumer = Consumer(slow, concurrency=1, extend_every=10)
            await asyncio.gather(*map(consumer.take, messages))
            return messages

        assert [2, 4] == [len(message.extended) for message in virtual.run(main())]

    def test_patience_ends(self) -> None:
        """
        Where the broker cannot be told, a message that waits too long comes again unasked for.
        """
        asked: list[str] = []

        async def slow(event: Event) -> Decision:
            asked.append(event.id)
            await asyncio.sleep(100)
            return DECISIONS[Action.ACK]

        async def main() -> list[Message]:
            messages = [Message(number) for number in range(2)]
            consumer = Consumer(slow, concurrency=1, patience=20)
            await asyncio.gather(*map(consumer.take, messages))
            return messages

        messages = virtual.run(main())
        assert ["m-0"] == asked
        assert "publish retry" == messages[1].done[0]


class TestPace:
    def test_rate(self) -> None:
        """
        No more payments begin per second than were allowed, whoever delivers how many.
        """
        began: list[float] = []

        async def handle(_: Event) -> Decision:
            began.append(virtual.now())
            return DECISIONS[Action.ACK]

        async def main() -> None:
            consumer = Consumer(handle, rate=10, adaptive=False)
            await asyncio.gather(*(consumer.take(Message(number)) for number in range(31)))

        virtual.run(main())
        assert began[-1] - began[0] >= 2.99

    def test_turns_are_waited_for(self) -> None:
        """
        A limit that is shared with others is asked before each payment.
        """

        class Turns:
            def __init__(self) -> None:
                self.taken = 0

            async def acquire(self) -> None:
                self.taken += 1
                await asyncio.sleep(3)

        turns = Turns()
        consumer = Consumer(deciding(DECISIONS[Action.ACK]), turns=turns)

        async def main() -> float:
            await consumer.take(Message())
            return virtual.now()

        assert 3 <= virtual.run(main())
        assert 1 == turns.taken

    def test_a_vendor_that_is_down_is_left_in_peace(self) -> None:
        """
        While the vendor cannot be reached one payment at a time is tried, ever more seldom, however
        long; once it is back, all others follow.
        """
        asked: list[float] = []

        async def handle(_: Event) -> Decision:
            asked.append(virtual.now())
            if virtual.now() < 600:
                return Decision(
                    action=Action.RETRY, outcome=Outcome.NOT_SENT, delay=1.0, error=AWAY
                )
            return DECISIONS[Action.ACK]

        async def keep(consumer: Consumer, number: int) -> None:
            """Deliver a message until it is acknowledged."""
            while True:
                message = Message(number)
                await consumer.take(message)
                if "ack" in message.done:
                    return
                await asyncio.sleep(1)

        async def main() -> str | None:
            consumer = Consumer(handle, concurrency=64)
            tasks = [asyncio.create_task(keep(consumer, number)) for number in range(100)]
            await asyncio.sleep(300)
            waiting = consumer.consumption().waiting
            await asyncio.gather(*tasks)
            return waiting

        waiting = virtual.run(main())
        during = [moment for moment in asked if 60 < moment < 600]
        assert "the vendor cannot be reached" in str(waiting)
        assert "until it is back" in str(waiting)
        assert 10 < len(during) < 60
        assert max(asked) < 700

    def test_a_refusal_slows_all_down(self) -> None:
        """
        A vendor that asks to wait is not asked by anybody meanwhile.
        """
        busy = RateLimitError(
            "busy", outcome=Outcome.REJECTED, status=429, retryable=True, retry_after=20.0
        )
        asked: list[float] = []

        async def handle(_: Event) -> Decision:
            asked.append(virtual.now())
            if len(asked) == 1:
                return Decision(
                    action=Action.RETRY, outcome=Outcome.REJECTED, delay=1.0, error=busy
                )
            return DECISIONS[Action.ACK]

        async def main() -> None:
            consumer = Consumer(handle)
            await consumer.take(Message(1))
            await asyncio.gather(*(consumer.take(Message(number)) for number in range(2, 6)))

        virtual.run(main())
        assert all(moment >= 20 for moment in asked[1:])

    @pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"rate": 0}])
    def test_bounds(self, wrong: dict[str, Any]) -> None:
        """
        A consumer that could never ask for anything is refused.
        """
        with pytest.raises(ValueError, match="concurrency must be at least 1, and rate above 0"):
            Consumer(deciding(DECISIONS[Action.ACK]), **wrong)


class TestConsumption:
    def test_is_counted(self) -> None:
        """
        What was decided, delivered again and is held is counted.
        """

        async def main() -> Any:
            seen: list[Any] = []

            async def handle(event: Event) -> Decision:
                seen.append(consumer.consumption().held)
                return DECISIONS[Action.DEAD if event.attempt == 2 else Action.ACK]

            consumer = Consumer(handle)
            for attempt in (1, 2, None):
                await consumer.take(Message(attempt=attempt))
            return seen, consumer.consumption()

        seen, found = virtual.run(main())
        assert [1, 1, 1] == seen
        assert (2, 1, 0) == tuple(found.decided[a] for a in (Action.ACK, Action.DEAD, Action.STOP))
        assert (0, 1, 0) == (found.held, found.redelivered, found.failed)
        assert (None, None) == (found.waiting, found.stopped_by)


class TestMetrics:
    def test_consumer(self) -> None:
        """
        What a consumer has done is there to be scraped, each kind under its own name.
        """
        consumer = Consumer(deciding(DECISIONS[Action.DEAD]))
        virtual.run(consumer.take(Message(attempt=2)))
        registry = CollectorRegistry()
        registry.register(ConsumerMetrics(consumer))
        value = registry.get_sample_value

        assert 1 == value("carevalidate_deliveries_total", {"action": "dead"})
        assert 0 == value("carevalidate_deliveries_total", {"action": "ack"})
        assert 1 == value("carevalidate_redeliveries_total")
        assert 0 == value("carevalidate_failures_total")
        assert (0, 0, 0, 0) == tuple(
            value(f"carevalidate_{name}")
            for name in ("held", "oldest_held_seconds", "waiting", "stopped")
        )
        consumer.stop("enough")
        assert 1 == value("carevalidate_stopped")

    def test_job(self) -> None:
        """
        Where a job's rows are, and how the queue is, is there to be scraped.
        """
        counts = Counts(rows=9, confirmed=4, unknown=2, attempts=7)
        queue = Queue(waiting=3, in_flight=2, redelivered=1, oldest_unknown=12.5)
        registry = CollectorRegistry()
        registry.register(JobMetrics(lambda: counts, lambda: queue))
        value = registry.get_sample_value

        assert (4, 2, 0) == tuple(
            value("carevalidate_job_rows", {"as": name})
            for name in ("confirmed", "unknown", "rejected")
        )
        assert (3, 2, 1, 12.5, 7) == tuple(
            value(f"carevalidate_{name}")
            for name in (
                *("queue_lag", "queue_in_flight", "queue_redelivered"),
                *("job_oldest_unknown_seconds", "job_requests"),
            )
        )


class TestLetters:
    def test_dead_letter_keeps_what_it_came_with(self) -> None:
        """
        A dead letter has its message's headers, and ours on top, on one line of ASCII.
        """
        event = Event(id="m", data=b"", attempt=3, age=60.0)
        decision = Decision(
            action=Action.DEAD, outcome=Outcome.REJECTED, reason="no\nsuch cäse", key="k"
        )
        found = dead_headers(
            event, decision, source="q", original={"trace": "t", REASON: "an older one"}
        )

        assert "t" == found["trace"]
        assert "no such c?se" == found[REASON]
        assert ("dead", "rejected", "k", "3", "q") == tuple(
            found[f"Carevalidate-{name}"]
            for name in ("Action", "Outcome", "Idempotency-Key", "Attempt", "Source")
        )
        assert 59 < (age_of(found, None) or 0) < 70

    @pytest.mark.parametrize(
        ("headers", "doubt"), [({}, None), (None, None), ({IN_DOUBT: "1"}, True)]
    )
    def test_what_is_sent_once_more_is_in_doubt(self, headers: Any, doubt: bool | None) -> None:
        """
        A header says that the payment may be on record already.
        """
        assert doubt is in_doubt(headers)

    def test_age_of_what_nobody_dated(self) -> None:
        """
        An age that nobody knows, or that is no number, is no age.
        """
        assert age_of(None, None) is None
        assert age_of({BEGAN: "yesterday"}, None) is None
        assert 0.0 == age_of({BEGAN: "99999999999"}, None)

    def test_result_names_nobody(self) -> None:
        """
        A result has the message's id, the key and the outcome, and nothing of the payment.
        """
        event = Event(id="m", data=b'{"email": "patient@example.com"}', attempt=2)
        body = result_body(event, DECISIONS[Action.ACK])

        assert b"patient" not in body
        assert b'"already_recorded":true' in body
        assert b'"deliveries":2' in body
