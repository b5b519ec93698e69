"""
Payment events on NATS JetStream: what there must be, and how a message is settled.

For loops on nats-py itself, and for what FastStream and the worker of `carevalidate` build on it.

What must be there is made where it is missing, and looked at where it is not: JetStream leaves an
existing consumer as it is, whatever a program asks for, and with other settings payments would be
given up or asked for twice as often.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from carevalidate_async._extra import needs

with needs("nats"):
    import nats.errors
    from nats.js.api import (
        AckPolicy,
        ConsumerConfig,
        DeliverPolicy,
        DiscardPolicy,
        RetentionPolicy,
        StorageType,
        StreamConfig,
    )
    from nats.js.errors import BadRequestError, NotFoundError

from carevalidate_async.events import Event
from carevalidate_async.integrations.letters import (
    age_of,
    dead_headers,
    in_doubt,
    is_letter,
    is_result,
    result_body,
)
from carevalidate_async.integrations.mismatch import MismatchError

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from carevalidate_async.events import Decision

__all__ = [
    "ACK_WAIT",
    "MAX_ACK_PENDING",
    "JetStreamDelivery",
    "MismatchError",
    "consumer_config",
    "provide_consumer",
    "provide_stream",
    "stream_config",
]

ACK_WAIT = 30.0
"""Seconds without a word after which JetStream delivers a message again."""

MAX_ACK_PENDING = 10_000
"""Messages that may be held or wait for their next delivery, by all consumers together."""

MAX_WAITING = 65_536
"""Requests for messages that may wait; each of a consumer's tasks has one."""

PUBLISH_TIMEOUT = 10.0
"""Seconds that JetStream has to say that it has a message."""


def stream_config(
    name: str,
    subjects: list[str],
    *,
    retention: RetentionPolicy = RetentionPolicy.LIMITS,
    **settings: Any,  # noqa: ANN401 - whatever nats-py knows
) -> StreamConfig:
    """
    Return a stream that loses nothing by itself: on disk, and full rather than forgetful.

    Args:
        name: The stream's.

        subjects: What it takes.

        retention: When messages go; `RetentionPolicy.WORK_QUEUE`: once they are acknowledged.

        settings: Further ones of nats-py's StreamConfig, such as ``max_bytes`` and
            ``num_replicas``.
    """
    chosen = {"storage": StorageType.FILE, "discard": DiscardPolicy.NEW, **settings}
    return StreamConfig(name=name, subjects=subjects, retention=retention, **chosen)


def consumer_config(
    durable: str,
    subject: str,
    *,
    ack_wait: float = ACK_WAIT,
    max_ack_pending: int = MAX_ACK_PENDING,
) -> ConsumerConfig:
    """
    Return a durable pull consumer that gives nothing up.

    Args:
        durable: Its name. All processes share it.

        subject: What it takes.

        ack_wait: Seconds without a word after which a message is delivered again.

        max_ack_pending: Messages that may be held, or wait for their next delivery, by all
            processes together; above it none is delivered.
    """
    return ConsumerConfig(
        durable_name=durable,
        filter_subject=subject,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=max_ack_pending,
        max_waiting=MAX_WAITING,
    )


async def provide_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    """
    Make the stream *wanted*, or see that the one that is there is like it.

    Its bounds, its replicas and how long it keeps messages may differ: they are its operator's.

    Raises:
        MismatchError: It is there, and is not like it.
    """
    name = str(wanted.name)
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        try:
            await js.add_stream(wanted)
        except BadRequestError:  # another process was faster
            found = (await js.stream_info(name)).config
        else:
            return
    differences = _differences(
        wanted,
        found,
        ("retention", "discard_new_per_subject", "max_msgs_per_subject", "storage"),
    )
    missing = sorted(set(wanted.subjects or ()) - set(found.subjects or ()))
    differences += [f"it does not take {subject}" for subject in missing]
    # nats-py gives what it was answered as plain text, which is equal to its constants.
    if wanted.retention == RetentionPolicy.WORK_QUEUE and found.discard != DiscardPolicy.NEW:
        differences.append("it drops its oldest messages when it is full (discard old)")
    if found.no_ack:
        differences.append("it does not say whether it has a message (no_ack)")
    if differences:
        raise MismatchError(f"stream {name}", tuple(differences))


async def provide_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> None:
    """
    Make the durable consumer *wanted*, or see that the one that is there is like it.

    Raises:
        MismatchError: It is there, and is not like it.
    """
    name = str(wanted.durable_name)
    try:
        found = (await js.consumer_info(stream, name)).config
    except NotFoundError:
        try:
            # It fails where another process has made one with other settings meanwhile.
            await js.add_consumer(stream, wanted)
        except BadRequestError:
            found = (await js.consumer_info(stream, name)).config
        else:
            return
    differences = _differences(
        wanted,
        found,
        ("filter_subject", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending"),
    )
    if found.deliver_subject is not None:
        differences.append("it pushes messages, and they are to be fetched")
    if differences:
        raise MismatchError(f"consumer {name} of stream {stream}", tuple(differences))


def _differences(wanted: object, found: object, names: tuple[str, ...]) -> list[str]:
    told = []
    for name in names:
        want, have = getattr(wanted, name), getattr(found, name)
        if want != have:
            told.append(f"{name} is {_shown(have)}, not {_shown(want)}")
    return told


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))


class JetStreamDelivery:
    """
    A message of JetStream; a `carevalidate_async.consumer.Delivery`.

    Args:
        message: As nats-py fetched it.

        js: Publishes.

        dead: Subject that dead letters go to.

        results: Subject that results go to; None for nowhere.

    Attributes:
        event: The payment event that it brings.
    """

    def __init__(
        self, message: Msg, js: JetStreamContext, *, dead: str, results: str | None = None
    ) -> None:
        self._message = message
        self._js = js
        self._dead = dead
        self._results = results
        meta = message.metadata
        # Whatever waited long before its first delivery was not asked for meanwhile; of a later one
        # only its publication is known.
        first = meta.num_delivered == 1
        since = time.time() if first else meta.timestamp.timestamp()
        self.event: Event = Event(
            id=f"{meta.stream}:{meta.sequence.stream}",
            data=message.data,
            attempt=meta.num_delivered,
            in_doubt=in_doubt(message.headers),
            age=age_of(message.headers, since),
        )

    async def extend(self) -> None:
        """Let JetStream wait from now on anew."""
        await self._message.in_progress()

    async def publish(self, decision: Decision) -> None:
        """Publish a result or a dead letter; wait until JetStream has it."""
        # A second delivery's is dropped by the stream, as long as it remembers the first one's. The
        # moment, since a stream that was made anew counts from 1 again.
        moment = self._message.metadata.timestamp.timestamp()
        marks = {"Nats-Msg-Id": f"{decision.action}:{self.event.id}:{moment}"}
        if is_result(decision) and self._results is not None:
            body = result_body(self.event, decision)
            await self._js.publish(self._results, body, headers=marks, timeout=PUBLISH_TIMEOUT)
        elif is_letter(decision):
            headers = dead_headers(
                self.event,
                decision,
                source=self._message.subject,
                original=_kept(self._message.headers),
            )
            await self._js.publish(
                self._dead,
                self._message.data,
                headers={**headers, **marks},
                timeout=PUBLISH_TIMEOUT,
            )

    async def ack(self) -> None:
        """Acknowledge it, and wait until JetStream has heard."""
        try:
            await self._message.ack_sync(timeout=PUBLISH_TIMEOUT)
        except nats.errors.TimeoutError:
            # Nobody heard; it comes again, and is found on record.
            return

    async def retry(self, delay: float) -> None:
        """Have it delivered again after so many seconds."""
        await self._message.nak(delay=delay)

    async def give_back(self) -> None:
        """Have it delivered again at once."""
        await self._message.nak()


def _kept(headers: dict[str, str] | None) -> dict[str, str]:
    """Return the headers that are its publisher's, and not a server's."""
    return {n: v for n, v in (headers or {}).items() if not n.lower().startswith("nats-")}
