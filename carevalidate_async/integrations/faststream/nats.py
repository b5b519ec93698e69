"""Payment events on NATS JetStream, in a FastStream application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carevalidate_async._extra import needs

with needs("nats"):
    from faststream import AckPolicy, Context
    from faststream.nats import JStream, PullSub
    from nats.js.api import RetentionPolicy

from carevalidate_async.consumer import Consumer
from carevalidate_async.integrations.faststream._raw import end_once_started, ends_app, raw
from carevalidate_async.integrations.jetstream import (
    ACK_WAIT,
    MAX_ACK_PENDING,
    JetStreamDelivery,
    consumer_config,
    provide_consumer,
    provide_stream,
    stream_config,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faststream.nats import NatsBroker
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerConfig

    from carevalidate_async.consumer import Handler

__all__ = ["JetStreamPayments", "subscribe"]

FETCH_SECONDS = 5.0
"""How long one request for a message waits at the server."""


class JetStreamPayments:
    """
    Confirms the payments that messages of a stream bring.

    Args:
        broker: Its ``graceful_timeout`` is how long payments that are under way have to end when
            the application ends: more than the client's deadline for a call.

        handler: Says what is to be done with each message.

        stream: The stream's name.

        subject: Of the events.

        dead: Subject that dead letters go to; some stream must keep it.

        results: Subject that results go to; None for nowhere.

        durable: Name of the consumer, which all processes share.

        concurrency: Messages that this process holds at once, at most.

        rate: Payments that it begins per second, at most; see `Consumer`.

        adaptive: Whether to go below both as the vendor's answers tell.

        ack_wait: Seconds without a word after which JetStream delivers a message again. A process
            that lives says one every third of that.

        max_ack_pending: Messages that all processes together may hold or have given back for
            later, before no other is delivered.

        own_streams: Whether to make streams that are not there: *stream* for *subject*, which
            forgets a message once it is acknowledged, and ``STREAM_OUT`` for *dead* and *results*.
            Otherwise they must be there.

        on_stop: Called with the reason when the application is ended, since the credential is
            refused or the client cannot send.

    Attributes:
        consumer: Has what was done so far, and why it stopped.
    """

    def __init__(
        self,
        broker: NatsBroker,
        handler: Handler,
        *,
        stream: str,
        subject: str,
        dead: str,
        results: str | None = None,
        durable: str = "carevalidate",
        concurrency: int = 64,
        rate: float | None = None,
        adaptive: bool = True,
        ack_wait: float = ACK_WAIT,
        max_ack_pending: int = MAX_ACK_PENDING,
        own_streams: bool = True,
        on_stop: Callable[[str], None] | None = None,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._subject = subject
        self._dead = dead
        self._results = results
        self._own_streams = own_streams
        self._wanted = consumer_config(
            durable, subject, ack_wait=ack_wait, max_ack_pending=max_ack_pending
        )
        self.consumer: Consumer = Consumer(
            handler,
            concurrency=concurrency,
            rate=rate,
            adaptive=adaptive,
            extend_every=ack_wait / 3,
            on_stop=ends_app(broker, on_stop),
        )
        subscribe(broker, self._take, stream=stream, config=self._wanted, concurrency=concurrency)

    async def provision(self) -> None:
        """
        See that streams and consumer are there, and as they must be; for ``on_startup``.

        Raises:
            MismatchError: They are there with other settings, under which payments could be lost.
        """
        client = await self._broker.connect()
        # FastStream's subscribers never let the event loop go once nats-py has given up on its
        # server, and by default it does so after two minutes.
        client.options["max_reconnect_attempts"] = -1
        end_once_started(self._broker)
        js = self._jetstream
        if self._own_streams:
            kept = [name for name in (self._dead, self._results) if name is not None]
            work = stream_config(
                self._stream, [self._subject], retention=RetentionPolicy.WORK_QUEUE
            )
            await provide_stream(js, work)
            await provide_stream(js, stream_config(f"{self._stream}_OUT", kept))
        else:
            for name in (self._subject, self._dead, self._results):
                if name is not None:
                    await js.find_stream_name_by_subject(name)
        await provide_consumer(js, self._stream, self._wanted)

    @property
    def _jetstream(self) -> JetStreamContext:
        context: JetStreamContext = self._broker.config.connection_state.stream
        return context

    async def _take(self, message: Any = Context("message")) -> None:  # noqa: ANN401, B008 - injected
        delivery = JetStreamDelivery(
            message.raw_message, self._jetstream, dead=self._dead, results=self._results
        )
        await self.consumer.take(delivery)


def subscribe(
    broker: NatsBroker,
    take: Callable[..., Awaitable[None]],
    *,
    stream: str,
    config: ConsumerConfig,
    concurrency: int,
) -> None:
    """
    Have *take* called with each message of a durable consumer, as FastStream calls it.

    Args:
        broker: Its graceful_timeout is how long *take* has when the application ends.

        take: Has a parameter ``message``, whose default is ``Context("message")``. It settles it.

        stream: The stream's name.

        config: Of a consumer that is there when the application starts.

        concurrency: Messages that are held at once, at most.
    """
    for _ in range(concurrency):
        # One message each. FastStream's own way to work on several at once holds as many again
        # that nobody works on, and so tells nobody of, and drops them when it ends.
        subscriber = broker.subscriber(
            str(config.filter_subject),
            stream=JStream(stream, declare=False),
            durable=config.durable_name,
            config=config,
            pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            include_in_schema=False,
        )
        subscriber(take, decoder=raw)
