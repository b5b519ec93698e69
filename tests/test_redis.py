from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pytest
from faststream import FastStream
from faststream.redis import RedisBroker
from faststream.redis.parser import BinaryMessageFormatV1
from faststream.redis.subscriber.usecases import stream_subscriber
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from brokers import listens, processes
from carevalidate_async import Outcome, consumer
from carevalidate_async.events import Action, ConfirmHandler, Decision, Event
from carevalidate_async.integrations.faststream._stream import Stream, StreamDelivery
from carevalidate_async.integrations.faststream.redis import RedisPayments
from carevalidate_async.integrations.mismatch import MismatchError
from carevalidate_async.sandbox import Sandbox
from event_support import (
    SURE_DOUBTS,
    Fleet,
    Letter,
    Relay,
    assert_each_once,
    bodies,
    body,
    new_name,
    take_all_with_a_kill,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from carevalidate_async import CareValidate

URL = "redis://127.0.0.1:6379"

pytestmark = pytest.mark.skipif(not listens(6379), reason="no Redis at 127.0.0.1:6379")


class RedisQueue:
    """What the tests do with the streams, and see of them."""

    def __init__(self) -> None:
        self.name = new_name()
        self.dead, self.done = f"{self.name}.dead", f"{self.name}.done"

    async def __aenter__(self) -> Self:
        self.client = Redis.from_url(URL)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.delete(self.name, self.dead, self.done)
        await self.client.aclose()

    async def publish(self, bodies: Iterable[bytes], headers: Any = None) -> None:
        """Publish as FastStream does."""
        for data in bodies:
            envelope = await BinaryMessageFormatV1.encode(
                message=data, reply_to=None, headers=headers, correlation_id="c-1"
            )
            await self.client.xadd(self.name, {"__data__": envelope})

    async def left(self) -> int:
        return int(await self.client.xlen(self.name))

    async def pending(self) -> list[Any]:
        return list(await self.client.xpending_range(self.name, "carevalidate", "-", "+", 1000))

    async def published(self, which: str) -> list[Letter]:
        entries: Any = await self.client.xrange(f"{self.name}.{which}")
        return [Letter(*BinaryMessageFormatV1.parse(fields[b"__data__"])) for _, fields in entries]


@pytest.fixture
async def queue() -> AsyncIterator[RedisQueue]:
    async with RedisQueue() as there:
        yield there


async def keep(_: Event) -> Decision:
    return Decision(action=Action.ACK, outcome=Outcome.RECORDED)


@contextlib.asynccontextmanager
async def running(
    queue: RedisQueue,
    handler: Callable[[Event], Awaitable[Decision]],
    *,
    url: str = URL,
    max_connections: int = 100,
    **settings: Any,
) -> AsyncIterator[RedisPayments]:
    """Run an application in this process."""
    broker = RedisBroker(
        url,
        logger=None,  # type: ignore[arg-type] # as for the others
        graceful_timeout=5,
        max_connections=max_connections,
    )
    chosen = {"results": queue.done, "concurrency": 2, "min_idle": 0.6, **settings}
    payments = RedisPayments(broker, handler, stream=queue.name, dead=queue.dead, **chosen)
    app = FastStream(broker, logger=None, on_startup=[payments.provision])
    try:
        await app.start()
        yield payments
    finally:
        await app.stop()


class TestRetry:
    async def test_it_waits_and_counts(self, queue: RedisQueue) -> None:
        """
        An entry that is to come again comes after its delay, and knows how often it was delivered
        and since when.
        """
        seen: list[tuple[Event, float]] = []
        delays = (0.2, 0.8)

        async def handler(event: Event) -> Decision:
            seen.append((event, time.monotonic()))
            if len(seen) == 3:
                return await keep(event)
            delay = delays[len(seen) - 1]
            return Decision(action=Action.RETRY, outcome=Outcome.REJECTED, delay=delay)

        async with running(queue, handler, min_idle=1.2):
            await queue.publish([b"{}"])
            await until(lambda: len(seen) == 3, 10)

        events, moments = zip(*seen, strict=True)
        first, second = [b - a for a, b in itertools.pairwise(moments)]
        assert 0.2 <= first < 1.2
        assert 0.8 <= second < 2.0
        assert [1, 2, 3] == [event.attempt for event in events]
        assert [0, 1] == [int(event.age or 0) for event in (events[0], events[2])]
        assert 1 == len({event.id for event in events})
        assert 0 == await queue.left()

    async def test_no_delay_is_longer_than_what_is_waited_for(self, queue: RedisQueue) -> None:
        """
        A longer delay than an entry can stay untouched is cut to that.
        """
        seen: list[float] = []

        async def handler(event: Event) -> Decision:
            seen.append(time.monotonic())
            if len(seen) == 2:
                return await keep(event)
            return Decision(action=Action.RETRY, outcome=Outcome.REJECTED, delay=3600)

        async with running(queue, handler):
            await queue.publish([b"{}"])
            await until(lambda: len(seen) == 2, 10)

        assert 0.6 <= seen[1] - seen[0] < 2.0

    async def test_no_word_takes_a_delay_back(self, queue: RedisQueue) -> None:
        """
        A word that an entry is worked on, which comes late, does not make its next delivery later.
        """
        await queue.client.xgroup_create(queue.name, "carevalidate", "0", mkstream=True)
        entry: Any = await queue.client.xadd(queue.name, {"__data__": b"{}"})
        await queue.client.xreadgroup("carevalidate", "me", {queue.name: ">"})
        stream = Stream(
            name=queue.name,
            group="carevalidate",
            consumer="me",
            dead=queue.dead,
            results=None,
            min_idle=60.0,
            form=BinaryMessageFormatV1,
        )
        assert isinstance(entry, bytes)
        delivery = StreamDelivery(entry, {b"__data__": b"{}"}, queue.client, stream, 1)

        await delivery.retry(10)
        await delivery.extend()

        (pending,) = await queue.pending()
        assert 50_000 <= pending["time_since_delivered"] < 55_000

    async def test_what_is_worked_on_is_nobody_elses(self, queue: RedisQueue) -> None:
        """
        An entry that is worked on for longer than Redis waits is not delivered again meanwhile, nor
        counted; one whose consumer died is.
        """
        seen: list[Event] = []
        more = asyncio.Event()

        async def handler(event: Event) -> Decision:
            seen.append(event)
            if event.data == b"slow":
                await more.wait()
            return await keep(event)

        await queue.client.xgroup_create(queue.name, "carevalidate", "0", mkstream=True)
        await queue.publish([b"left"])
        await queue.client.xreadgroup("carevalidate", "dead", {queue.name: ">"})
        async with running(queue, handler, min_idle=0.6):
            await queue.publish([b"slow"])
            await until(lambda: len(seen) == 2, 10)
            await asyncio.sleep(0.8)
            (pending,) = await queue.pending()
            assert 1 == pending["times_delivered"]
            assert pending["time_since_delivered"] < 500
            more.set()
            await emptied(queue)

        assert {(b"slow", 1, False), (b"left", 2, True)} == {
            (event.data, event.attempt, event.may_have_landed) for event in seen
        }
        assert 0 == await queue.left()


class TestLetters:
    @pytest.mark.parametrize(
        ("fields", "data"),
        [
            ({"__data__": b"\xff{"}, b"\xff{"),
            ({"__data__": b'{"data": "x", "headers": ["none"]}'}, b"x"),
            ({"amount": b"\xff", "n\u00e4me": b"x"}, b'{"amount":"\\\\xff","n\xc3\xa4me":"x"}'),
        ],
    )
    async def test_whatever_comes(
        self, queue: RedisQueue, care: CareValidate, fields: dict[Any, Any], data: bytes
    ) -> None:
        """
        What is no payment becomes a dead letter at its first delivery, whatever form it is in.
        """
        async with running(queue, ConfirmHandler(care)):
            await queue.client.xadd(queue.name, fields)
            await emptied(queue)

        (letter,) = await queue.published("dead")
        assert data == letter.data
        assert "dead" == letter.headers["Carevalidate-Action"]
        assert queue.name == letter.headers["Carevalidate-Source"]

    async def test_headers(self, queue: RedisQueue) -> None:
        """
        A dead letter keeps its publisher's headers, and says whether its payment may be on record.
        """

        async def handler(_: Event) -> Decision:
            return Decision(action=Action.PARK, outcome=Outcome.UNKNOWN, reason="a reason")

        async with running(queue, handler):
            await queue.publish([b"{}"], headers={"mine": "1", b"\xc3\xa4": "\u00e4".encode()})
            await emptied(queue)

        (letter,) = await queue.published("dead")
        assert ("1", "\u00e4", "c-1") == tuple(
            letter.headers[name] for name in ("mine", "\u00e4", "correlation_id")
        )
        assert ("park", "1", "a reason", "1") == tuple(
            letter.headers[f"Carevalidate-{name}"]
            for name in ("Action", "Attempt", "Reason", "In-Doubt")
        )

    async def test_fields_are_a_payment(
        self, queue: RedisQueue, care: CareValidate, sandbox: Sandbox
    ) -> None:
        """
        An entry that has a payment's fields for its own, as other publishers add them, is one.
        """
        async with running(queue, ConfirmHandler(care)):
            await queue.client.xadd(queue.name, json.loads(body(7)))
            await emptied(queue)

        assert ["case-7"] == [payment.case_id for payment in sandbox.payments]
        (result,) = await queue.published("done")
        assert "recorded" == json.loads(result.data)["outcome"]
        assert "application/json" == result.headers["content-type"]

    async def test_none_is_lost_where_it_cannot_go(self, queue: RedisQueue) -> None:
        """
        A dead letter that Redis does not take leaves its entry where it is, and is tried again.
        """
        seen: list[Event] = []

        async def handler(event: Event) -> Decision:
            seen.append(event)
            return Decision(action=Action.DEAD, outcome=Outcome.REJECTED)

        async with running(queue, handler):
            await queue.client.set(queue.dead, "no stream")
            await queue.publish([b"bad"])
            await until(lambda: len(seen) == 2, 10)
            assert 1 == await queue.left()
            await queue.client.delete(queue.dead)
            await emptied(queue)

        assert [b"bad"] == [letter.data for letter in await queue.published("dead")]

    async def test_what_others_have_settled(self, queue: RedisQueue) -> None:
        """
        What somebody else has settled meanwhile is not published a second time.
        """

        async def handler(event: Event) -> Decision:
            await queue.client.xack(queue.name, "carevalidate", event.id)
            await queue.client.xdel(queue.name, event.id)
            return Decision(action=Action.DEAD, outcome=Outcome.REJECTED)

        async with running(queue, handler) as payments:
            await queue.publish([b"bad"])
            await until(lambda: payments.consumer.consumption().decided[Action.DEAD] == 1, 10)

        assert [] == await queue.published("dead")


async def emptied(queue: RedisQueue) -> None:
    async with asyncio.timeout(10):
        while await queue.left():  # noqa: ASYNC110 - Redis gives no sign
            await asyncio.sleep(0.02)


class TestFailures:
    async def test_a_handler_that_raises(
        self, queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        An entry whose handler raises comes again after a while, in doubt, and the next one is taken
        meanwhile, by a consumer that takes one at a time.
        """
        monkeypatch.setattr(consumer, "AFTER_AN_ERROR", 0.3)
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

    async def test_it_holds_no_more_than_it_works_on(self, queue: RedisQueue) -> None:
        """
        A consumer takes as many entries as it works on at once, and leaves the others to others.
        """
        more = asyncio.Event()

        async def handler(event: Event) -> Decision:
            await more.wait()
            return await keep(event)

        async with running(queue, handler, concurrency=4) as payments:
            await queue.publish(bodies(10))
            await until(lambda: payments.consumer.consumption().held == 4, 10)
            await asyncio.sleep(0.2)
            assert 4 == len(await queue.pending())
            more.set()
            await emptied(queue)

    async def test_a_stop(self, queue: RedisQueue) -> None:
        """
        Where nothing more can be asked for, nothing more is taken, and what was taken waits for
        another application, having been delivered once.
        """
        reasons: list[str] = []

        async def handler(_: Event) -> Decision:
            return Decision(action=Action.STOP, outcome=Outcome.REJECTED, reason="a reason")

        async with running(queue, handler, min_idle=30, on_stop=reasons.append) as payments:
            await queue.publish(bodies(20))
            await until(lambda: bool(reasons), 10)
            await queue.publish(bodies(20))
            await asyncio.sleep(0.2)

        assert ["a reason"] == reasons
        assert "a reason" == payments.consumer.stopped_by
        pending = await queue.pending()
        assert 1 <= len(pending) <= 4  # each reader's, and what was on its way to it
        assert {1} == {entry["times_delivered"] for entry in pending}
        assert 40 == await queue.left()

    async def test_a_connection_that_is_lost(
        self, queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What was held when the connections were lost is settled all the same, once.
        """
        monkeypatch.setattr(stream_subscriber, "CONSUME_ERROR_BACKOFF_SECONDS", 0.1)
        seen: list[Event] = []
        more = asyncio.Event()

        async def handler(event: Event) -> Decision:
            seen.append(event)
            await more.wait()
            return Decision(action=Action.DEAD, outcome=Outcome.REJECTED)

        async with Relay(6379) as relay:
            url = f"redis://127.0.0.1:{relay.port}"
            async with running(queue, handler, url=url, concurrency=3):
                await queue.publish(bodies(3))
                await until(lambda: len(seen) == 3, 10)
                relay.cut()
                more.set()
                await emptied(queue)

        letters = [letter.data for letter in await queue.published("dead")]
        assert sorted(bodies(3)) == sorted(letters)


class TestProvision:
    async def test_what_was_there_before(self, queue: RedisQueue) -> None:
        """
        Entries that were added before any consumer was there are taken, too.
        """
        await queue.publish(bodies(3))
        async with running(queue, keep):
            await emptied(queue)
        async with running(queue, keep):  # the group is there already
            await queue.publish(bodies(3))
            await emptied(queue)

        assert 6 == len(await queue.published("done"))

    async def test_a_stream_that_cannot_be_made(
        self, queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What Redis refuses is told, but for a group that is there already.
        """
        create = Redis.xgroup_create

        async def refuse(client: Redis, *args: Any, **settings: Any) -> Any:
            await create(client, *args, **settings)
            raise ResponseError("READONLY You can't write against a read only replica.")

        monkeypatch.setattr(Redis, "xgroup_create", refuse)

        with pytest.raises(ResponseError, match="READONLY"):
            async with running(queue, keep):
                pass

    async def test_an_application_that_starts_twice(self, queue: RedisQueue) -> None:
        """
        One that was stopped and is started again has as many readers as before.
        """
        async with running(queue, keep) as payments:
            await payments.provision()

        assert 3 == len(payments._subscribers)

    async def test_another_kind_of_thing(self, queue: RedisQueue) -> None:
        """
        A name that is no stream's is told, with what it is.
        """
        await queue.client.rpush(queue.dead, "a list")

        with pytest.raises(MismatchError, match="it is b'list', no stream") as caught:
            async with running(queue, keep):
                pass

        assert f"stream {queue.dead}" == caught.value.name

    async def test_too_few_connections(self, queue: RedisQueue) -> None:
        """
        Where readers would wait for each other's connections, that is told at the start.
        """
        with pytest.raises(MismatchError, match="max_connections is 81, below 82"):
            async with running(queue, keep, concurrency=64, max_connections=81):
                pass

        async with running(queue, keep, concurrency=64, max_connections=82):
            await queue.publish(bodies(200))
            await emptied(queue)

    async def test_memory_that_forgets(
        self, queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A Redis that drops whatever it likes when its memory is full is told.
        """

        async def info(_: Redis, section: str) -> dict[str, Any]:
            return {"maxmemory": 1, "maxmemory_policy": "allkeys-lru"}

        monkeypatch.setattr(Redis, "info", info)

        with pytest.raises(MismatchError, match=r"drops streams .* \(allkeys-lru\)"):
            async with running(queue, keep):
                pass


@pytest.mark.deep
@pytest.mark.timeout(150)
class TestProcesses:
    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")

    async def test_each_payment_is_on_record_once_whoever_dies(self, queue: RedisQueue) -> None:
        """
        While faults meet a tenth of the requests and a consumer is killed, each payment of 800
        events is put on record exactly once, poison is in the dead letters, and nothing is left.
        """
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            with processes() as started:
                fleet = Fleet(started, "redis", URL, sandbox.url, queue.name)
                statuses = await take_all_with_a_kill(fleet, queue, sandbox, events=800)

            await assert_each_once(queue, sandbox, events=800)
        assert [] == await queue.pending()
        assert [0, 0] == statuses

    async def test_a_key_for_each_delivery_pays_twice(self, queue: RedisQueue) -> None:
        """
        With a new key for each delivery, the same puts payments on record twice: it is the key that
        protects, and the test above can tell.
        """
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            sandbox.script(*SURE_DOUBTS)
            with processes() as started:
                fleet = Fleet(started, "redis", URL, sandbox.url, queue.name, "random")
                await take_all_with_a_kill(fleet, queue, sandbox, events=400)
            payments = Counter(payment.case_id for payment in sandbox.payments)

        assert any(times > 1 for times in payments.values())

    async def test_a_credential_that_is_refused(self, queue: RedisQueue) -> None:
        """
        A consumer whose key is refused ends by itself, and says so; no message is lost, or in the
        dead letters, or was taken more than once.
        """
        await queue.publish(bodies(300)[1:])
        async with Sandbox(api_key="another") as sandbox:
            with processes() as started:
                process = Fleet(started, "redis", URL, sandbox.url, queue.name).start()
                assert 1 == await asyncio.to_thread(process.wait)
            assert 0 < sandbox.received <= 32

        assert [] == await queue.published("dead")
        assert [] == await queue.published("done")
        assert 299 == await queue.left()
        pending = await queue.pending()
        assert {1} == {entry["times_delivered"] for entry in pending}
        assert len(pending) <= 2 * 32  # each reader's, and what was on its way to it
