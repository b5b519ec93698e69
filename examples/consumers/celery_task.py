"""
Confirms payments in a Celery task, with RabbitMQ as the broker.

``CAREVALIDATE_API_KEY=... celery --workdir examples/consumers -A celery_task worker -c 8``

A publisher calls ``confirm.delay("record-1", b'{"caseId": ...}', time.time())``: an id for people,
the payment as JSON, and when it was published. Dead letters go to the queue ``payments.dead``, as
messages that are no tasks. Each process of the pool asks for one payment at a time. Several workers
of one machine need a name each (``-n``).

Guaranteed: each payment is on record once, or its message is in one of the two queues, whoever is
killed, a process of the pool or the whole worker. SIGTERM ends the worker with status 0 once the
tasks that run have ended. It ends with status 1 when the key is refused.

Not guaranteed: order, and that a dead letter is published only once. A worker may keep a message of
a process that was killed until it ends itself. And none of this holds with Redis: Celery takes a
message off Redis first and notes then that it has it, so who is killed in between loses it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from celery import Celery
from celery.exceptions import Reject, WorkerShutdown
from celery.signals import worker_init, worker_process_init, worker_process_shutdown
from celery.worker.control import control_command
from kombu import Queue

from carevalidate_async import CareValidate, ConfigurationError
from carevalidate_async.events import Action, ConfirmHandler, Decision, Event
from carevalidate_async.integrations import letters

if TYPE_CHECKING:
    from celery import Task

URL = os.environ.get("CELERY_BROKER_URL", "amqp://guest:guest@127.0.0.1//")
NAME = os.environ.get("PAYMENTS", "payments")
AFTER_AN_ERROR = 30.0  # seconds
LONGEST = 900.0  # seconds; a worker holds what is to come later, and RabbitMQ gives it half an hour

logger = logging.getLogger("payments")
dead = Queue(f"{NAME}.dead")
# What Celery itself gives up, such as a task that it does not know, goes there, too.
gives_up = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
app = Celery(broker=URL)
app.conf.update(
    task_default_queue=NAME,
    task_queues=[Queue(NAME, queue_arguments=gives_up)],
    task_acks_late=True,  # by default a message is acknowledged before its task runs
    task_reject_on_worker_lost=True,  # by default that of a process that was killed is, too
    task_acks_on_failure_or_timeout=False,  # by default that of a task that failed is, too
    worker_prefetch_multiplier=1,  # by default a worker holds four for each that it works on
    broker_transport_options={"confirm_publish": True},  # by default nobody waits for an answer
)


class Process:
    """The event loop of a process of the pool, in a thread, and its client."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._care = CareValidate()
        self._handler = ConfirmHandler(self._care)

    def decide(self, event: Event) -> Decision:
        """Ask for a payment."""
        return asyncio.run_coroutine_threadsafe(self._handler(event), self._loop).result()

    def close(self) -> None:
        """Close the client."""
        asyncio.run_coroutine_threadsafe(self._care.aclose(), self._loop).result()


@functools.cache
def process() -> Process:
    """Return what this process has."""
    return Process()


@worker_init.connect
def check(**_: object) -> None:
    """See that there is a key, and a queue for dead letters."""
    try:
        CareValidate()
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    with app.connection_for_write() as connection:
        dead.bind(connection.default_channel).declare()


@worker_process_init.connect
def begin(**_: object) -> None:
    """Make a client for this process: what was made before the fork is of no use in it."""
    process()


@worker_process_shutdown.connect
def end(**_: object) -> None:
    """Close it."""
    process().close()


@control_command()
def stop_paying(_: object, reason: str) -> None:
    """End the worker as SIGTERM does, with status 1."""
    logger.error("taking no further message: %s", reason)
    raise WorkerShutdown(1)


@app.task(name="payments.confirm", bind=True, max_retries=None, ignore_result=True)
def confirm(self: Task, event_id: str, payment: bytes, published: float) -> None:
    """Put a payment on record; by default it would be given up after three retries."""
    event = Event(
        id=event_id,
        data=payment,
        attempt=self.request.retries + 1,
        in_doubt=bool(self.request.delivery_info.get("redelivered")) or None,
        age=time.time() - published,
    )
    delay = AFTER_AN_ERROR
    try:
        decision = process().decide(event)
        delay = decision.delay
        if letters.is_letter(decision):
            headers = letters.dead_headers(event, decision, source=NAME)
            with app.producer_pool.acquire(block=True) as producer:
                producer.publish(payment, headers=headers, routing_key=dead.name, declare=[dead])
        elif decision.action is Action.STOP:
            reason = {"reason": decision.reason}
            app.control.broadcast("stop_paying", reason, [self.request.hostname])
        if decision.action not in {Action.RETRY, Action.STOP}:
            return  # and acknowledge it
    except Exception:
        logger.exception("%s comes again", event_id)
    try:
        raise self.retry(countdown=min(delay, LONGEST))
    except Reject as error:  # the copy was not published, and Celery would drop the message
        raise Reject(error.reason, requeue=True) from None
