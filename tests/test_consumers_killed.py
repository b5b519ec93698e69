from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import nats
import pytest
from nats.js.api import RetentionPolicy

from brokers import NatsServer, processes
from carevalidate_async.integrations.jetstream import provide_stream, stream_config
from carevalidate_async.sandbox import Sandbox
from event_support import POISON, SURE_DOUBTS, Fleet, body, cases, until

if TYPE_CHECKING:
    import pathlib


class JetStreamQueue:
    """What the tests do with the stream, and see of it."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name

    async def __aenter__(self) -> Self:
        self._connection = await nats.connect(self._url, reconnect_time_wait=0.1)
        self._js = self._connection.jetstream()
        name = self._name
        await provide_stream(
            self._js,
            stream_config(name, [f"{name}.taken"], retention=RetentionPolicy.WORK_QUEUE),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def publish(self, events: int) -> None:
        acks = [
            await self._js.publish_async(f"{self._name}.taken", body(number))
            for number in range(events)
        ]
        await asyncio.gather(*acks)

    async def empty(self) -> bool:
        try:
            state = (await self._js.stream_info(self._name)).state
        except (nats.errors.Error, OSError):  # it is away
            return False
        return state.messages == 0

    async def held(self) -> int:
        info = await self._js.consumer_info(self._name, "carevalidate")
        return int(info.num_ack_pending or 0)

    async def published(self, subject: str) -> list[Any]:
        """Return all messages of a subject of what went out."""
        sub = await self._js.subscribe(
            f"{self._name}.{subject}", stream=f"{self._name}_OUT", ordered_consumer=True
        )
        info = await sub.consumer_info()
        on_their_way = info.delivered.consumer_seq if info.delivered is not None else 0
        there = (info.num_pending or 0) + on_their_way
        return [await sub.next_msg(timeout=5) for _ in range(there)]


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    with NatsServer(tmp_path / "streams") as running:
        yield running


async def emptied(queue: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await queue.empty():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)


@pytest.mark.deep
@pytest.mark.timeout(150)
class TestJetStream:
    @pytest.mark.parametrize("events", [5000])
    async def test_each_payment_is_on_record_once_whoever_dies(
        self, server: NatsServer, events: int
    ) -> None:
        """
        While faults meet a tenth of the requests, a consumer is killed twice and the server once,
        each payment of 5,000 events is put on record exactly once, poison is in the dead letters,
        and nothing is left.
        """
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            with processes() as started:
                fleet = Fleet(started, "jetstream", server.url, sandbox.url, "payments")
                async with JetStreamQueue(server.url, "payments") as queue:
                    await queue.publish(events)
                    first, second = fleet.start(), fleet.start()
                    await until(lambda: sandbox.received > events * 0.2)
                    first = fleet.restart(first)
                    await until(lambda: sandbox.received > events * 0.4)
                    server.kill()
                    await asyncio.sleep(1)
                    server.start()
                    await until(lambda: sandbox.received > events * 0.6)
                    first = fleet.restart(first)
                    await emptied(queue)
                    for process in (first, second):
                        process.send_signal(signal.SIGTERM)
                    statuses = [await asyncio.to_thread(p.wait) for p in (first, second)]

                    dead = await queue.published("dead")
                    done = await queue.published("done")
                    held = await queue.held()
            payments = Counter(payment.case_id for payment in sandbox.payments)

        poison = {body(number) for number in range(0, events, POISON)}
        assert dict.fromkeys(cases(events), 1) == payments
        assert poison == {letter.data for letter in dead}
        assert {"dead", "park"} >= {letter.headers["Carevalidate-Action"] for letter in dead}
        keys = {payment.idempotency_key for payment in sandbox.payments}
        assert keys == {json.loads(result.data)["key"] for result in done}
        assert 0 == held
        assert [0, 0] == statuses
        assert sandbox.received > events  # faults and kills made for more

    async def test_a_key_for_each_delivery_pays_twice(self, server: NatsServer) -> None:
        """
        With a new key for each delivery, the same puts payments on record twice: it is the key that
        protects, and this test can tell.
        """
        events = 1000
        async with Sandbox(api_key="test", fault_rate=0.1 / 11, seed=11) as sandbox:
            sandbox.script(*SURE_DOUBTS)
            with processes() as started:
                fleet = Fleet(started, "jetstream", server.url, sandbox.url, "payments", "random")
                async with JetStreamQueue(server.url, "payments") as queue:
                    await queue.publish(events)
                    first = fleet.start()
                    fleet.start()
                    await until(lambda: sandbox.received > events * 0.3)
                    fleet.restart(first)
                    await emptied(queue)
            payments = Counter(payment.case_id for payment in sandbox.payments)

        assert any(times > 1 for times in payments.values())
