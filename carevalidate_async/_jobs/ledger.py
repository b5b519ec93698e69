"""The broker: a connection to it, what there must be on it, and what it has of a job."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.js.api import Header, KeyValueConfig, RetentionPolicy, StorageType

from carevalidate_async._jobs.messages import (
    JOBS,
    OUT,
    OUT_SUBJECTS,
    WORK,
    WORK_SUBJECTS,
    Job,
    out_subject,
)
from carevalidate_async.integrations.jetstream import provide_stream, stream_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

DURABLE = "workers"
"""Name of the consumer that all workers share."""

CONNECT_SECONDS = 10.0
"""How long a broker has to answer at first. Later on it is waited for, however long."""

ASKED_AT_ONCE = 1024
"""Messages that may be on their way to the broker."""


FULL = 10077
"""err_code of a stream that cannot take a message, for whatever reason."""

_NOT_LAST = frozenset({10071, 10164})  # err_codes


def after(last: int) -> dict[str, str]:
    """Return headers of a message that is to follow that one of its subject; 0 for none."""
    return {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(last)}


def is_there(error: BaseException) -> bool:
    """Tell whether a row was refused since it waits already."""
    if not isinstance(error, nats.js.errors.APIError) or error.err_code != FULL:
        return False
    return "per subject" in (error.description or "")


def is_late(error: BaseException) -> bool:
    """Tell whether a message was refused since another one of its subject came before."""
    return isinstance(error, nats.js.errors.APIError) and error.err_code in _NOT_LAST


class BrokerError(Exception):
    """The broker is not there, or not as it must be; the message says why."""


class OtherEnqueuerError(BrokerError):
    """Another process queues the same job."""


def connection_options(note: Callable[[str], None]) -> dict[str, Any]:
    """Return options for a connection that outlives the broker's restarts; *note* tells of them."""

    async def away() -> None:
        note("the broker is away; waiting for it")

    async def back() -> None:
        note("the broker is back")

    async def trouble(_: Exception) -> None:
        """Keep quiet: what fails is raised where it was asked for."""

    return {
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 1,
        "disconnected_cb": away,
        "reconnected_cb": back,
        "error_cb": trouble,
    }


def shown(url: str) -> str:
    """Return a broker's URL without what it is opened with."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{where}"


def check_url(url: str) -> None:
    """
    Refuse what is no URL of a NATS server.

    Raises:
        BrokerError: It is not.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"nats", "tls", "ws", "wss"} and bool(parts.hostname)
        # A password with such a sign would end there, and the rest of it would be shown.
        good = good and not (parts.path.strip("/") or parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        told = "such as nats://127.0.0.1:4222; signs of a password are written as %23"
        raise BrokerError(f"--broker must be the URL of a NATS server, {told}")


async def check_broker(url: str) -> None:
    """
    See that a broker answers: a connection that waits for one that was there waits for any.

    Raises:
        BrokerError: Nobody answers there, or not as a NATS server does.
    """
    check_url(url)
    told: list[Exception] = []

    async def trouble(error: Exception) -> None:
        told.append(error)

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await nats.connect(
                url, allow_reconnect=False, max_reconnect_attempts=1, error_cb=trouble
            )
            await connection.close()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        why = told[0] if told else error
        # Its own words may repeat what the broker is opened with.
        words = getattr(why, "strerror", None) or type(why).__name__
        raise BrokerError(f"{shown(url)} does not answer as a NATS server: {words}") from None


@contextlib.asynccontextmanager
async def connected(url: str, note: Callable[[str], None]) -> AsyncIterator[JetStreamContext]:
    """
    Give JetStream at *url*; *note* tells when it is away, and back.

    Raises:
        BrokerError: Nobody answers there, or not as a NATS server with JetStream does.
    """
    await check_broker(url)
    quiet: list[bool] = []

    def tell(text: str) -> None:
        if not quiet:  # or it is this end that leaves
            note(text)

    connection = await nats.connect(url, **connection_options(tell))
    try:
        yield connection.jetstream()
    finally:
        quiet.append(True)
        with contextlib.suppress(nats.errors.Error, OSError):
            await connection.close()


class Ledger:
    """
    What the broker has of jobs.

    Attributes:
        js: JetStream.

        records: The bucket of jobs.
    """

    def __init__(self, js: JetStreamContext, records: KeyValue) -> None:
        self.js = js
        self.records = records

    @classmethod
    async def open(cls, js: JetStreamContext) -> Ledger:
        """
        See that there is what jobs need.

        Raises:
            MismatchError: Something of it is there, with other settings.

            BrokerError: The server has no JetStream.
        """
        try:
            await provide_stream(
                js,
                stream_config(
                    WORK,
                    [WORK_SUBJECTS],
                    retention=RetentionPolicy.WORK_QUEUE,
                    max_msgs_per_subject=1,  # a row waits once
                    discard_new_per_subject=True,
                ),
            )
            await provide_stream(js, stream_config(OUT, [OUT_SUBJECTS], max_msgs_per_subject=1))
            wanted = KeyValueConfig(bucket=JOBS, history=1, storage=StorageType.FILE)
            try:
                records = await js.key_value(JOBS)
            except nats.js.errors.BucketNotFoundError:
                records = await js.create_key_value(wanted)
        except nats.js.errors.ServiceUnavailableError:
            raise BrokerError("the server has no JetStream; start it with -js") from None
        return cls(js, records)

    async def job(self, name: str) -> tuple[Job, int] | None:
        """Return a job's record, and its revision; None where there is no such job."""
        try:
            entry = await self.records.get(f"job.{name}")
        except nats.js.errors.KeyNotFoundError:
            return None
        return msgspec.json.decode(entry.value or b"", type=Job), int(entry.revision or 0)

    async def record(self, name: str) -> Job:
        """
        Return the record of a job that is there.

        Raises:
            BrokerError: It is not.
        """
        found = await self.job(name)
        if found is None:
            raise BrokerError(f"the job {name} was deleted")
        return found[0]

    async def forget(self, name: str) -> None:
        """Remove all that the broker has of a job."""
        token = (await self.record(name)).token(name)
        # The record first: without it nobody takes the rest for a job without results. Purged,
        # rather than a mark put in its place.
        for key in (f"job.{name}", f"target.{token}"):
            await self.js.purge_stream(f"KV_{JOBS}", subject=f"$KV.{JOBS}.{key}")
        await self.js.purge_stream(OUT, subject=out_subject(token, ">"))

    async def names(self) -> list[str]:
        """Return the names of all jobs."""
        subjects = f"$KV.{JOBS}.job.*"
        info = await self.js.stream_info(f"KV_{JOBS}", subjects_filter=subjects)
        return sorted(subject.rpartition(".")[2] for subject in info.state.subjects or ())

    async def put(self, name: str, job: Job, revision: int) -> int:
        """
        Write a job's record over the one of that revision, 0 for none; return the new one's.

        Raises:
            OtherEnqueuerError: Somebody else has written one.
        """
        body = msgspec.json.encode(job)
        try:
            return await self.records.update(f"job.{name}", body, last=revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            raise OtherEnqueuerError(f"the job {name} is being queued by another process") from None

    async def bind(self, token: str, target: str) -> str:
        """Return the origin that a job's payments go to: *target*, unless it has one."""
        key = f"target.{token}"
        with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
            await self.records.create(key, target.encode())
            return target
        return ((await self.records.get(key)).value or b"").decode()

    async def target(self, token: str) -> str | None:
        """Return the origin that a job's payments go to; None while nobody works on it."""
        try:
            return ((await self.records.get(f"target.{token}")).value or b"").decode()
        except nats.js.errors.KeyNotFoundError:
            return None
