"""
Payment events from NATS JetStream, in a FastStream application.

``python faststream_app.py nats://127.0.0.1:4222``; the key is read from CAREVALIDATE_API_KEY, and
CAREVALIDATE_ENVIRONMENT or CAREVALIDATE_BASE_URL says where payments go. Events are published to
``payments.taken``, each a payment's fields as JSON.

A payment is recorded once however often its event is delivered, and whoever dies meanwhile. SIGTERM
lets it finish what it holds; when the key is refused it ends with status 1 and says so, and the
queue stays as it is.
"""

from __future__ import annotations

import asyncio
import sys

from faststream import FastStream
from faststream.nats import NatsBroker

from carevalidate_async import CareValidate
from carevalidate_async.events import ConfirmHandler
from carevalidate_async.integrations.faststream.nats import JetStreamPayments


async def main(url: str) -> str | None:
    """Consume until told to end; return why it ended by itself, None where it did not."""
    broker = NatsBroker(url, graceful_timeout=75)  # longer than a call takes
    async with CareValidate() as care:
        payments = JetStreamPayments(
            broker,
            ConfirmHandler(care, attempts=1),  # so that each sets the pace
            stream="PAYMENTS",
            subject="payments.taken",
            dead="payments.dead",
            results="payments.confirmed",
            concurrency=64,
        )
        await FastStream(broker, on_startup=[payments.provision]).run()
        return payments.consumer.stopped_by


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
