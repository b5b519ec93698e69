"""The recipes of examples/consumers in processes of their own, and the brokers they take from."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import aio_pika
import confluent_kafka
import nats
from nats.js.api import RetentionPolicy
from nats.js.errors import NotFoundError
from temporalio.client import WorkflowHistory

from brokers import NatsServer
from carevalidate_async.integrations.jetstream import provide_stream, stream_config
from event_support import Letter, new_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from aio_pika.abc import AbstractIncomingMessage

RECIPES = pathlib.Path(__file__).parents[1] / "examples" / "consumers"
RABBIT = "amqp://guest:guest@127.0.0.1:5672/"


def load(recipe: str) -> ModuleType:
    """Return a recipe's module, made anew: it reads its settings when it is made."""
    spec = importlib.util.spec_from_file_location(recipe, RECIPES / f"{recipe}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Runs:
    """
    A recipe's processes; what is left of them in the end is killed, with all that they started.

    Attributes:
        log: What they wrote.
    """

    def __init__(self, command: list[str], log: pathlib.Path) -> None:
        self._command = command
        self._started: list[subprocess.Popen[bytes]] = []
        self.log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            self.kill(process)

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self._command,
                env={**os.environ, "CAREVALIDATE_API_KEY": "test", **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it (SIGKILL), and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    async def end(self, process: subprocess.Popen[bytes]) -> int:
        """End it (SIGTERM), and return its exit status."""
        process.send_signal(signal.SIGTERM)
        return await self.ended(process)

    async def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Return its exit status once it has ended."""
        return await asyncio.to_thread(process.wait, 30)


async def ignore(_: Exception) -> None:
    """Say nothing of a server that is away."""


class JetStream:
    """A stream on a server of its own."""

    recipe = "nats_py"

    def __init__(self, folder: pathlib.Path) -> None:
        self.server = NatsServer(folder / "streams")
        self.name = "payments"
        self.env = {"NATS_URL": self.server.url, "ACK_WAIT": "2"}

    async def __aenter__(self) -> Self:
        self.server.start()
        self._connection = await nats.connect(
            self.server.url, reconnect_time_wait=0.1, error_cb=ignore
        )
        self._js = self._connection.jetstream()
        retention = RetentionPolicy.WORK_QUEUE
        await provide_stream(
            self._js, stream_config("payments", ["payments.taken"], retention=retention)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
        self.server.kill()

    async def publish(self, bodies: Iterable[bytes]) -> None:
        acks = [await self._js.publish_async("payments.taken", body) for body in bodies]
        await asyncio.gather(*acks)

    async def left(self) -> int:
        return (await self._js.stream_info("payments")).state.messages

    async def published(self, which: str) -> list[Letter]:
        subject = f"payments.{which}"
        try:
            sub = await self._js.subscribe(subject, stream="payments_OUT", ordered_consumer=True)
        except NotFoundError:
            return []
        info = await sub.consumer_info()
        sent = 0 if info.delivered is None else info.delivered.consumer_seq
        there = sent + (info.num_pending or 0)
        messages = [await sub.next_msg(timeout=5) for _ in range(there)]
        return [Letter(message.data, message.headers or {}) for message in messages]


class Rabbit:
    """Queues of the RabbitMQ of this machine."""

    recipe = "rabbitmq"

    def __init__(self, _: pathlib.Path) -> None:
        self.name = new_name()
        self.env = {"AMQP_URL": RABBIT}

    async def __aenter__(self) -> Self:
        self.connection = await aio_pika.connect(RABBIT)
        self._channel = await self.connection.channel(on_return_raises=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        waits = [f"retry.{seconds}" for seconds in (1, 5, 30, 300)]
        for name in (self.name, *(f"{self.name}.{each}" for each in (*waits, "dead", "done"))):
            await self.delete(name)
        await self._channel.exchange_delete(self.name)  # Celery makes one.
        await self.connection.close()

    async def delete(self, name: str) -> None:
        await self._channel.queue_delete(name)

    async def provide(self) -> None:
        """Make the queues, as the recipe does."""
        async with self.connection.channel() as channel:
            await load(self.recipe).declare(channel)

    async def publish(self, bodies: Iterable[bytes]) -> None:
        await self.provide()
        for body in bodies:
            await self.publish_only(body)

    async def publish_only(self, body: bytes) -> None:
        message = aio_pika.Message(body, delivery_mode=2, timestamp=datetime.now(UTC))
        await self._channel.default_exchange.publish(message, self.name)

    async def is_read(self) -> bool:
        """Return whether somebody reads the events."""
        return bool((await self._state(self.name)).consumer_count)

    async def ready(self, name: str) -> int:
        """Return how many messages of a queue nobody holds."""
        return (await self._state(name)).message_count or 0

    async def _state(self, name: str) -> Any:
        async with self.connection.channel() as channel:
            return (await channel.declare_queue(name, passive=True)).declaration_result

    async def left(self) -> int:
        names = [self.name, *(f"{self.name}.retry.{seconds}" for seconds in (1, 5, 30, 300))]
        return sum([await self.ready(name) for name in names])

    async def published(self, which: str) -> list[Letter]:
        messages = await self.messages(f"{self.name}.{which}")
        return [Letter(message.body, dict(message.headers)) for message in messages]

    async def redelivered(self) -> list[bool]:
        """Return of each event that waits whether it was delivered before."""
        return [bool(message.redelivered) for message in await self.messages(self.name)]

    async def messages(self, name: str) -> list[AbstractIncomingMessage]:
        """Return all messages of a queue, which stay."""
        async with self.connection.channel() as channel:
            queue = await channel.get_queue(name)
            messages = []
            while (message := await queue.get(fail=False)) is not None:
                messages.append(message)
            return messages


class CeleryQueue(Rabbit):
    """A queue that Celery makes; what is to come again later is held by its worker."""

    recipe = "celery_task"

    async def left(self) -> int:
        return await self.ready(self.name)

    async def records(self) -> set[str]:
        """Return the first arguments of the calls that wait."""
        return {json.loads(each.body)[0][0] for each in await self.messages(self.name)}


class Kafka:
    """Topics of librdkafka's stand-in of a Kafka, which lives in this process."""

    recipe = "kafka_batches"

    def __init__(self, _: pathlib.Path) -> None:
        self.name = "payments"
        self._kafka = confluent_kafka.Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": "made", "log_level": 0}
        )
        (broker,) = self._kafka.list_topics(timeout=10).brokers.values()
        self.env = {"KAFKA_SERVERS": f"{broker.host}:{broker.port}"}
        self._group = self._consumer("carevalidate")

    def _consumer(self, group: str) -> Any:
        servers = {"bootstrap.servers": self.env["KAFKA_SERVERS"], "log_level": 0}
        return confluent_kafka.Consumer({**servers, "group.id": group})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._group.close()

    async def publish(self, bodies: Iterable[bytes]) -> None:
        for number, body in enumerate(bodies):
            self._kafka.produce("payments", body, key=str(number))
        assert 0 == await asyncio.to_thread(self._kafka.flush, 10)

    def _ends(self, topic: str) -> list[Any]:
        """Return the end of each partition of a topic."""
        there = self._kafka.list_topics(topic, timeout=10).topics[topic].partitions
        parts = [confluent_kafka.TopicPartition(topic, part) for part in there]
        for part in parts:
            part.offset = self._group.get_watermark_offsets(part, timeout=10)[1]
        return parts

    def _left(self) -> int:
        ends = self._ends("payments")
        committed = self._group.committed(ends, timeout=10)
        return sum(end.offset - max(0, at.offset) for end, at in zip(ends, committed, strict=True))

    async def left(self) -> int:
        return await asyncio.to_thread(self._left)

    def _published(self, topic: str) -> list[Letter]:
        ends = self._ends(topic)
        reader = self._consumer("reader")
        reader.assign([confluent_kafka.TopicPartition(topic, end.partition, 0) for end in ends])
        messages = reader.consume(sum(end.offset for end in ends), timeout=10)
        reader.close()
        return [
            Letter(each.value(), {n: v.decode() for n, v in each.headers() or ()})
            for each in messages
        ]

    async def published(self, which: str) -> list[Letter]:
        return await asyncio.to_thread(self._published, f"payments.{which}")


def history(event: bytes, result: bytes, *, activity: str) -> WorkflowHistory:
    """Return what Temporal keeps of a workflow that had one activity put *event* on record."""

    def payload(kind: str, data: bytes) -> Any:
        encoding, content = (base64.b64encode(each).decode() for each in (kind.encode(), data))
        return {"payloads": [{"metadata": {"encoding": encoding}, "data": content}]}

    told, came = payload("binary/plain", event), payload("json/plain", result)
    queue = {"taskQueue": {"name": "payments", "kind": "TASK_QUEUE_KIND_NORMAL"}}
    # Flags of the SDK's core, without which it does not compare ids and types.
    compared = {"sdkMetadata": {"coreUsedFlags": [1, 2, 3]}}
    of = {"activityType": {"name": activity}}
    workflow = {"workflowType": {"name": "ConfirmPayment"}, "originalExecutionRunId": "run-1"}
    events: list[tuple[str, dict[str, Any]]] = [
        ("workflow_execution_started", {**workflow, **queue, "input": told, "attempt": 1}),
        ("workflow_task_scheduled", queue),
        ("workflow_task_started", {"scheduledEventId": 2}),
        ("workflow_task_completed", {"scheduledEventId": 2, "startedEventId": 3, **compared}),
        ("activity_task_scheduled", {**of, **queue, "activityId": "1", "input": told}),
        ("activity_task_started", {"scheduledEventId": 5, "attempt": 1}),
        ("activity_task_completed", {"scheduledEventId": 5, "startedEventId": 6, "result": came}),
        ("workflow_task_scheduled", queue),
        ("workflow_task_started", {"scheduledEventId": 8}),
        ("workflow_task_completed", {"scheduledEventId": 8, "startedEventId": 9}),
        ("workflow_execution_completed", {"workflowTaskCompletedEventId": 10, "result": came}),
    ]
    written = []
    for number, (name, attributes) in enumerate(events, 1):
        first, *others = name.split("_")
        camel = "".join([first, *(word.title() for word in others), "EventAttributes"])
        head = {"eventId": number, "eventTime": "2026-11-02T12:00:00Z"}
        written.append({**head, "eventType": f"EVENT_TYPE_{name.upper()}", camel: attributes})
    return WorkflowHistory.from_json("workflow-1", {"events": written})


def python(recipe: str) -> list[str]:
    """Return what runs a recipe that is a script."""
    return [sys.executable, str(RECIPES / f"{recipe}.py")]
