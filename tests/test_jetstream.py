from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.js.api import RetentionPolicy
from nats.js.errors import NotFoundError

from brokers import NatsServer
from carevalidate_async import CareValidate
from carevalidate_async.events import Action, ConfirmHandler, Event, read_payment
from carevalidate_async.integrations.faststream.nats import JetStreamPayments
from carevalidate_async.integrations.jetstream import (
    JetStreamDelivery,
    MismatchError,
    consumer_config,
    provide_consumer,
    provide_stream,
    stream_config,
)
from carevalidate_async.integrations.letters import BEGAN, IN_DOUBT
from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.js import JetStreamContext


EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "consumers" / "faststream_app.py"


def body(number: int, **fields: Any) -> bytes:
    return json.dumps(
        {
            "caseId": f"case-{number}",
            "amount": "1.50",
            "paymentDate": "2026-11-02",
            "validUntil": "2026-12-02",
            "status": "PAID",
            **fields,
        }
    ).encode()


@pytest.fixture
async def url(tmp_path: pathlib.Path) -> AsyncIterator[str]:
    with NatsServer(tmp_path / "streams") as server:
        yield server.url


@pytest.fixture
async def js(url: str) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(url)
    yield connection.jetstream()
    await connection.close()


@contextlib.asynccontextmanager
async def consuming(
    url: str, care: CareValidate, **options: Any
) -> AsyncIterator[JetStreamPayments]:
    """Run an application that confirms payments."""
    handler = options.pop("handler", None) or ConfirmHandler(care, first_delay=0.2)
    broker = NatsBroker(url, graceful_timeout=20, logger=None)
    chosen: dict[str, Any] = {"concurrency": 4, "ack_wait": 2.0, **options}
    payments = JetStreamPayments(
        *(broker, handler),
        stream="PAY",
        subject="pay.taken",
        dead="pay.dead",
        results="pay.done",
        **chosen,
    )
    app = FastStream(broker, logger=None, on_startup=[payments.provision])
    running = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(10):
            while not (broker.running or running.done()):  # noqa: ASYNC110 - it gives no sign
                await asyncio.sleep(0.01)
        yield payments
    finally:
        app.exit()
        await running


async def until(condition: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def last(js: JetStreamContext, subject: str) -> Any:
    return await js.get_last_msg("PAY_OUT", subject)


class TestSettlement:
    async def test_result_and_dead_letter(self, url: str, js: JetStreamContext) -> None:
        """
        A payment that is on record has a result that names nobody; what is no payment is a dead
        letter, as it came, with the reason and its own headers.
        """
        async with (
            Sandbox(api_key="test") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
            consuming(url, care) as payments,
        ):
            await js.publish("pay.taken", body(1, email="patient@example.com"))
            await js.publish("pay.taken", b"{not json", headers={"trace": "t-1"})
            await until(lambda: sum(payments.consumer.consumption().decided.values()) == 2)
        done, dead = await last(js, "pay.done"), await last(js, "pay.dead")
        result = json.loads(done.data)

        assert sandbox.payments[0].idempotency_key == result["key"]
        assert ("PAY:1", "recorded", False) == (
            result["id"],
            result["outcome"],
            result["already_recorded"],
        )
        assert b"patient" not in done.data
        assert b"{not json" == dead.data
        assert ("t-1", "dead", "pay.taken") == tuple(
            dead.headers[name] for name in ("trace", "Carevalidate-Action", "Carevalidate-Source")
        )
        assert "is not one JSON object" in dead.headers["Carevalidate-Reason"]
        assert 0 == (await js.stream_info("PAY")).state.messages

    async def test_is_delivered_again_after_its_delay(self, url: str, js: JetStreamContext) -> None:
        """
        A payment in doubt is asked for again, after a while, under the same key, until it is on
        record.
        """
        async with (
            Sandbox(api_key="test") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            sandbox.script(Fault.ERROR_AFTER, Fault.ERROR_AFTER)  # both requests of a delivery
            async with consuming(url, care, adaptive=False) as payments:
                began = asyncio.get_running_loop().time()
                await js.publish("pay.taken", body(1))
                await until(lambda: payments.consumer.consumption().redelivered)
                took = asyncio.get_running_loop().time() - began
                await until(lambda: payments.consumer.consumption().decided[Action.ACK])
        result = json.loads((await last(js, "pay.done")).data)

        assert took >= 0.1
        assert 3 == sandbox.received
        assert 1 == len(sandbox.payments)
        assert (2, True) == (result["deliveries"], result["already_recorded"])

    async def test_one_that_takes_long_is_delivered_once(
        self, url: str, js: JetStreamContext
    ) -> None:
        """
        A message that is worked on for longer than JetStream waits is not given to another.
        """
        async with (
            Sandbox(api_key="test") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            sandbox.script(Fault.DELAY(seconds=3.5))
            async with consuming(url, care, ack_wait=1.0) as payments:
                await js.publish("pay.taken", body(1))
                await until(lambda: payments.consumer.consumption().decided[Action.ACK])

        assert 1 == sandbox.received
        assert 0 == payments.consumer.consumption().redelivered

    async def test_an_error_of_the_program_leaves_it_waiting(
        self, url: str, js: JetStreamContext
    ) -> None:
        """
        A message that the program cannot deal with is neither lost nor in the way of others.
        """

        def read(event: Event) -> Any:
            if b"case-1" in bytes(event.data):  # type: ignore[arg-type]
                raise ZeroDivisionError
            return read_payment(event)

        async with (
            Sandbox(api_key="test") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
            consuming(
                url, care, handler=ConfirmHandler(care, read=read), concurrency=1
            ) as payments,
        ):
            for number in (1, 2):
                await js.publish("pay.taken", body(number))
            await until(lambda: payments.consumer.consumption().failed == 1)
            await until(lambda: len(sandbox.payments) == 1)
        info = await js.consumer_info("PAY", "carevalidate")

        assert ["case-2"] == [payment.case_id for payment in sandbox.payments]
        assert (1, 1) == (info.num_ack_pending, (await js.stream_info("PAY")).state.messages)

    async def test_a_dead_letter_that_is_sent_once_more_is_in_doubt(
        self, url: str, js: JetStreamContext
    ) -> None:
        """
        A message that says that its payment may be on record, and since when, is believed: a
        refusal settles nothing then, and a key that is too old is not sent.
        """
        async with (
            Sandbox(api_key="test") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
            consuming(url, care) as payments,
        ):
            headers = {IN_DOUBT: "1", BEGAN: "1000"}
            await js.publish("pay.taken", body(1), headers=headers)
            await until(lambda: sum(payments.consumer.consumption().decided.values()) == 1)
        dead = await last(js, "pay.dead")

        assert 0 == sandbox.received
        assert "park" == dead.headers["Carevalidate-Action"]
        assert "too long ago" in dead.headers["Carevalidate-Reason"]


class TestAcknowledgement:
    async def test_that_nobody_heard_is_no_error(
        self, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        An acknowledgement that is not answered changes nothing: the message comes again, and its
        payment is found on record.
        """
        await js.add_stream(stream_config("PAY", ["pay.taken"]))
        await js.publish("pay.taken", body(1))
        sub = await js.pull_subscribe("pay.taken", durable="carevalidate")
        (message,) = await sub.fetch(1)

        async def unheard(**_: Any) -> Any:
            raise nats.errors.TimeoutError

        monkeypatch.setattr(message, "ack_sync", unheard)
        await JetStreamDelivery(message, js, dead="pay.dead").ack()
        info = await js.consumer_info("PAY", "carevalidate")

        assert 1 == info.num_ack_pending


class TestStop:
    async def test_a_refused_key_ends_the_application(self, url: str, js: JetStreamContext) -> None:
        """
        When the vendor refuses the key, the application ends and says so; no message is lost, and
        none is a dead letter.
        """
        told: list[str] = []
        async with (
            Sandbox(api_key="new") as sandbox,
            CareValidate("old", base_url=sandbox.url) as care,
            consuming(url, care, on_stop=told.append) as payments,
        ):
            for number in range(30):
                await js.publish("pay.taken", body(number))
            await until(lambda: told)
        with pytest.raises(NotFoundError):
            await last(js, "pay.dead")

        assert ["the vendor refuses the API key (401 AuthenticationError)"] == told
        assert told[0] == payments.consumer.stopped_by
        assert 30 == (await js.stream_info("PAY")).state.messages
        assert sandbox.received <= 4  # those that were under way


@pytest.mark.deep
class TestExample:
    @pytest.mark.parametrize(("key", "status"), [("test", 0), ("old", 1)])
    async def test_application(
        self, url: str, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch, key: str, status: int
    ) -> None:
        """
        The application of the examples confirms what is published, and ends when told to; with a
        key that is refused it ends by itself, and says so.
        """
        monkeypatch.setenv("CAREVALIDATE_API_KEY", key)
        async with Sandbox(api_key="test") as sandbox:
            monkeypatch.setenv("CAREVALIDATE_BASE_URL", sandbox.url)
            command = [sys.executable, str(EXAMPLE), url]
            process = subprocess.Popen(  # noqa: ASYNC220 - at once
                command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            async with asyncio.timeout(20):
                while True:  # until the application has made its streams
                    with contextlib.suppress(nats.js.errors.NoStreamResponseError):
                        await js.publish("payments.taken", body(1))
                        break
            if not status:
                await until(lambda: sandbox.payments)
                process.send_signal(signal.SIGTERM)
            _, said = await asyncio.to_thread(process.communicate)

        assert status == process.returncode, said[-2000:]
        assert (1 - status) == len(sandbox.payments)
        assert (b"the vendor refuses the API key" in said) is bool(status)


class TestProvision:
    async def test_makes_what_is_missing(self, url: str, js: JetStreamContext) -> None:
        """
        Streams that keep what they are given, and a consumer that never gives up, are made; made
        again, they are found as they must be.
        """
        work = stream_config("PAY", ["pay.taken"], retention=RetentionPolicy.WORK_QUEUE)
        wanted = consumer_config("carevalidate", "pay.taken")
        for _ in range(2):
            await provide_stream(js, work)
            await provide_consumer(js, "PAY", wanted)
        stream = (await js.stream_info("PAY")).config
        consumer = (await js.consumer_info("PAY", "carevalidate")).config

        assert ("workqueue", "file", "new") == (stream.retention, stream.storage, stream.discard)
        assert (-1, "explicit", 30.0) == (
            consumer.max_deliver,
            consumer.ack_policy,
            consumer.ack_wait,
        )

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"retention": RetentionPolicy.LIMITS}, "retention is limits, not workqueue"),
            ({"storage": "memory"}, "storage is memory, not file"),
            ({"discard": "old"}, r"drops its oldest messages when it is full"),
            ({"subjects": ["other"]}, "it does not take pay.taken"),
            ({"no_ack": True}, "does not say whether it has a message"),
        ],
        ids=["retention", "storage", "discard", "subjects", "no_ack"],
    )
    async def test_a_stream_that_loses_payments(
        self, js: JetStreamContext, changes: dict[str, Any], why: str
    ) -> None:
        """
        A stream that is there with settings under which payments could be lost is refused.
        """
        settings: dict[str, Any] = {"retention": RetentionPolicy.WORK_QUEUE, **changes}
        subjects = settings.pop("subjects", ["pay.taken"])
        await js.add_stream(stream_config("PAY", subjects, **settings))

        with pytest.raises(MismatchError, match=why):
            await provide_stream(
                js, stream_config("PAY", ["pay.taken"], retention=RetentionPolicy.WORK_QUEUE)
            )

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"ack_wait": 60.0}, "ack_wait is 60.0, not 30.0"),
            ({"max_deliver": 5}, "max_deliver is 5, not -1"),
            ({"max_ack_pending": 7}, "max_ack_pending is 7, not 10000"),
        ],
        ids=["ack_wait", "max_deliver", "max_ack_pending"],
    )
    async def test_a_consumer_with_other_settings(
        self, js: JetStreamContext, changes: dict[str, Any], why: str
    ) -> None:
        """
        A consumer that is there with other settings, which JetStream would keep without a word, is
        refused; the error names them.
        """
        await js.add_stream(stream_config("PAY", ["pay.taken"]))
        wanted = consumer_config("carevalidate", "pay.taken")
        await js.add_consumer("PAY", wanted.evolve(**changes))

        with pytest.raises(MismatchError, match=why) as caught:
            await provide_consumer(js, "PAY", wanted)
        assert "consumer carevalidate of stream PAY" in str(caught.value)

    async def test_a_consumer_that_pushes(self, js: JetStreamContext) -> None:
        """
        A consumer that pushes its messages is none to fetch from.
        """
        await js.add_stream(stream_config("PAY", ["pay.taken"]))
        wanted = consumer_config("carevalidate", "pay.taken")
        await js.add_consumer("PAY", wanted.evolve(deliver_subject="there", max_waiting=None))

        with pytest.raises(MismatchError, match="it pushes messages, and they are to be fetched"):
            await provide_consumer(js, "PAY", wanted)

    async def test_another_process_was_faster(
        self, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What another process has made meanwhile is looked at, too.
        """
        work = stream_config("PAY", ["pay.taken"], retention=RetentionPolicy.WORK_QUEUE)
        wanted = consumer_config("carevalidate", "pay.taken")

        asked: list[Any] = []

        async def late(*what: Any, **__: Any) -> Any:
            asked.append(what)
            raise nats.js.errors.BadRequestError(code=400)

        await js.add_stream(work)
        await js.add_consumer("PAY", wanted)
        for name in ("stream_info", "consumer_info"):
            found, calls = getattr(js, name), list[Any]()

            async def first_not(*what: Any, found: Any = found, calls: Any = calls) -> Any:
                calls.append(what)
                if len(calls) == 1:
                    raise NotFoundError
                return await found(*what)

            monkeypatch.setattr(js, name, first_not)
        monkeypatch.setattr(js, "add_stream", late)
        monkeypatch.setattr(js, "add_consumer", late)

        await provide_stream(js, work)
        await provide_consumer(js, "PAY", wanted)
        assert 2 == len(asked)  # and neither is an error

    async def test_streams_of_others_must_be_there(self, url: str, js: JetStreamContext) -> None:
        """
        Who brings streams of their own is told of a subject that none of them takes.
        """
        await js.add_stream(stream_config("PAY", ["pay.taken"]))
        broker = NatsBroker(url, logger=None)
        payments = JetStreamPayments(
            broker,
            ConfirmHandler(CareValidate("test", base_url="http://127.0.0.1:9")),
            stream="PAY",
            subject="pay.taken",
            dead="pay.dead",
            own_streams=False,
        )
        try:
            with pytest.raises(NotFoundError):
                await payments.provision()
        finally:
            await broker.stop()
