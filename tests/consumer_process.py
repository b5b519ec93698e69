"""
A consumer of payment events, as a service would run it: started, killed and ended by the tests.

``python consumer_process.py BROKER BROKER_URL BASE_URL NAME [random]``; with ``random`` each
delivery gets a key of its own, which nobody should do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from typing import TYPE_CHECKING, Any

from faststream import FastStream

from carevalidate_async import CareValidate
from carevalidate_async.events import ConfirmHandler

if TYPE_CHECKING:
    from carevalidate_async import PaymentConfirmation
    from carevalidate_async.events import Event

CONCURRENCY = 32
ACK_WAIT = 3.0  # short, so that a test need not wait long for what a killed process held
DELAYS = (0.25, 1.0, 2.0)


def random_key(_: Event, __: PaymentConfirmation) -> str:
    """Return what makes each delivery a payment of its own."""
    return str(uuid.uuid4())


def jetstream(url: str, handler: ConfirmHandler, name: str) -> tuple[Any, Any]:
    """Return a broker, and what takes its messages."""
    from faststream.nats import NatsBroker

    from carevalidate_async.integrations.faststream.nats import JetStreamPayments

    broker = NatsBroker(url, graceful_timeout=20, logger=None, reconnect_time_wait=1)
    payments = JetStreamPayments(
        broker,
        handler,
        stream=name,
        subject=f"{name}.taken",
        dead=f"{name}.dead",
        results=f"{name}.done",
        concurrency=CONCURRENCY,
        ack_wait=ACK_WAIT,
    )
    return broker, payments


def rabbit(url: str, handler: ConfirmHandler, name: str) -> tuple[Any, Any]:
    """Return a broker, and what takes its messages."""
    from faststream.rabbit import RabbitBroker

    from carevalidate_async.integrations.faststream.rabbit import RabbitPayments

    broker = RabbitBroker(url, graceful_timeout=20, logger=None)
    payments = RabbitPayments(
        broker,
        handler,
        queue=name,
        dead=f"{name}.dead",
        results=f"{name}.done",
        concurrency=CONCURRENCY,
        delays=DELAYS,
    )
    return broker, payments


def redis(url: str, handler: ConfirmHandler, name: str) -> tuple[Any, Any]:
    """Return a broker, and what takes its messages."""
    from faststream.redis import RedisBroker

    from carevalidate_async.integrations.faststream.redis import RedisPayments

    broker = RedisBroker(url, graceful_timeout=20, logger=None)  # type: ignore[arg-type]  # it may be
    payments = RedisPayments(
        broker,
        handler,
        stream=name,
        dead=f"{name}.dead",
        results=f"{name}.done",
        concurrency=CONCURRENCY,
        min_idle=ACK_WAIT,
    )
    return broker, payments


def kafka(url: str, handler: ConfirmHandler, name: str) -> tuple[Any, Any]:
    """Return a broker, and what takes its messages."""
    from faststream.kafka import KafkaBroker

    from carevalidate_async.integrations.faststream.kafka import KafkaPayments

    broker = KafkaBroker(url, graceful_timeout=20, logger=None, enable_idempotence=True)
    payments = KafkaPayments(
        broker,
        handler,
        topic=name,
        dead=f"{name}.dead",
        results=f"{name}.done",
        concurrency=CONCURRENCY,
        session_timeout_ms=round(ACK_WAIT * 1000),
        heartbeat_interval_ms=round(ACK_WAIT * 300),
    )
    return broker, payments


BROKERS = {"jetstream": jetstream, "kafka": kafka, "rabbit": rabbit, "redis": redis}


async def main(kind: str, url: str, base_url: str, name: str, *options: str) -> str | None:
    """Consume until told to end; return why it ended by itself."""
    async with CareValidate(base_url=base_url, attempt_timeout=1.0) as care:
        key = random_key if "random" in options else None
        handler = ConfirmHandler(care, key=key, first_delay=0.2, max_delay=2.0)
        broker, payments = BROKERS[kind](url, handler, name)
        app = FastStream(broker, logger=None, on_startup=[payments.provision])
        await app.run()
        stopped_by: str | None = payments.consumer.stopped_by
        return stopped_by


if __name__ == "__main__":
    logging.getLogger("carevalidate_async").setLevel(logging.ERROR)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
