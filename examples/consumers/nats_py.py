"""
Confirms the payments that messages of NATS JetStream bring: a loop on nats-py, without a framework.

``CAREVALIDATE_API_KEY=... NATS_URL=nats://127.0.0.1:4222 python examples/consumers/nats_py.py``

An event is a message to ``payments.taken``: a payment as JSON. The stream ``payments`` keeps it
until it is settled, ``payments_OUT`` keeps results (``payments.done``) and dead letters
(``payments.dead``). What is missing is made. Run as many of these processes as you like.

Guaranteed: each payment is on record once, or its message is in the stream or a dead letter,
whoever is killed, a process or the server. SIGTERM ends it with status 0 once what is asked for has
been answered, or after ``DRAIN`` seconds. It ends with status 1 when the key is refused.

Not guaranteed: order, and that a result is published only once. What a killed process held comes
again after ``ACK_WAIT`` seconds. A server writes its disk now and then: against power cuts have
three replicas, or ``sync: always``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import nats
import nats.errors
from nats.js.api import RetentionPolicy
from nats.js.errors import APIError

from carevalidate_async import CareValidate
from carevalidate_async.consumer import Consumer
from carevalidate_async.events import ConfirmHandler
from carevalidate_async.integrations.jetstream import (
    JetStreamDelivery,
    consumer_config,
    provide_consumer,
    provide_stream,
    stream_config,
)

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
NAME = os.environ.get("PAYMENTS", "payments")
CONCURRENCY = int(os.environ.get("CONCURRENCY", "64"))
ACK_WAIT = float(os.environ.get("ACK_WAIT", "30"))
DRAIN = float(os.environ.get("DRAIN", "25"))
FETCH = 1.0  # seconds that a request for messages waits, and SIGTERM for it
SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger("payments")


async def main() -> str | None:
    """Consume until told to end; return why it ended by itself."""
    # By default it gives up two minutes after a server went away.
    connection = await nats.connect(URL, max_reconnect_attempts=-1)
    try:
        async with CareValidate() as care:
            consumer = Consumer(
                ConfirmHandler(care), concurrency=CONCURRENCY, extend_every=ACK_WAIT / 3
            )
            for sign in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(sign, consumer.stop, sign.name)
            js = connection.jetstream()
            await provide(js)
            await consume(js, consumer)
        with contextlib.suppress(nats.errors.Error):  # the server is away
            await connection.flush()
    finally:
        await connection.close()  # drain() would wait in vain for the consumer's subscription
    return None if consumer.stopped_by in {sign.name for sign in SIGNALS} else consumer.stopped_by


async def provide(js: JetStreamContext) -> None:
    """See that streams and consumer are there, and lose nothing by their settings."""
    events, out = f"{NAME}.taken", [f"{NAME}.dead", f"{NAME}.done"]
    await provide_stream(js, stream_config(NAME, [events], retention=RetentionPolicy.WORK_QUEUE))
    await provide_stream(js, stream_config(f"{NAME}_OUT", out))
    await provide_consumer(js, NAME, consumer_config("carevalidate", events, ack_wait=ACK_WAIT))


async def consume(js: JetStreamContext, consumer: Consumer) -> None:
    """Take messages until *consumer* is stopped, and then settle those that are held."""

    async def take(message: Msg) -> None:
        delivery = JetStreamDelivery(message, js, dead=f"{NAME}.dead", results=f"{NAME}.done")
        try:
            await consumer.take(delivery)
        except Exception:
            logger.exception("%s comes again", delivery.event.id)

    subscription = await js.pull_subscribe_bind("carevalidate", NAME)
    held: set[asyncio.Task[None]] = set()
    while consumer.stopped_by is None:
        # No more than can be begun: the time of the others would run while nobody extends it. It
        # may be fewer than none, where the answer to an earlier request was late.
        free = CONCURRENCY - len(held)
        if free <= 0:
            await asyncio.wait(held, timeout=FETCH, return_when=asyncio.FIRST_COMPLETED)
            continue
        messages: list[Msg] = []
        try:
            messages = await subscription.fetch(free, timeout=FETCH)
        except TimeoutError:
            pass  # there are none
        except APIError as error:
            logger.warning("no messages for now: %s", error)
            await asyncio.sleep(FETCH)
        for message in messages:
            task = asyncio.create_task(take(message))
            held.add(task)
            task.add_done_callback(held.discard)
    if held:
        _, late = await asyncio.wait(held, timeout=DRAIN)
        for task in late:
            task.cancel()  # its message comes again
        await asyncio.gather(*late, return_exceptions=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(asyncio.run(main()))
