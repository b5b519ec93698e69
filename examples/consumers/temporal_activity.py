"""
Confirms a payment in an activity of Temporal.

``CAREVALIDATE_API_KEY=... TEMPORAL=127.0.0.1:7233 python examples/consumers/temporal_activity.py``

Who takes a payment starts the workflow `ConfirmPayment` with it: JSON, in bytes. The workflow's
result is JSON, too. It fails where a person has to look: with ``dead`` (the payment surely is not
on record) or ``park`` (it may be); the failure's details have the key.

Guaranteed: each payment is on record once, or its workflow runs or has failed, whoever is killed.
SIGTERM ends the worker with status 0 once its activities have ended; those that have not after
``DRAIN`` seconds are tried again. It ends with status 1 when the key is refused.

Not guaranteed: anything of a workflow that was terminated or cancelled, and ``dead`` of one that
was reset or started once more: attempts count from 1 again, so nobody knows of those before.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from carevalidate_async import CareValidate
    from carevalidate_async.events import Action, ConfirmHandler, Event
    from carevalidate_async.integrations import letters

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = os.environ.get("TEMPORAL", "127.0.0.1:7233")
QUEUE = os.environ.get("PAYMENTS", "payments")
CONCURRENCY = int(os.environ.get("CONCURRENCY", "64"))
DRAIN = float(os.environ.get("DRAIN", "25"))
HEARTBEAT = 30.0  # seconds without a word after which Temporal tries an activity again


class Payments:
    """What has the activity."""

    def __init__(self, handler: ConfirmHandler, on_stop: Callable[[str], None]) -> None:
        self._handler = handler
        self._on_stop = on_stop

    @activity.defn
    async def confirm_payment(self, payment: bytes) -> str:
        """Put a payment on record; return what is known of it."""
        info = activity.info()
        event = Event(
            id=f"{info.workflow_id}:{info.activity_id}",
            data=payment,
            attempt=info.attempt,
            age=time.time() - info.scheduled_time.timestamp(),  # when the first one was
        )
        beating = asyncio.create_task(beat())
        try:
            decision = await self._handler(event)
        finally:
            beating.cancel()
        if letters.is_result(decision):
            return letters.result_body(event, decision).decode()
        if decision.action is Action.STOP:
            self._on_stop(decision.reason)
        raise ApplicationError(
            decision.reason,
            decision.key,
            type=str(decision.action),
            non_retryable=letters.is_letter(decision),
            next_retry_delay=timedelta(seconds=decision.delay),
        )


async def beat() -> None:
    """Say now and then that the activity is worked on."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT / 3)


@workflow.defn
class ConfirmPayment:
    """One payment."""

    @workflow.run
    async def run(self, payment: bytes) -> str:
        """Have it put on record, however often that takes."""
        # No schedule_to_close_timeout, and no end of attempts: either would fail a workflow whose
        # payment is on its way.
        return await workflow.execute_activity_method(
            Payments.confirm_payment,
            payment,
            start_to_close_timeout=timedelta(
                minutes=5
            ),  # of an attempt: more than the client needs
            heartbeat_timeout=timedelta(
                seconds=HEARTBEAT
            ),  # by default a killed worker is not seen
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=30)),
        )


async def main() -> str | None:
    """Work until told to end; return why it ended by itself."""
    stop = asyncio.Event()
    reasons: list[str] = []

    def on_stop(reason: str) -> None:
        reasons.append(reason)
        stop.set()

    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    client = await Client.connect(SERVER)
    async with CareValidate() as care:
        payments = Payments(ConfirmHandler(care), on_stop)
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[ConfirmPayment],
            activities=[payments.confirm_payment],
            max_concurrent_activities=CONCURRENCY,
            graceful_shutdown_timeout=timedelta(
                seconds=DRAIN
            ),  # by default activities are cancelled
        )
        async with worker:
            await stop.wait()
    return reasons[0] if reasons else None


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
