"""Payment events on Redis Streams, in a FastStream application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carevalidate_async._extra import needs

with needs("redis"):
    from faststream import AckPolicy, Context
    from faststream.redis import StreamSub
    from redis.exceptions import ResponseError

from carevalidate_async.consumer import Consumer
from carevalidate_async.integrations.faststream._end import ends, halt
from carevalidate_async.integrations.faststream._parsing import parsed
from carevalidate_async.integrations.faststream._raw import end_once_started, raw
from carevalidate_async.integrations.faststream._stream import Stream, StreamDelivery
from carevalidate_async.integrations.mismatch import MismatchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faststream.redis import RedisBroker
    from faststream.redis.subscriber.usecases import LogicSubscriber
    from redis.asyncio import Redis

    from carevalidate_async.consumer import Handler

__all__ = ["RedisPayments"]

MIN_IDLE = 60.0
"""Seconds without a word after which an entry is delivered again."""

READ_SECONDS = 2.0
"""How long one request for an entry waits; less than redis-py waits for an answer."""

CLAIM_SECONDS = 1.0
"""Seconds between two looks for entries that are to be delivered again, at most."""


class RedisPayments:
    """
    Confirms the payments that entries of a stream bring.

    An entry is acknowledged, deleted, and what came of it published in one step, so that the stream
    holds what is to be done and nothing else. One that is to come again stays where it is, and is
    claimed by whoever looks for such ones first; so is what a consumer held that died. How often it
    was delivered is for Redis to count.

    What Redis forgets is gone. With ``appendonly no`` that is all since the last snapshot, with
    ``appendfsync everysec`` a second, and what a replica had not got yet when it took over. A
    publisher that trims (``MAXLEN``) drops what nobody has taken. In a cluster, give all streams
    one hash tag: ``{payments}.taken``.

    Args:
        broker: Its ``graceful_timeout`` is how long payments that are under way have to end when
            the application ends: more than the client's deadline for a call. Its
            ``max_connections`` must be a third more than *concurrency*.

        handler: Says what is to be done with each message.

        stream: The stream's name.

        dead: Stream that dead letters go to. Neither it nor *results* is trimmed.

        results: Stream that results go to; None for nowhere.

        group: Name of the group of consumers, which all processes share.

        consumer: This process's name in it. All may have one: nobody is asked who holds an entry.

        concurrency: Payments that this process asks for at once, at most. It holds a quarter more
            when it makes up for others.

        rate: Payments that it begins per second, at most; see `Consumer`.

        adaptive: Whether to go below both as the vendor's answers tell.

        min_idle: Seconds without a word after which an entry is delivered again, and the longest
            delay before one is. A process that lives says a word every third of that.

        on_stop: Called with the reason when the application is ended, since the credential is
            refused or the client cannot send.

    Attributes:
        consumer: Has what was done so far, and why it stopped.
    """

    def __init__(
        self,
        broker: RedisBroker,
        handler: Handler,
        *,
        stream: str,
        dead: str,
        results: str | None = None,
        group: str = "carevalidate",
        consumer: str = "carevalidate",
        concurrency: int = 64,
        rate: float | None = None,
        adaptive: bool = True,
        min_idle: float = MIN_IDLE,
        on_stop: Callable[[str], None] | None = None,
    ) -> None:
        self._broker = broker
        self._stream = Stream(
            name=stream,
            group=group,
            consumer=consumer,
            dead=dead,
            results=results,
            min_idle=min_idle,
            form=broker.message_format,
        )
        self._readers = concurrency
        self._claimers = max(1, concurrency // 4)
        self._client: Redis | None = None
        self._subscribers: list[LogicSubscriber] = []
        self.consumer: Consumer = Consumer(
            handler,
            concurrency=concurrency,
            rate=rate,
            adaptive=adaptive,
            extend_every=min_idle / 3,
            on_stop=ends(broker, self._subscribers, on_stop),
        )

    async def provision(self) -> None:
        """
        See that stream and group are there, and as they must be, and subscribe; for ``on_startup``.

        An application that forgets it takes no entry. FastStream would make a group that passes
        over all entries that are there already.

        Raises:
            MismatchError: A stream's name is something else's, or Redis may drop streams when its
                memory is full, or there are too few connections.
        """
        client = self._client = await self._broker.connect()
        end_once_started(self._broker)
        await self._check(client)
        try:
            await client.xgroup_create(self._stream.name, self._stream.group, "0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):  # It is there already.
                raise
        if self._subscribers:
            return
        # One entry each. FastStream's own way to work on several at once holds more that nobody
        # works on, and so tells nobody of.
        for _ in range(self._readers):
            self._subscribe(self._take_new, polling_interval=round(READ_SECONDS * 1000))
        every = min(CLAIM_SECONDS, self._stream.min_idle / 4)
        for _ in range(self._claimers):
            self._subscribe(
                self._take_again,
                polling_interval=round(every * 1000),
                min_idle_time=round(self._stream.min_idle * 1000),
            )

    def _subscribe(self, take: Callable[..., Awaitable[None]], **settings: Any) -> None:  # noqa: ANN401 - StreamSub's
        stream = self._stream
        sub: StreamSub[Any] = StreamSub(
            stream.name,
            group=stream.group,
            consumer=stream.consumer,
            last_id=">",
            max_records=1,
            declare=False,
            **settings,
        )
        subscriber = self._broker.subscriber(
            stream=sub, ack_policy=AckPolicy.MANUAL, no_reply=True, include_in_schema=False
        )
        subscriber(take, parser=parsed, decoder=raw)
        self._subscribers.append(subscriber)

    async def _check(self, client: Redis) -> None:
        stream = self._stream
        for name in (stream.name, stream.dead, stream.results):
            kind = b"none" if name is None else await client.type(name)
            if kind not in {b"none", b"stream"}:
                raise MismatchError(f"stream {name}", (f"it is {kind!r}, no stream",))
        memory = await client.info("memory")
        if memory.get("maxmemory") and memory["maxmemory_policy"].startswith("allkeys"):
            told = f"it drops streams when its memory is full ({memory['maxmemory_policy']})"
            raise MismatchError("Redis", (told,))
        needed = self._readers + self._claimers + 2
        if client.connection_pool.max_connections < needed:
            told = f"max_connections is {client.connection_pool.max_connections}, below {needed}"
            raise MismatchError("the broker", (told,))

    async def _take_new(self, message: Any = Context("message")) -> None:  # noqa: ANN401, B008 - injected
        await self._take(message.raw_message, 1)

    async def _take_again(self, message: Any = Context("message")) -> None:  # noqa: ANN401, B008 - injected
        assert self._client is not None, "provision() subscribes"  # noqa: S101 - for the reader
        stream, (entry,) = self._stream, message.raw_message["message_ids"]
        # Not the message's get_delivery_count(), which is 1 where it was settled meanwhile.
        found = await self._client.xpending_range(stream.name, stream.group, entry, entry, 1)
        if found:
            await self._take(message.raw_message, max(2, int(found[0]["times_delivered"])))

    async def _take(self, raw_message: Any, attempt: int) -> None:  # noqa: ANN401 - FastStream's
        assert self._client is not None, "provision() subscribes"  # noqa: S101 - for the reader
        if self.consumer.stopped_by is not None:
            halt(self._subscribers)  # This one was not reading yet when the others were halted.
            return
        (entry,) = raw_message["message_ids"]
        delivery = StreamDelivery(entry, raw_message["data"], self._client, self._stream, attempt)
        await self.consumer.take(delivery)
