from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
)
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Partition
from faststream import BaseMiddleware, FastStream
from faststream.kafka import KafkaBroker

from brokers import processes
from carevalidate_async import Outcome, consumer
from carevalidate_async.events import Action, Decision, Event
from carevalidate_async.integrations.faststream import _partitions, kafka
from carevalidate_async.integrations.faststream._partitions import Partitions
from carevalidate_async.integrations.faststream._record import RecordDelivery
from carevalidate_async.integrations.faststream.kafka import KafkaPayments
from carevalidate_async.integrations.mismatch import MismatchError
from carevalidate_async.sandbox import Sandbox
from event_support import Fleet, Letter, assert_each_once, bodies, new_name, settled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

KEY = b"one partition for all"


class KafkaQueue:
    """
    A stand-in of Kafka with one broker, and what the tests do with its topics, and see of them.

    It lets a new group wait for three seconds, and serves one consumer of it at a time.
    """

    def __init__(self) -> None:
        self.name = new_name()
        self.dead, self.done = f"{self.name}.dead", f"{self.name}.done"
        self._producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self._producer.list_topics(timeout=5).brokers.values()
        self.url = f"{broker.host}:{broker.port}"
        for topic in (self.name, self.dead, self.done):
            self._producer.list_topics(topic, timeout=5)  # makes it

    @contextlib.contextmanager
    def reader(self) -> Iterator[Consumer]:
        settings = {"bootstrap.servers": self.url, "auto.offset.reset": "earliest"}
        reader = Consumer({**settings, "group.id": "carevalidate", "enable.auto.commit": False})
        try:
            yield reader
        finally:
            reader.close()

    def send(self, data: bytes | None, headers: Any = None, key: bytes | None = KEY) -> None:
        self._producer.produce(self.name, value=data, key=key, headers=headers)
        self._producer.flush(5)

    async def publish(self, bodies: Iterable[bytes]) -> None:
        for data in bodies:
            self._producer.produce(self.name, value=data, key=KEY)
        await asyncio.to_thread(self._producer.flush, 5)

    def ends(self, topic: str) -> dict[int, int]:
        """Return how many records each partition of a topic has had."""
        with self.reader() as reader:
            numbers = reader.list_topics(topic, timeout=5).topics[topic].partitions
            return {
                number: reader.get_watermark_offsets(Partition(topic, number), timeout=5)[1]
                for number in numbers
            }

    def committed(self) -> int:
        """Return how many records are committed."""
        with self.reader() as reader:
            partitions = [Partition(self.name, number) for number in self.ends(self.name)]
            return sum(max(0, found.offset) for found in reader.committed(partitions, timeout=5))

    async def left(self) -> int:
        return sum(self.ends(self.name).values()) - self.committed()

    def records(self, topic: str) -> list[Any]:
        ends = self.ends(topic)
        with self.reader() as reader:
            reader.assign([Partition(topic, number, 0) for number in ends])
            return [reader.poll(5) for _ in range(sum(ends.values()))]

    async def published(self, which: str) -> list[Letter]:
        return [
            Letter(r.value(), {n: v.decode(errors="replace") for n, v in r.headers() or ()})
            for r in self.records(f"{self.name}.{which}")
        ]


async def keep(_: Event) -> Decision:
    return Decision(action=Action.ACK, outcome=Outcome.RECORDED)


def retry(delay: float, outcome: Outcome = Outcome.REJECTED) -> Decision:
    return Decision(action=Action.RETRY, outcome=outcome, delay=delay)


class Desk:
    """An application that runs as long as the tests of a class, and what handles its events now."""

    def __init__(self, queue: KafkaQueue) -> None:
        self.queue = queue
        self.seen: list[tuple[Event, float]] = []
        self.handler: Callable[[Event], Awaitable[Decision]] = keep
        self.broken = 0  # batches that never get to the handler
        broker = broker_of(queue)
        broker.add_middleware(self._middleware)
        self.payments = KafkaPayments(
            broker,
            self._handle,
            topic=queue.name,
            dead=queue.dead,
            results=queue.done,
            concurrency=8,
            batch_timeout_ms=20,
        )
        self.app = FastStream(broker, logger=None, on_startup=[self.payments.provision])

    async def _handle(self, event: Event) -> Decision:
        self.seen.append((event, time.monotonic()))
        return await self.handler(event)

    def _middleware(self, message: Any, /, *, context: Any) -> BaseMiddleware:
        desk = self

        class Breaks(BaseMiddleware):
            async def on_receive(self) -> None:
                if desk.broken:
                    desk.broken -= 1
                    raise RuntimeError("a mistake of somebody's")

        return Breaks(message, context=context)

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.seen]

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in itertools.pairwise(moment for _, moment in self.seen)]

    async def settled(self) -> None:
        async with asyncio.timeout(10):
            while await self.queue.left():  # noqa: ASYNC110 - another client's
                await asyncio.sleep(0.05)


def broker_of(queue: KafkaQueue, **settings: Any) -> KafkaBroker:
    chosen = {"enable_idempotence": True, "graceful_timeout": 5, **settings}
    return KafkaBroker(queue.url, logger=None, **chosen)


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def one_desk() -> AsyncIterator[Desk]:
    desk = Desk(KafkaQueue())
    await desk.app.start()
    yield desk
    await desk.app.stop()


@pytest.mark.asyncio(loop_scope="class")
class TestRecords:
    @pytest.fixture
    def desk(self, one_desk: Desk) -> Desk:
        one_desk.seen.clear()
        one_desk.handler = keep
        return one_desk

    async def test_it_is_asked_for_again_in_its_place(self, desk: Desk) -> None:
        """
        A record that is to come again is asked for again after its delay; nothing of its batch is
        committed before it is settled.
        """
        before = desk.queue.committed()
        outcomes = iter((Outcome.REJECTED, Outcome.UNKNOWN))
        delays = iter((0.3, 0.6))
        committed: list[int] = []

        async def handler(event: Event) -> Decision:
            if event.data == b"good":
                return await keep(event)
            if event.attempt == 3:
                committed.append(desk.queue.committed())
                return await keep(event)
            return retry(next(delays), next(outcomes))

        desk.handler = handler
        await desk.queue.publish([b"good", b"bad"])
        await until(lambda: len(desk.seen) == 4, 10)
        await desk.settled()

        events = [event for event in desk.events if event.data == b"bad"]
        assert [1, 2, 3] == [event.attempt for event in events]
        assert [False, True] == [event.may_have_landed for event in events[1:]]
        assert 0.3 <= desk.gaps[1] < 1.5
        assert 0.6 <= desk.gaps[2] < 1.8
        assert [before] == committed
        assert before + 2 == desk.queue.committed()

    async def test_it_gives_way(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A record that is to wait while others wait behind it is published again, behind them, as it
        was; it is asked for when its delay is over, and knows of its deliveries.
        """
        monkeypatch.setattr(kafka, "GIVE_WAY", 0.2)

        async def handler(event: Event) -> Decision:
            if event.data == b"late" and event.attempt == 1:
                await desk.queue.publish([b"next"])
                return retry(1.2)
            return await keep(event)

        desk.handler = handler
        began = time.time()
        desk.queue.send(b"late", headers=[("mine", b"\xff"), ("mine", b"2")])
        await until(lambda: len(desk.seen) == 3, 10)
        await desk.settled()

        assert [b"late", b"next", b"late"] == [event.data for event in desk.events]
        assert desk.gaps[0] < 1.1
        assert 1.2 <= sum(desk.gaps) < 2.3
        last = desk.events[-1]
        assert (2, False) == (last.attempt, last.may_have_landed)
        assert sum(desk.gaps) <= (last.age or 0) < time.time() - began
        record = desk.queue.records(desk.queue.name)[-1]
        assert (b"late", KEY) == (record.value(), record.key())
        assert [("mine", b"\xff"), ("mine", b"2")] == record.headers()[:2]
        assert {"Carevalidate-Earlier": b"1"}.items() <= dict(record.headers()).items()

    async def test_it_is_not_held_for_ever(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A batch is held as long as Kafka allows; where its records cannot be published again, they
        are delivered again, in doubt, and none is passed over.
        """
        monkeypatch.setattr(desk.payments, "_hold", 0.3)
        failing = iter((True,))
        put_behind = RecordDelivery.put_behind

        async def fail_once(delivery: RecordDelivery) -> None:
            if next(failing, False):
                raise RuntimeError("Kafka does not take it")
            await put_behind(delivery)

        monkeypatch.setattr(RecordDelivery, "put_behind", fail_once)

        async def handler(event: Event) -> Decision:
            if event.data == b"good" or len(desk.seen) > 5:
                return await keep(event)
            return retry(0.5)

        desk.handler = handler
        await desk.queue.publish([b"good", b"bad", b"good"])
        await until(lambda: len(desk.seen) == 6, 10)
        await desk.settled()

        # First all three, then what was not settled and what followed it, then the one put behind.
        seen = [(event.data, event.attempt) for event in desk.events]
        assert [(b"bad", 1), (b"good", 1), (b"good", 1)] == sorted(seen[:3])
        assert [(b"bad", 1), (b"good", 1)] == sorted(seen[3:5])
        assert [(b"bad", 2)] == seen[5:]
        assert all(event.may_have_landed for event in desk.events[3:5])

    async def test_it_waits_no_longer_than_the_consumer_is_there(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Nothing is waited for when the application ends, or the partitions go to others.
        """
        payments = desk.payments
        (subscriber,) = payments._subscribers

        async def waited() -> tuple[bool, bool]:
            began = time.monotonic()
            there = await payments._waited(time.time() + 0.5, time.time() + 9)
            return there, time.monotonic() - began >= 0.5

        assert (True, True) == await waited()
        monkeypatch.setattr(payments._partitions, "leaving", True)
        assert (False, False) == await waited()
        monkeypatch.setattr(payments._partitions, "leaving", False)
        monkeypatch.setattr(subscriber, "running", False)
        assert (False, False) == await waited()
        monkeypatch.undo()
        assert subscriber.running

    async def test_whatever_comes(self, desk: Desk) -> None:
        """
        A record that FastStream cannot parse, or that is empty, becomes a dead letter as it came.
        """

        async def handler(event: Event) -> Decision:
            action = Action.PARK if event.data else Action.DEAD
            outcome = Outcome.UNKNOWN if event.data else Outcome.NOT_SENT
            return Decision(action=action, outcome=outcome, reason="a reason")

        desk.handler = handler
        before = len(desk.queue.records(desk.queue.dead))
        desk.queue.send(b"\xff{", headers=[("mine", b"\xff"), ("none", None)])
        await until(lambda: len(desk.seen) == 1, 10)
        theirs = [("none", None), ("Carevalidate-Due", b"soon"), ("Carevalidate-Earlier", b"-3")]
        desk.queue.send(b"[", headers=theirs)
        await until(lambda: len(desk.seen) == 2, 10)
        desk.queue.send(None, key=None)
        await until(lambda: len(desk.seen) == 3, 10)
        await desk.settled()

        letters = {r.value(): r for r in desk.queue.records(desk.queue.dead)[before:]}
        assert {b"\xff{", b"[", b""} == letters.keys()
        theirs = letters[b"\xff{"].headers()[:2]
        ours = dict(letters[b"\xff{"].headers()[2:])
        assert [("mine", b"\xff"), ("none", None)] == theirs
        assert (b"park", b"a reason", b"1") == tuple(
            ours[f"Carevalidate-{name}"] for name in ("Action", "Reason", "In-Doubt")
        )
        assert "Carevalidate-In-Doubt" not in dict(letters[b""].headers())
        assert KEY == letters[b"\xff{"].key()

    async def test_a_handler_that_raises(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A record whose handler raises is asked for again, in doubt; so is one whose dead letter is
        not taken. The others of the batch, and the next one, are settled.
        """
        monkeypatch.setattr(consumer, "AFTER_AN_ERROR", 0.2)
        monkeypatch.setattr(kafka, "AFTER_A_FAILURE", 0.2)
        send = RecordDelivery._send
        failing = iter((True,))

        async def fail_once(
            delivery: RecordDelivery, topic: str, *others: Any, **settings: Any
        ) -> None:
            if topic == desk.queue.dead and next(failing, False):
                raise RuntimeError("Kafka does not take it")
            await send(delivery, topic, *others, **settings)

        monkeypatch.setattr(RecordDelivery, "_send", fail_once)

        async def handler(event: Event) -> Decision:
            if event.data == b"raises" and event.attempt == 1:
                raise RuntimeError("a mistake of the program")
            if event.data == b"dead":
                return Decision(action=Action.DEAD, outcome=Outcome.REJECTED)
            return await keep(event)

        desk.handler = handler
        before = len(desk.queue.records(desk.queue.dead))
        await desk.queue.publish([b"raises", b"good", b"dead"])
        await until(lambda: len(desk.seen) == 5, 10)
        await desk.settled()

        again = {event.data: event for event in desk.events if event.attempt == 2}
        assert {b"raises", b"dead"} == again.keys()
        assert again[b"raises"].may_have_landed
        assert not again[b"dead"].may_have_landed
        letters = [r.value() for r in desk.queue.records(desk.queue.dead)[before:]]
        assert [b"dead"] == letters

    async def test_a_batch_that_never_gets_there(self, desk: Desk) -> None:
        """
        A batch that a middleware of the application fails on is delivered again, not passed over.
        """
        desk.broken = 2
        await desk.queue.publish([b"1"])
        await until(lambda: desk.broken == 0, 10)
        await desk.queue.publish([b"2"])
        await until(lambda: len(desk.seen) >= 2, 10)
        await desk.settled()

        assert {b"1", b"2"} == {event.data for event in desk.events}


def record(offset: int, *, partition: int = 0) -> Any:
    return SimpleNamespace(topic="t", partition=partition, offset=offset)


class Assigned:
    """A consumer that has two partitions."""

    def __init__(self) -> None:
        self.commits: list[dict[Any, int]] = []
        self.seeks: dict[Any, int] = {}
        self.has = {TopicPartition("t", 0), TopicPartition("t", 1)}
        self.end = 10
        self.error: Exception | None = None

    def assignment(self) -> set[Any]:
        return self.has

    def highwater(self, _: Any) -> int:
        return self.end

    def seek(self, partition: Any, offset: int) -> None:
        if partition not in self.has:
            raise IllegalStateError
        self.seeks[partition] = offset

    async def commit(self, ends: dict[Any, int]) -> None:
        if self.error is not None:
            raise self.error
        self.commits.append(ends)


class TestPartitions:
    async def test_what_is_committed(self) -> None:
        """
        Of each partition, what is settled without a gap is committed, and the rest comes again; so
        it is when the credential is refused in the midst of a batch.
        """
        assigned = Assigned()
        batch = [
            (record(3), True),
            (record(4), False),
            (record(5), True),
            (record(7, partition=1), True),
            (record(9, partition=1), True),
        ]

        await Partitions().keep(assigned, batch)

        first, second = TopicPartition("t", 0), TopicPartition("t", 1)
        assert [{first: 4, second: 10}] == assigned.commits
        assert {first: 4} == assigned.seeks

    async def test_nothing_is_settled(self) -> None:
        """
        Where nothing is settled, nothing is committed.
        """
        assigned = Assigned()

        await Partitions().keep(assigned, [(record(3), False), (record(4), True)])

        assert [] == assigned.commits
        assert {TopicPartition("t", 0): 3} == assigned.seeks

    async def test_partitions_that_are_others(self) -> None:
        """
        A batch whose partitions were given to others is theirs to take again.
        """
        assigned = Assigned()
        assigned.has = set()
        assigned.error = CommitFailedError()
        partitions = Partitions()

        await partitions.keep(assigned, [(record(3), True), (record(4), False)])

        assert {} == assigned.seeks
        assert partitions.may_be_known(assigned, record(20))

    async def test_a_batch_that_outlasts_its_partitions(self) -> None:
        """
        Where a partition comes back while a batch of before is in hand, others may have had what
        follows the batch.
        """
        assigned = Assigned()
        partitions = Partitions()

        assert not partitions.may_be_known(assigned, record(10))
        await partitions.on_partitions_assigned(None)
        await partitions.keep(assigned, [(record(10), True)])
        assigned.end = 30

        assert partitions.may_be_known(assigned, record(20))

    async def test_what_others_may_have_had(self) -> None:
        """
        Only a record that was published since a consumer got its partition is nobody else's; what
        is delivered again is known, and all is after others may have had it.
        """
        assigned = Assigned()
        partitions = Partitions()

        known = [partitions.may_be_known(assigned, record(offset)) for offset in (9, 10)]
        assert [True, False] == known
        await partitions.keep(assigned, [(record(10), False), (record(11), True)])
        known = [partitions.may_be_known(assigned, record(offset)) for offset in (11, 12)]
        assert [True, False] == known
        assigned.end = 30
        await partitions.on_partitions_assigned(None)
        assert partitions.may_be_known(assigned, record(29))

    async def test_others_that_wait(self) -> None:
        """
        Others wait where a partition of the batch has more records than the batch took.
        """
        assigned = Assigned()
        partitions = Partitions()

        async with partitions.batch([record(8), record(9)]):
            assert not partitions.others_wait(assigned)
            assigned.end = 11
            assert partitions.others_wait(assigned)

    async def test_a_batch_in_hand_ends_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Partitions are given to others once the batch in hand has ended, which is told to end, or
        after a while.
        """
        partitions = Partitions()
        async with partitions.batch([record(1)]):
            leaving = asyncio.create_task(partitions.on_partitions_revoked(None))
            await asyncio.sleep(0.05)
            told, waited = partitions.leaving, not leaving.done()
        await leaving
        await partitions.on_partitions_assigned(None)

        assert (True, True, False) == (told, waited, partitions.leaving)

        monkeypatch.setattr(_partitions, "REVOKE_SECONDS", 0.01)
        async with partitions.batch([record(1)]):
            await partitions.on_partitions_revoked(None)


class TestProvision:
    async def test_topics_that_are_not_there(self) -> None:
        """
        A topic that is not there is named, and none is made.
        """
        queue = KafkaQueue()
        broker = broker_of(queue)
        payments = KafkaPayments(broker, keep, topic=queue.name, dead="nowhere")
        with pytest.raises(
            MismatchError, match="topic nowhere is not as it must be: it is not there"
        ):
            await payments.provision()
        with pytest.raises(MismatchError):
            await payments.provision()
        await broker.stop()

    async def test_an_application_that_starts_twice(self) -> None:
        """
        One that was stopped and is started again has one subscriber still.
        """
        queue = KafkaQueue()
        broker = broker_of(queue)
        payments = KafkaPayments(broker, keep, topic=queue.name, dead=queue.dead)
        await payments.provision()
        await payments.provision()
        assert 1 == len(broker.subscribers)
        await broker.stop()

    async def test_a_broker_that_does_not_wait(self) -> None:
        """
        A broker that would not wait for all replicas is refused.
        """
        queue = KafkaQueue()
        broker = broker_of(queue, enable_idempotence=False)
        payments = KafkaPayments(broker, keep, topic=queue.name, dead=queue.dead)
        with pytest.raises(MismatchError, match="enable_idempotence is False"):
            await payments.provision()
        await broker.stop()


@pytest.mark.deep
@pytest.mark.timeout(150)
class TestProcesses:
    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")

    async def test_each_payment_is_on_record_once_whoever_dies(self) -> None:
        """
        While faults meet a tenth of the requests, and the consumer is killed and started again,
        each payment of 200 events is put on record exactly once, poison is in the dead letters, and
        all is committed.
        """
        queue = KafkaQueue()
        await queue.publish(bodies(200))
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            with processes() as started:
                fleet = Fleet(started, "kafka", queue.url, sandbox.url, queue.name)
                first = fleet.start()
                await until(lambda: sandbox.received > 60)
                second = fleet.restart(first)
                await settled(queue, sandbox)
                statuses = await fleet.end(second)

            await assert_each_once(queue, sandbox, events=200)
        assert [0] == statuses

    async def test_a_credential_that_is_refused(self) -> None:
        """
        A consumer whose key is refused ends by itself, and says so; nothing is committed, or in the
        dead letters.
        """
        queue = KafkaQueue()
        await queue.publish(bodies(300)[1:])
        async with Sandbox(api_key="another") as sandbox:
            with processes() as started:
                process = Fleet(started, "kafka", queue.url, sandbox.url, queue.name).start()
                assert 1 == await asyncio.to_thread(process.wait)
            assert 0 < sandbox.received <= 32

        assert 0 == queue.committed()
        assert {0} == set(queue.ends(queue.dead).values())
        assert {0} == set(queue.ends(queue.done).values())
        assert 299 == await queue.left()
