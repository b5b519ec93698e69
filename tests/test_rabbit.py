from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import aio_pika
import pytest
from faststream import FastStream
from faststream.rabbit import RabbitBroker

from brokers import listens, processes
from carevalidate_async import Outcome, consumer
from carevalidate_async.events import Action, Decision, Event
from carevalidate_async.integrations import jetstream
from carevalidate_async.integrations.faststream import rabbit
from carevalidate_async.integrations.faststream.rabbit import RabbitPayments
from carevalidate_async.integrations.mismatch import MismatchError
from carevalidate_async.sandbox import Sandbox
from consumer_process import DELAYS
from event_support import (
    SURE_DOUBTS,
    Fleet,
    Letter,
    Relay,
    assert_each_once,
    bodies,
    new_name,
    take_all_with_a_kill,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

URL = "amqp://guest:guest@127.0.0.1:5672/"

pytestmark = pytest.mark.skipif(not listens(5672), reason="no RabbitMQ at 127.0.0.1:5672")


class RabbitQueue:
    """What the tests do with the queues, and see of them."""

    def __init__(self) -> None:
        self.name = new_name()
        self.waiting = [self.name, *(f"{self.name}.retry.{delay:g}s" for delay in DELAYS)]

    async def __aenter__(self) -> Self:
        self.connection = await aio_pika.connect(URL)
        self.channel = await self.connection.channel(on_return_raises=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        async with await self.connection.channel() as channel:
            for name in (*self.waiting, f"{self.name}.dead", f"{self.name}.done"):
                await channel.queue_delete(name)
        await self.connection.close()

    async def provide(self) -> None:
        """Make the queues, as an application that starts does."""
        async with running(self, keep):
            pass

    async def publish(self, bodies: Iterable[bytes], **settings: Any) -> None:
        exchange = self.channel.default_exchange
        messages = [aio_pika.Message(data, delivery_mode=2, **settings) for data in bodies]
        await asyncio.gather(*(exchange.publish(each, self.name) for each in messages))

    async def ready(self, name: str) -> int:
        async with await self.connection.channel() as channel:
            declared = await channel.declare_queue(name, passive=True)
            return declared.declaration_result.message_count or 0

    async def left(self) -> int:
        return sum([await self.ready(name) for name in self.waiting])

    async def messages(self, name: str) -> list[Any]:
        """Return all messages of a queue, which stay."""
        async with await self.connection.channel() as channel:
            queue = await channel.declare_queue(name, passive=True)
            got = []
            while (message := await queue.get(fail=False)) is not None:
                got.append(message)
            return got

    async def published(self, which: str) -> list[Letter]:
        messages = await self.messages(f"{self.name}.{which}")
        return [Letter(message.body, dict(message.headers)) for message in messages]


@pytest.fixture
async def queue() -> AsyncIterator[RabbitQueue]:
    async with RabbitQueue() as there:
        yield there


async def keep(_: Event) -> Decision:
    return Decision(action=Action.ACK, outcome=Outcome.RECORDED)


@contextlib.asynccontextmanager
async def running(
    queue: RabbitQueue,
    handler: Callable[[Event], Awaitable[Decision]],
    *,
    url: str = URL,
    **settings: Any,
) -> AsyncIterator[RabbitPayments]:
    """Run an application in this process."""
    broker = RabbitBroker(url, logger=None, graceful_timeout=5, reconnect_interval=0.1)
    chosen = {"results": f"{queue.name}.done", "delays": DELAYS, **settings}
    name = queue.name
    payments = RabbitPayments(broker, handler, queue=name, dead=f"{name}.dead", **chosen)
    app = FastStream(broker, logger=None, on_startup=[payments.provision])
    try:
        await app.start()
        yield payments
    finally:
        await app.stop()


class TestRetry:
    async def test_it_waits_and_counts_on(self, queue: RabbitQueue) -> None:
        """
        A message that is to come again comes after the next longer delay that there is, as it was
        published, and knows how often it was delivered and since when.
        """
        seen: list[tuple[Event, float]] = []

        async def handler(event: Event) -> Decision:
            seen.append((event, time.monotonic()))
            outcome = (Outcome.REJECTED, Outcome.UNKNOWN, Outcome.RECORDED)[len(seen) - 1]
            action = Action.ACK if outcome is Outcome.RECORDED else Action.RETRY
            return Decision(action=action, outcome=outcome, delay=0.3 * len(seen) - 0.2)

        async with running(queue, handler):
            await queue.publish(
                [b"\xff"], message_id="m-1", timestamp=time.time() - 50, user_id="guest"
            )
            await until(lambda: len(seen) == 3, 10)

        events, moments = zip(*seen, strict=True)
        gaps = [round(b - a, 3) for a, b in itertools.pairwise(moments)]
        assert 0.25 <= gaps[0] < 1.0  # 0.1 s were asked for
        assert 1.0 <= gaps[1] < 2.0  # 0.4 s were asked for
        assert [1, 2, 3] == [event.attempt for event in events]
        # A payment that surely was not on record is in no doubt for having come again.
        assert [False, False, True] == [event.may_have_landed for event in events]
        assert all(50 <= (event.age or 0) < 56 for event in events)
        assert {("m-1", b"\xff")} == {(event.id, event.data) for event in events}
        assert 0 == await queue.left()

    async def test_a_longer_delay_than_there_is(self, queue: RabbitQueue) -> None:
        """
        Where no delay is as long as what was asked for, the longest one is taken.
        """
        handled = asyncio.Event()

        async def handler(_: Event) -> Decision:
            handled.set()
            return Decision(action=Action.RETRY, outcome=Outcome.REJECTED, delay=3600)

        async with running(queue, handler):
            await queue.publish([b"{}"])
            await handled.wait()

        assert 1 == await queue.ready(queue.waiting[-1])

    async def test_an_age_that_nobody_published(self, queue: RabbitQueue) -> None:
        """
        A message that is to come again knows since when, though its publisher did not tell: since
        its first delivery, and not since that one's end.
        """
        ages: list[float | None] = []

        async def handler(event: Event) -> Decision:
            ages.append(event.age)
            await asyncio.sleep(0.4)
            action = Action.RETRY if len(ages) == 1 else Action.ACK
            return Decision(action=action, outcome=Outcome.REJECTED, delay=0.1)

        async with running(queue, handler):
            await queue.publish([b"{}"])
            await until(lambda: len(ages) == 2, 10)

        assert ages[0] is None
        assert ages[1] is not None
        assert 0.6 < ages[1] < 2

    async def test_a_process_that_dies_counts(self, queue: RabbitQueue) -> None:
        """
        A message whose consumer went away was delivered, and its payment may be on record.
        """
        seen: list[Event] = []

        async def handler(event: Event) -> Decision:
            seen.append(event)
            return await keep(event)

        await queue.provide()
        await queue.publish([b"{}"])
        assert 1 == len(await queue.messages(queue.name))  # taken, and given back by closing
        async with running(queue, handler):
            await until(lambda: bool(seen), 10)

        assert (2, True) == (seen[0].attempt, seen[0].may_have_landed)

    async def test_a_queue_that_does_not_count(self, queue: RabbitQueue) -> None:
        """
        A classic queue only tells whether a message was delivered before: that is doubt enough.
        """
        seen: list[Event] = []

        async def handler(event: Event) -> Decision:
            seen.append(event)
            return await keep(event)

        await queue.provide()
        await queue.channel.queue_delete(queue.name)
        await queue.channel.declare_queue(queue.name, durable=True)
        await queue.publish([b"{}"])
        await queue.messages(queue.name)
        async with running(queue, handler, own_queues=False):
            await until(lambda: bool(seen), 10)

        assert seen[0].may_have_landed


class TestLetters:
    async def test_no_json(self, queue: RabbitQueue) -> None:
        """
        What is no JSON, whatever it is said to be, becomes a dead letter as it came: its bytes and
        its publisher's headers, and none of an earlier try's.
        """
        tries = iter((Action.RETRY, Action.PARK))

        async def handler(_: Event) -> Decision:
            return Decision(action=next(tries), outcome=Outcome.UNKNOWN, reason="a reason")

        async with running(queue, handler):
            await queue.publish(
                [b"\xff{"],
                headers={"number": 7, "Carevalidate-Earlier": "nonsense"},
                content_type="application/json",
                priority=3,
            )
            await settled_letters(queue, 1)
            (letter,) = await queue.messages(f"{queue.name}.dead")

        headers = {n: v for n, v in letter.headers.items() if n != "x-delivery-count"}  # its own
        ours = {n: headers.pop(n) for n in tuple(headers) if n.startswith("Carevalidate-")}
        assert b"\xff{" == letter.body
        assert ("application/json", 3, 2) == (
            letter.content_type,
            letter.priority,
            letter.delivery_mode,
        )
        assert {"number": 7} == headers
        assert "Carevalidate-Earlier" not in ours
        assert ("park", "2", "1", "a reason", queue.name) == tuple(
            ours[f"Carevalidate-{name}"]
            for name in ("Action", "Attempt", "In-Doubt", "Reason", "Source")
        )

    @pytest.mark.parametrize("all_are_gone", [False, True])
    async def test_none_is_lost_where_it_cannot_go(
        self, queue: RabbitQueue, monkeypatch: pytest.MonkeyPatch, all_are_gone: bool
    ) -> None:
        """
        A message whose dead letter cannot be published comes again after a while, even where it
        cannot be published again either; it keeps no place meanwhile.
        """
        monkeypatch.setattr(rabbit, "AFTER_A_FAILURE", 0.1)
        seen: list[Event] = []

        async def handler(event: Event) -> Decision:
            seen.append(event)
            dead = event.data == b"bad"
            action = Action.DEAD if dead else Action.ACK
            return Decision(action=action, outcome=Outcome.REJECTED)

        async with running(queue, handler, concurrency=1 + all_are_gone):
            gone = [f"{queue.name}.dead", *(queue.waiting[1:] if all_are_gone else ())]
            for name in gone:
                await queue.channel.queue_delete(name)
            await queue.publish([b"bad", b"good"])
            await until(lambda: {b"bad", b"good"} == {event.data for event in seen}, 10)
            await until(lambda: len(seen) >= 4, 10)
            arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
            await queue.channel.declare_queue(
                f"{queue.name}.dead", durable=True, arguments=arguments
            )
            await settled_letters(queue, 1)

        assert [b"bad"] == [letter.data for letter in await queue.published("dead")]
        assert 0 == await queue.ready(queue.name)
        attempts = [event.attempt for event in seen if event.data == b"bad"]
        assert list(range(1, len(attempts) + 1)) == attempts


async def settled_letters(queue: RabbitQueue, number: int) -> None:
    async with asyncio.timeout(10):
        while await queue.ready(f"{queue.name}.dead") < number:  # noqa: ASYNC110 - RabbitMQ's
            await asyncio.sleep(0.05)


class TestFailures:
    async def test_a_handler_that_raises(
        self, queue: RabbitQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A message whose handler raises comes again after a while, in doubt, and keeps no place
        meanwhile: the next one is taken, by a consumer that holds one at a time.
        """
        monkeypatch.setattr(consumer, "AFTER_AN_ERROR", 0.2)
        seen: list[Event] = []

        async def handler(event: Event) -> Decision:
            seen.append(event)
            if len(seen) == 1:
                raise RuntimeError("a mistake of the program")
            return await keep(event)

        async with running(queue, handler, concurrency=1) as payments:
            await queue.publish([b"bad", b"good"])
            await until(lambda: len(seen) == 3, 10)
            failed = payments.consumer.consumption().failed

        assert [b"bad", b"good", b"bad"] == [event.data for event in seen]
        assert [1, 1, 2] == [event.attempt for event in seen]
        assert seen[2].may_have_landed
        assert 1 == failed
        assert 0 == await queue.left()

    async def test_it_holds_no_more_than_it_works_on(self, queue: RabbitQueue) -> None:
        """
        A consumer takes as many messages as it works on at once, and leaves the others to others.
        """
        more = asyncio.Event()

        async def handler(event: Event) -> Decision:
            await more.wait()
            return await keep(event)

        await queue.provide()
        await queue.publish(bodies(10))
        async with running(queue, handler, concurrency=4) as payments:
            await until(lambda: payments.consumer.consumption().held == 4, 10)
            await asyncio.sleep(0.2)
            assert 6 == await queue.ready(queue.name)
            more.set()
            await until(lambda: payments.consumer.consumption().decided[Action.ACK] == 10, 10)

        assert 0 == await queue.left()

    async def test_a_stop(self, queue: RabbitQueue) -> None:
        """
        Where nothing more can be asked for, nothing more is taken, and what was taken waits for
        another application, having been delivered once.
        """
        reasons: list[str] = []

        async def handler(_: Event) -> Decision:
            return Decision(action=Action.STOP, outcome=Outcome.REJECTED, reason="a reason")

        async with running(queue, handler, concurrency=2, on_stop=reasons.append) as payments:
            await queue.publish(bodies(5))
            await until(lambda: bool(reasons), 10)
            await asyncio.sleep(0.2)
            assert 3 == await queue.ready(queue.name)

        assert ["a reason"] == reasons
        assert "a reason" == payments.consumer.stopped_by
        counts = [m.headers.get("x-delivery-count", 0) for m in await queue.messages(queue.name)]
        assert [0, 0, 0, 1, 1] == sorted(counts)

    async def test_a_connection_that_is_lost(self, queue: RabbitQueue) -> None:
        """
        What was held when the connection was lost is delivered again, and in doubt; its handler was
        cancelled, so that nothing is done twice, and the consumer goes on.
        """
        seen: list[Event] = []
        cancelled: list[Event] = []
        more = asyncio.Event()

        async def handler(event: Event) -> Decision:
            seen.append(event)
            try:
                await more.wait()
            except asyncio.CancelledError:
                cancelled.append(event)
                raise
            return Decision(action=Action.DEAD, outcome=Outcome.REJECTED)

        await queue.provide()
        await queue.publish(bodies(3))
        async with Relay(5672) as relay:
            url = f"amqp://guest:guest@127.0.0.1:{relay.port}/"
            async with running(queue, handler, url=url, concurrency=3) as payments:
                await until(lambda: len(seen) == 3, 10)
                relay.cut()
                await until(lambda: len(seen) == 6, 10)
                more.set()
                await until(lambda: payments.consumer.consumption().decided[Action.DEAD] == 3, 10)

        assert {event.id for event in seen[:3]} == {event.id for event in cancelled}
        assert [1, 1, 1, 2, 2, 2] == [event.attempt for event in seen]
        assert all(event.may_have_landed for event in seen[3:])
        letters = [letter.data for letter in await queue.published("dead")]
        assert sorted(bodies(3)) == sorted(letters)
        assert 0 == await queue.left()


class TestProvision:
    async def test_it_forgets_nothing(self, queue: RabbitQueue) -> None:
        """
        Each queue outlives RabbitMQ, is kept by several nodes, and refuses rather than forgets; no
        message that passes between two is lost on its way.
        """
        await queue.provide()

        async with await queue.connection.channel() as channel:
            await channel.declare_queue(
                queue.waiting[1],
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-overflow": "reject-publish",
                    "x-message-ttl": 250,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": queue.name,
                    "x-dead-letter-strategy": "at-least-once",
                },
            )

    async def test_another_queue(self, queue: RabbitQueue) -> None:
        """
        A queue that is there with other settings is named, with what differs; the same queue again
        is not.
        """
        await queue.provide()
        await queue.provide()
        dead = f"{queue.name}.dead"
        await queue.channel.queue_delete(dead)
        await queue.channel.declare_queue(dead, durable=True)

        with pytest.raises(MismatchError, match="x-overflow is none, not") as caught:
            await queue.provide()

        assert f"queue {dead}" == caught.value.name

    async def test_an_application_that_starts_twice(self, queue: RabbitQueue) -> None:
        """
        One that was stopped and is started again takes each message once.
        """
        async with running(queue, keep) as payments:
            await payments.provision()
            assert 1 == len(payments._subscribers)
            await queue.publish(bodies(5))
            await until(lambda: payments.consumer.consumption().decided[Action.ACK] == 5, 10)
        assert jetstream.MismatchError is MismatchError

    async def test_queues_of_others(self, queue: RabbitQueue) -> None:
        """
        Queues that are not to be made are not, and one that is not there is named.
        """
        with pytest.raises(MismatchError, match="dead is not as it must be: it is not there"):
            async with running(queue, keep, own_queues=False):
                pass

        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await queue.ready(queue.name)

    @pytest.mark.parametrize("delays", [(), (0.0, 1.0), (5.0, 1.0), (1.0, 1.0)])
    async def test_delays(self, queue: RabbitQueue, delays: tuple[float, ...]) -> None:
        """
        Delays that are none are refused.
        """
        with pytest.raises(ValueError, match="delays must be above 0, and ascending"):
            async with running(queue, keep, delays=delays):
                pass


@pytest.mark.deep
@pytest.mark.timeout(150)
class TestProcesses:
    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")

    async def test_each_payment_is_on_record_once_whoever_dies(self, queue: RabbitQueue) -> None:
        """
        While faults meet a tenth of the requests and a consumer is killed, each payment of 800
        events is put on record exactly once, poison is in the dead letters, and nothing is left.
        """
        await queue.provide()
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            with processes() as started:
                fleet = Fleet(started, "rabbit", URL, sandbox.url, queue.name)
                statuses = await take_all_with_a_kill(fleet, queue, sandbox, events=800, quiet=2.0)

            await assert_each_once(queue, sandbox, events=800)
        assert [0, 0] == statuses

    async def test_a_key_for_each_delivery_pays_twice(self, queue: RabbitQueue) -> None:
        """
        With a new key for each delivery, the same puts payments on record twice: it is the key that
        protects, and the test above can tell.
        """
        await queue.provide()
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            sandbox.script(*SURE_DOUBTS)
            with processes() as started:
                fleet = Fleet(started, "rabbit", URL, sandbox.url, queue.name, "random")
                await take_all_with_a_kill(fleet, queue, sandbox, events=400)
            payments = Counter(payment.case_id for payment in sandbox.payments)

        assert any(times > 1 for times in payments.values())

    async def test_a_credential_that_is_refused(self, queue: RabbitQueue) -> None:
        """
        A consumer whose key is refused ends by itself, and says so; no message is lost, or in the
        dead letters, or was taken more than once.
        """
        await queue.provide()
        await queue.publish(bodies(300)[1:])
        async with Sandbox(api_key="another") as sandbox:
            with processes() as started:
                process = Fleet(started, "rabbit", URL, sandbox.url, queue.name).start()
                assert 1 == await asyncio.to_thread(process.wait)
            assert 0 < sandbox.received <= 32

        assert [] == await queue.published("dead")
        assert [] == await queue.published("done")
        assert 299 == await queue.left()
        counts = [m.headers.get("x-delivery-count", 0) for m in await queue.messages(queue.name)]
        assert {0, 1} == set(counts)
