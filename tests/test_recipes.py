from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import json
import os
import pathlib
import signal
import sys
import time
import types
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aio_pika
import nats.aio.client
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from celery import Celery
from celery.exceptions import Reject, Retry
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Replayer, Worker

from brokers import listens
from carevalidate_async import CareValidate, Outcome
from carevalidate_async.events import Action, ConfirmHandler, Decision, Event
from carevalidate_async.sandbox import Fault, Sandbox
from event_support import Relay, assert_each_once, bodies, cases, poison, settled, until
from recipe_support import (
    RECIPES,
    CeleryQueue,
    JetStream,
    Kafka,
    Rabbit,
    Runs,
    history,
    load,
    python,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Iterator

BROKERS: dict[str, Any] = {"nats": JetStream, "rabbit": Rabbit, "kafka": Kafka}
EACH = ["nats", "rabbit", pytest.param("kafka", marks=pytest.mark.deep)]
NO_RABBIT = "no RabbitMQ at 127.0.0.1:5672"


@pytest.fixture
async def queue(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    if request.param == "rabbit" and not listens(5672):
        pytest.skip(NO_RABBIT)
    async with BROKERS[request.param](tmp_path) as there:
        monkeypatch.setenv("PAYMENTS", there.name)
        for name, value in there.env.items():
            monkeypatch.setenv(name, value)
        yield there


@pytest.fixture
def runs(queue: Any, tmp_path: pathlib.Path) -> Iterator[Runs]:
    with Runs(python(queue.recipe), tmp_path / "log") as running:
        yield running


class TestLoops:
    @pytest.mark.deep
    @pytest.mark.parametrize("queue", ["nats", "rabbit"], indirect=True)
    async def test_each_payment_is_on_record_once_whoever_is_killed(
        self, queue: Any, runs: Runs
    ) -> None:
        """
        While faults meet a tenth of the requests and the process is killed, each payment is put on
        record exactly once, poison is in the dead letters, nothing is left, and SIGTERM ends the
        process with status 0.
        """
        events = 300
        async with Sandbox(fault_rate=0.1 / 11, seed=11, hang_seconds=0.2) as sandbox:
            await queue.publish(bodies(events))
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="16")
            await until(lambda: sandbox.received > events * 0.4)
            runs.kill(process)
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="16")
            await settled(queue, sandbox, quiet=0.5)
            assert 0 == await runs.end(process)

            await assert_each_once(queue, sandbox, events=events)

    @pytest.mark.deep
    @pytest.mark.parametrize("queue", ["kafka"], indirect=True)
    async def test_each_payment_is_on_record_once(self, queue: Any, runs: Runs) -> None:
        """
        While faults meet a tenth of the requests, each payment is put on record exactly once,
        poison is in the dead letters, all is committed, and SIGTERM ends it with status 0.
        """
        events = 100
        async with Sandbox(fault_rate=0.1 / 11, seed=11, hang_seconds=0.2) as sandbox:
            await queue.publish(bodies(events))
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="16")
            await settled(queue, sandbox)
            assert 0 == await runs.end(process)

            await assert_each_once(queue, sandbox, events=events)

    @pytest.mark.parametrize("queue", EACH, indirect=True)
    async def test_sigterm_waits_for_what_is_asked_for(self, queue: Any, runs: Runs) -> None:
        """
        At SIGTERM what is asked for is settled, so that it does not come again, and all else comes
        again.
        """
        events = bodies(41)[1:]
        # More than the second for which a loop may wait before it looks whether it is to end.
        async with Sandbox(faults={Fault.DELAY(seconds=1.5): 1.0}) as sandbox:
            await queue.publish(events)
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="8")
            await until(lambda: sandbox.received > 3)
            assert 0 == await runs.end(process)
            recorded = len(sandbox.payments)
            async with asyncio.timeout(10):
                while len(events) - recorded != await queue.left():  # noqa: ASYNC110 - no sign
                    await asyncio.sleep(0.1)

            assert 3 < recorded < len(events)
            assert recorded == sandbox.received

    @pytest.mark.parametrize("queue", EACH, indirect=True)
    async def test_a_refused_key_ends_it_and_loses_nothing(self, queue: Any, runs: Runs) -> None:
        """
        When the key is refused the process ends by itself, with status 1 and the reason, all
        messages are left, and their payments are put on record once the key is right.
        """
        events = bodies(21)[1:]
        await queue.publish(events)
        async with Sandbox(api_key="another") as refusing:
            assert 1 == await runs.ended(runs.start(CAREVALIDATE_BASE_URL=refusing.url))
        assert "the vendor refuses the API key (401" in runs.log.read_text()
        assert 0 < refusing.received
        assert len(events) == await queue.left()

        if isinstance(queue, Kafka):
            return  # whose stand-in takes ten seconds to let another one in
        async with Sandbox() as sandbox:
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url)
            await until(lambda: len(sandbox.payments) == len(events))
            await settled(queue, sandbox)
            assert 0 == await runs.end(process)
        assert len(events) == sandbox.received


class TestNats:
    @pytest.mark.parametrize("queue", ["nats"], indirect=True)
    async def test_what_is_held_is_not_delivered_again(self, queue: Any, runs: Runs) -> None:
        """
        While the vendor takes longer than the server waits for a word, no message comes again.
        """
        events = bodies(5)[1:]
        async with Sandbox(faults={Fault.DELAY(seconds=1.5): 1.0}) as sandbox:
            await queue.publish(events)
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, ACK_WAIT="0.6")
            await settled(queue, sandbox)
            assert 0 == await runs.end(process)

        assert len(events) == len(sandbox.payments) == sandbox.received

    @pytest.mark.deep
    @pytest.mark.parametrize("queue", ["nats"], indirect=True)
    async def test_it_outlives_the_server(self, queue: JetStream, runs: Runs) -> None:
        """
        When the server is killed and comes back, the process goes on, and each payment is put on
        record exactly once.
        """
        events = 100
        async with Sandbox(faults={Fault.DELAY(seconds=0.1): 1.0}) as sandbox:
            await queue.publish(bodies(events))
            runs.start(CAREVALIDATE_BASE_URL=sandbox.url, ACK_WAIT="1", CONCURRENCY="16")
            await until(lambda: sandbox.received > events * 0.3)
            queue.server.kill()
            await asyncio.sleep(0.5)
            queue.server.start()
            await settled(queue, sandbox)

            payments = Counter(payment.case_id for payment in sandbox.payments)
            assert dict.fromkeys(cases(events), 1) == payments


class TestRabbit:
    @pytest.mark.parametrize("queue", ["rabbit"], indirect=True)
    async def test_it_takes_no_more_than_it_works_on(self, queue: Rabbit, runs: Runs) -> None:
        """
        As many messages are delivered to it as payments are asked for at once, and from SIGTERM on
        none: all others wait in the queue, and were delivered to nobody.
        """
        async with Sandbox(faults={Fault.DELAY(seconds=0.6): 1.0}) as sandbox:
            await queue.publish(bodies(21)[1:])
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="4")
            await until(lambda: sandbox.received == 4)
            assert 16 == await queue.left()
            assert 0 == await runs.end(process)

        assert [False] * 16 == await queue.redelivered()

    @pytest.mark.deep
    @pytest.mark.parametrize("queue", ["rabbit"], indirect=True)
    async def test_a_lost_connection_ends_it(
        self, queue: Rabbit, runs: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        When its connection is cut the process ends with status 1, and another one puts on record
        once what is left.
        """
        events = bodies(100)[1:]
        async with Sandbox(faults={Fault.DELAY(seconds=0.1): 1.0}) as sandbox, Relay(5672) as relay:
            await queue.publish(events)
            monkeypatch.setenv("AMQP_URL", f"amqp://guest:guest@127.0.0.1:{relay.port}/")
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="16")
            await until(lambda: sandbox.received > 30)
            relay.cut()
            assert 1 == await runs.ended(process)
            assert "the connection is lost" in runs.log.read_text()
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url, CONCURRENCY="16")
            await settled(queue, sandbox, quiet=0.5)
            assert 0 == await runs.end(process)

            payments = Counter(payment.case_id for payment in sandbox.payments)
            assert dict.fromkeys(cases(100), 1) == payments
            assert 0 == await queue.left()

    @pytest.mark.parametrize("queue", ["rabbit"], indirect=True)
    async def test_a_dead_letter_that_no_queue_takes_is_not_lost(
        self, queue: Rabbit, runs: Runs
    ) -> None:
        """
        Where the queue of dead letters is gone, a message that should go there stays where it is.
        """
        async with Sandbox() as sandbox:
            await queue.publish([])
            process = runs.start(CAREVALIDATE_BASE_URL=sandbox.url)
            async with asyncio.timeout(10):
                while not await queue.is_read():  # noqa: ASYNC110 - it gives no sign
                    await asyncio.sleep(0.05)
            await queue.delete(f"{queue.name}.dead")
            await queue.publish_only(b"no payment")
            assert 1 == await runs.ended(process)

            assert 1 == await queue.left()


class Commits:
    """A consumer of Kafka's that has two partitions."""

    def __init__(self) -> None:
        self.committed: list[dict[TopicPartition, int]] = []

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("payments", 0), TopicPartition("payments", 1)}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed.append(offsets)


class TestKafkaCommit:
    @pytest.mark.parametrize(
        ("settled", "committed"),
        [
            ({0: [True, True, True]}, [{0: 13}]),
            ({0: [True, False, True], 1: [True, True, False]}, [{0: 11, 1: 12}]),
            ({0: [False, True, True]}, []),
            ({2: [True, True, True]}, []),
            ({1: [True, True, True], 2: [True, True, True]}, [{1: 13}]),
        ],
    )
    async def test_nothing_that_is_not_settled_is_committed(
        self, settled: dict[int, list[bool]], committed: list[dict[int, int]]
    ) -> None:
        """
        A partition is committed up to its first record that is not settled, and one that others
        have meanwhile is not.
        """
        kafka = Commits()
        batch = {
            TopicPartition("payments", part): [
                types.SimpleNamespace(offset=10 + place, settled=is_settled)
                for place, is_settled in enumerate(flags)
            ]
            for part, flags in settled.items()
        }

        await load("kafka_batches").commit(batch, kafka)

        told = [{TopicPartition("payments", p): at for p, at in each.items()} for each in committed]
        assert told == kafka.committed


@pytest.fixture
async def celery(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    if not listens(5672):
        pytest.skip(NO_RABBIT)
    async with CeleryQueue(tmp_path) as there:
        monkeypatch.setenv("PAYMENTS", there.name)
        yield there


@pytest.fixture
def workers(celery: CeleryQueue, tmp_path: pathlib.Path) -> Iterator[Runs]:
    celery_of = pathlib.Path(sys.executable).with_name("celery")
    worker = ("--workdir", str(RECIPES), "-A", "celery_task", "worker", "-n", f"{celery.name}@%h")
    options = ("-c", "4", "-l", "WARNING")
    with Runs([str(celery_of), *worker, *options], tmp_path / "log") as running:
        yield running


def publish(events: list[bytes]) -> None:
    """Call the recipe's task for each event, and twice what is no task of anybody."""
    module = load("celery_task")
    module.app.send_task("nobody_has", queue=module.NAME)
    module.app.send_task("payments.confirm", ["too few"], queue=module.NAME)
    for number, event in enumerate(events):
        module.confirm.delay(f"record-{number}", event, time.time())
    module.app.close()


def child_of(process: subprocess.Popen[bytes]) -> int:
    """Return the last process that *process* started."""
    return int(
        pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1]
    )


class TestCelery:
    @pytest.mark.deep
    async def test_each_payment_is_on_record_once_whoever_is_killed(
        self, celery: CeleryQueue, workers: Runs
    ) -> None:
        """
        While faults meet a tenth of the requests, and a process of the pool and then the worker is
        killed, each payment is put on record exactly once, poison and what Celery cannot call are
        in the dead letters, nothing is left, and SIGTERM ends the worker with status 0.
        """
        events = 300
        async with Sandbox(fault_rate=0.1 / 11, seed=11, hang_seconds=0.2) as sandbox:
            await asyncio.to_thread(publish, bodies(events))
            process = workers.start(CAREVALIDATE_BASE_URL=sandbox.url)
            await until(lambda: sandbox.received > events * 0.2)
            os.kill(child_of(process), signal.SIGKILL)
            await until(lambda: sandbox.received > events * 0.6)
            # Celery may keep a message of the one that was killed until the worker has ended.
            workers.kill(process)
            process = workers.start(CAREVALIDATE_BASE_URL=sandbox.url)
            await until(lambda: len(sandbox.payments) >= len(cases(events)))
            await settled(celery, sandbox, quiet=2.5)
            assert 0 == await workers.end(process)

            payments = Counter(payment.case_id for payment in sandbox.payments)
            assert dict.fromkeys(cases(events), 1) == payments
            letters = await celery.published("dead")
            ours = [letter for letter in letters if "Carevalidate-Action" in letter.headers]
            assert poison(events) == {letter.data for letter in ours}
            others = [letter.headers["task"] for letter in letters if letter not in ours]
            assert ["nobody_has", "payments.confirm"] == sorted(others)
            assert 0 == await celery.left()

    @pytest.mark.deep
    async def test_a_refused_key_ends_it_and_loses_nothing(
        self, celery: CeleryQueue, workers: Runs
    ) -> None:
        """
        When the key is refused the worker ends by itself, with status 1 and the reason, and all
        payments' messages are left, some of them twice.
        """
        events = bodies(21)[1:]
        await asyncio.to_thread(publish, events)
        async with Sandbox(api_key="another") as refusing:
            assert 1 == await workers.ended(workers.start(CAREVALIDATE_BASE_URL=refusing.url))
        assert "taking no further message: the vendor answered 401" in workers.log.read_text()
        assert 0 < refusing.received
        assert {f"record-{number}" for number in range(20)} <= await celery.records()

    def test_a_missing_key_ends_it(self, celery: CeleryQueue, workers: Runs) -> None:
        """
        Without a key the worker does not begin.
        """
        assert 1 == workers.start(CAREVALIDATE_API_KEY="").wait(30)
        assert "CAREVALIDATE_API_KEY" in workers.log.read_text()


class Decides:
    """A process of the pool that decides what it is told, or fails where that is nothing."""

    def __init__(self, decision: Decision | None) -> None:
        self._decision = decision

    def decide(self, _: Event) -> Decision:
        if self._decision is None:
            raise RuntimeError("a mistake")
        return self._decision


class TestCeleryTask:
    """The task without a worker, as one of many retries."""

    @pytest.fixture
    def task(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        module = load("celery_task")
        delivery = {"redelivered": False, "exchange": "", "routing_key": "payments"}
        arguments = {"args": ("record-1", b"{}", 1.0), "kwargs": {}, "retries": 40}
        module.confirm.push_request(
            id="task-1", called_directly=False, delivery_info=delivery, **arguments
        )
        yield module
        module.confirm.pop_request()

    @staticmethod
    def run(module: Any, monkeypatch: pytest.MonkeyPatch, decision: Decision | None) -> Any:
        monkeypatch.setattr(module, "process", lambda: Decides(decision))
        module.confirm.run("record-1", b"{}", 1.0)

    def test_what_fails_comes_again(self, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A mistake of the program has the message delivered again; Celery's default is to
        acknowledge it.
        """
        sent: list[Any] = []
        monkeypatch.setattr(task.confirm, "apply_async", lambda *_, **how: sent.append(how))

        with pytest.raises(Retry):
            self.run(task, monkeypatch, None)

        assert [(41, 30.0)] == [(how["retries"], how["countdown"]) for how in sent]

    def test_what_cannot_be_published_stays(
        self, task: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Where the copy for a retry cannot be published, the message goes back to its queue;
        Celery's default is to drop it.
        """

        def fails(*_: object, **__: object) -> None:
            raise OSError("the broker is away")

        monkeypatch.setattr(task.confirm, "apply_async", fails)
        later = Decision(action=Action.RETRY, outcome=Outcome.UNKNOWN, delay=5.0)

        with pytest.raises(Reject) as rejected:
            self.run(task, monkeypatch, later)

        assert rejected.value.requeue


@pytest.fixture
def temporal(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(RECIPES)  # Temporal's sandbox imports a workflow by its name.
    return load("temporal_activity")


def environment(attempt: int = 1, *, age: timedelta = timedelta(0)) -> ActivityEnvironment:
    """Return where an activity runs, as its *attempt*, so long after the first was scheduled."""
    env = ActivityEnvironment()
    scheduled = datetime.now(UTC) - age
    env.info = dataclasses.replace(env.info, attempt=attempt, scheduled_time=scheduled)
    return env


async def attempt(activity: Any, event: bytes, **info: Any) -> str | ApplicationError:
    """Return what an attempt ends in."""
    try:
        return str(await environment(**info).run(activity.confirm_payment, event))
    except ApplicationError as error:
        return error


class TestTemporal:
    async def test_each_payment_is_on_record_once(self, temporal: Any) -> None:
        """
        Under faults, and tried again as the activity says, each payment is put on record exactly
        once; poison fails, and is not tried again.
        """
        events = 101
        failed: list[tuple[bytes, Any]] = []

        async def run(activity: Any, event: bytes) -> None:
            for number in itertools.count(1):
                ended = await attempt(activity, event, attempt=number)
                if isinstance(ended, str):
                    assert "recorded" == json.loads(ended)["outcome"]
                    return
                if ended.non_retryable:
                    failed.append((event, ended.type))
                    return
                assert ended.next_retry_delay is not None
                assert timedelta(0) < ended.next_retry_delay

        async with (
            Sandbox(fault_rate=0.3 / 11, seed=11, hang_seconds=0.05) as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            activity = temporal.Payments(ConfirmHandler(care), print)
            await asyncio.gather(*(run(activity, event) for event in bodies(events)))

        payments = Counter(payment.case_id for payment in sandbox.payments)
        assert dict.fromkeys(cases(events), 1) == payments
        assert {(event, "dead") for event in poison(events)} == set(failed)
        assert sandbox.received > events

    async def test_what_an_earlier_attempt_may_have_done_is_parked(self, temporal: Any) -> None:
        """
        What is refused at a later attempt, or tried again when its key may be forgotten, fails as
        parked, and is not tried again.
        """
        async with Sandbox() as sandbox, CareValidate("test", base_url=sandbox.url) as care:
            activity = temporal.Payments(ConfirmHandler(care), print)
            refused = await attempt(activity, b"no payment", attempt=2)
            late = await attempt(activity, bodies(2)[1], attempt=2, age=timedelta(days=2))

        assert isinstance(refused, ApplicationError)
        assert isinstance(late, ApplicationError)
        assert [("park", True)] * 2 == [(e.type, e.non_retryable) for e in (refused, late)]
        assert 0 == sandbox.received

    async def test_a_refused_key_stops_the_worker(self, temporal: Any) -> None:
        """
        When the key is refused the worker is told to stop, and the activity is tried again.
        """
        reasons: list[str] = []
        async with (
            Sandbox(api_key="another") as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            activity = temporal.Payments(ConfirmHandler(care), reasons.append)
            ended = await attempt(activity, bodies(2)[1])

        assert isinstance(ended, ApplicationError)
        assert ("stop", False) == (ended.type, ended.non_retryable)
        assert ["the vendor answered 401"] == reasons

    async def test_it_says_that_it_lives(
        self, temporal: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        While the vendor lets it wait an activity heartbeats, and no longer.
        """
        monkeypatch.setattr(temporal, "HEARTBEAT", 0.06)
        beats: list[object] = []
        env = environment()
        env.on_heartbeat = lambda *_: beats.append(None)
        async with (
            Sandbox(faults={Fault.DELAY(seconds=0.2): 1.0}) as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            activity = temporal.Payments(ConfirmHandler(care), print)
            await env.run(activity.confirm_payment, bodies(2)[1])
        seen = len(beats)
        await asyncio.sleep(0.1)

        assert 5 <= seen
        assert seen == len(beats)

    async def test_a_cancelled_one_is_on_record_once(self, temporal: Any) -> None:
        """
        A payment whose activity was cancelled on its way is put on record once by the next attempt.
        """
        env = environment()
        async with (
            Sandbox(faults={Fault.DELAY(seconds=0.2): 1.0}) as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            activity = temporal.Payments(ConfirmHandler(care), print)
            running = asyncio.create_task(env.run(activity.confirm_payment, bodies(2)[1]))
            await until(lambda: sandbox.received == 1)
            env.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            ended = await attempt(activity, bodies(2)[1], attempt=2)

        assert isinstance(ended, str)
        assert json.loads(ended)["already_recorded"]
        assert 1 == len(sandbox.payments)

    @pytest.mark.parametrize(
        ("activity", "failure"),
        [("confirm_payment", "None"), ("other", "does not match activity type")],
    )
    async def test_the_workflow_has_it_done(
        self, temporal: Any, activity: str, failure: str
    ) -> None:
        """
        The workflow has the activity put its payment on record, and ends with its result: so says
        a replay of what a server would have kept, which tells another activity apart.
        """
        kept = history(bodies(2)[1], b'"done"', activity=activity)
        replayer = Replayer(workflows=[temporal.ConfirmPayment])

        ended = await replayer.replay_workflow(kept, raise_on_replay_failure=False)

        assert failure in str(ended.replay_failure)


PAGE = (RECIPES.parents[1] / "docs" / "guides" / "recipes.md").read_text(encoding="utf-8")
# What the page says is so by default, where a program can look.
DEFAULTS = {
    nats.aio.client.Client.connect: ["max_reconnect_attempts"],
    aio_pika.Connection.channel: ["on_return_raises"],
    AIOKafkaConsumer: [
        "enable_auto_commit",
        "auto_offset_reset",
        "isolation_level",
        "max_poll_interval_ms",
    ],
}
SETTINGS = [
    "task_acks_late",
    "task_reject_on_worker_lost",
    "task_acks_on_failure_or_timeout",
    "worker_prefetch_multiplier",
]


def stated(name: str, default: object) -> str:
    """Return how the page states a default."""
    return f"`{name}={json.dumps(default) if isinstance(default, str) else default}`"


class TestPage:
    @pytest.mark.parametrize("function", DEFAULTS, ids=lambda function: function.__qualname__)
    def test_defaults(self, function: Callable[..., Any]) -> None:
        """
        What the page says of the libraries' defaults is so.
        """
        parameters = inspect.signature(function).parameters

        for name in DEFAULTS[function]:
            assert stated(name, parameters[name].default) in PAGE

    def test_defaults_of_celery(self) -> None:
        """
        What the page says of Celery's defaults is so.
        """
        app = Celery(set_as_current=False)

        for name in SETTINGS:
            assert stated(name, app.conf[name]) in PAGE
        assert stated("max_retries", app.Task.max_retries) in PAGE

    def test_default_of_temporal(self) -> None:
        """
        What the page says of Temporal's default is so.
        """
        default = inspect.signature(Worker).parameters["graceful_shutdown_timeout"].default

        assert timedelta(0) == default
        assert "`graceful_shutdown_timeout` is 0" in PAGE

    def test_every_recipe_is_there(self) -> None:
        """
        The page names each script.
        """
        names = [path.name for path in RECIPES.glob("*.py")]

        assert 6 <= len(names)
        assert [] == [name for name in names if f"`examples/consumers/{name}`" not in PAGE]
