from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from calls import CALLS, CONFIRM, ONCE, PATIENT, UPDATE_METHOD, Calling, Client, settle
from carevalidate_async import (
    AnswerLostError,
    APIConnectionError,
    APITimeoutError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    GaveUp,
    Outcome,
    RetryPolicy,
)
from carevalidate_async.hooks import CallEnded, CallStarted, Event
from raw_server import RawServer, Step, answers, breaks_off, drips, http, late, once, silent
from test_transport import Resolver, free

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import TracebackType

    from carevalidate_async import ClientOptions

NOT_SENT, REJECTED, RECORDED, UNKNOWN = Outcome


class ServerInThread:
    """A `RawServer` that outlives the event loops of a test."""

    def __init__(self) -> None:
        self.server = RawServer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self.server.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self.server.__aexit__(kind, error, traceback))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def open_connections(self) -> int:
        """Return how many connections are open, once those that are being closed are."""

        async def count() -> int:
            left = -1
            for _ in range(50):
                left = sum(not writer.is_closing() for writer in self.server._writers)
                if left == 0:
                    break
                await asyncio.sleep(0.002)
            return left

        return int(self._do(count()))

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(5)


@pytest.fixture
def outside() -> Iterator[ServerInThread]:
    """A server in an event loop of its own."""
    with ServerInThread() as running:
        yield running


def collect() -> None:
    """Collect garbage until nothing falls out any more."""
    while gc.collect():
        pass


async def ask(client: Client, times: int = 1) -> None:
    """Confirm payments side by side."""
    await asyncio.gather(*(CONFIRM.ask(client) for _ in range(times)))


class TestSeveralLoops:
    @pytest.mark.parametrize("times", [1, 20])
    def test_one_after_the_other(
        self, outside: ServerInThread, caplog: pytest.LogCaptureFixture, times: int
    ) -> None:
        """A client works in one event loop after the other, and no connection is left behind."""
        client = CONFIRM.client(outside.server.url)
        for _ in range(3):
            asyncio.run(ask(client, times))
            assert 0 == outside.open_connections()
        asyncio.run(client.aclose())
        del client
        collect()

        assert 3 * times == len(outside.server.requests)
        assert [] == caplog.records

    def test_of_uvloop(self, outside: ServerInThread, caplog: pytest.LogCaptureFixture) -> None:
        """So it does on uvloop, and from one kind of loop to the other."""
        uvloop = pytest.importorskip("uvloop", reason="there is no uvloop for this platform")
        client = CONFIRM.client(outside.server.url)
        for factory in (uvloop.new_event_loop, asyncio.new_event_loop, uvloop.new_event_loop):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(ask(client, 3))
            assert 0 == outside.open_connections()
        asyncio.run(client.aclose())

        assert 9 == len(outside.server.requests)
        assert [] == caplog.records

    # Such a loop leaves its own sockets behind, whoever made them.
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_closed_the_hard_way(self, outside: ServerInThread) -> None:
        """Also after a loop that was closed without its last rites."""
        client = CONFIRM.client(outside.server.url)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask(client, 3))
        old = client._session._transport._pool._held.home
        assert old is not None
        loop.close()
        asyncio.run(ask(client, 3))
        assert old.session.closed
        asyncio.run(client.aclose())
        del loop
        collect()

        assert 6 == len(outside.server.requests)

    async def test_after_generators_were_shut_down(self, outside: ServerInThread) -> None:
        """A loop that goes on after it has closed its generators is served on."""
        async with CONFIRM.client(outside.server.url) as client:
            await ask(client)
            transport = client._session._transport
            home = transport._pool._held.home
            assert home is not None
            assert home.keeper is not None
            await home.keeper.aclose()
            await ask(client)

        assert 2 == len(outside.server.requests)

    @pytest.mark.parametrize("kind", ["session", "connector"])
    def test_borrowed(self, outside: ServerInThread, kind: str) -> None:
        """What the caller lends belongs to one loop: another says what to do, and sends nothing."""
        clients: list[Client] = []

        async def first() -> None:
            session = aiohttp.ClientSession()
            options: ClientOptions = (
                {"session": session} if kind == "session" else {"connector": session.connector}
            )
            clients.append(CONFIRM.client(outside.server.url, **options))
            await ask(clients[0])
            await session.close()

        async def other() -> None:
            with pytest.raises(ConfigurationError, match="make a new client") as caught:
                await ask(clients[0])
            assert NOT_SENT is caught.value.outcome
            await clients[0].aclose()

        with asyncio.Runner() as runner:
            runner.run(first())
        asyncio.run(other())

        assert 1 == len(outside.server.requests)

    @pytest.mark.parametrize("kind", ["session", "connector"])
    def test_borrowed_from_another_loop(self, outside: ServerInThread, kind: str) -> None:
        """It does not have to have been used there: it is enough that it was made there."""
        with asyncio.Runner() as runner:

            async def make() -> aiohttp.ClientSession:
                return aiohttp.ClientSession()

            session = runner.run(make())
            options: ClientOptions = (
                {"session": session} if kind == "session" else {"connector": session.connector}
            )

            async def use() -> None:
                async with CONFIRM.client(outside.server.url, **options) as client:
                    with pytest.raises(ConfigurationError, match="another event loop") as caught:
                        await ask(client)
                    assert NOT_SENT is caught.value.outcome

            asyncio.run(use())
            runner.run(session.close())

        assert [] == outside.server.requests

    async def test_another_that_runs(self, outside: ServerInThread) -> None:
        """A client is not used by two running loops: the second is told, the first works on."""
        async with CONFIRM.client(outside.server.url) as client:
            await ask(client)

            def elsewhere() -> None:
                asyncio.run(ask(client))

            with pytest.raises(ConfigurationError, match="one client per loop") as caught:
                await asyncio.to_thread(elsewhere)
            assert NOT_SENT is caught.value.outcome
            await ask(client)

        assert 2 == len(outside.server.requests)

    async def test_two_threads_with_a_client_each(self, outside: ServerInThread) -> None:
        """Two threads work side by side, each with a client of its own."""

        def work() -> None:
            async def main() -> None:
                async with CONFIRM.client(outside.server.url) as client:
                    await ask(client, 10)

            asyncio.run(main())

        await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(work))

        assert 20 == len(outside.server.requests)


class TestNothingGrows:
    async def test_with_retries(self) -> None:
        """What a call needed to wait and to send is gone after it."""
        async with (
            RawServer(*[answers(503)] * 20) as server,
            CONFIRM.client(server.url, retry=RetryPolicy(base_delay=0.001)) as client,
        ):
            for _ in range(5):
                with pytest.raises(CareValidateError):
                    await CONFIRM.ask(client)
            pool = client._session._transport._pool

            home = pool._held.home

            assert home is not None
            assert (0, 0) == (len(pool._resting), len(home.flights))
            assert 20 == len(server.requests)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    @pytest.mark.parametrize("step", [answers(400), answers(503), breaks_off()])
    async def test_with_errors(self, step: Step, calling: Calling) -> None:
        """
        An error that was handled is gone at once, and what its frames held of the request: nobody
        has to collect it.
        """

        async def handled(client: Client) -> weakref.ref[CareValidateError]:
            try:
                await calling.ask(client)
            except CareValidateError as error:
                return weakref.ref(error)
            raise AssertionError

        async with RawServer(*[step] * 8) as server, calling.client(server.url) as client:
            gc.disable()
            try:
                assert (await handled(client))() is None
            finally:
                gc.enable()


class TestForgotten:
    @pytest.mark.parametrize("script", [[], [breaks_off(), answers(503)]], ids=["well", "retried"])
    async def test_in_a_running_loop(
        self, outside: ServerInThread, caplog: pytest.LogCaptureFixture, script: list[Step]
    ) -> None:
        """A client that is forgotten gives one warning, which names it; its connections end."""
        outside.server.script.extend(script)
        client = CONFIRM.client(outside.server.url)
        await ask(client, 3)
        collect()  # What others left behind is not to be heard of here.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            collect()
        told = [(warning.category, str(warning.message)) for warning in caught]
        caught.clear()  # What a warning is about lives on in it.
        collect()
        await settle()

        words = "a CareValidate or Planocore client was not closed: use 'async with' or aclose()"
        assert [(ResourceWarning, words)] == told
        assert [] == caplog.records
        assert 0 == outside.open_connections()

    def test_after_its_loop(
        self, outside: ServerInThread, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With its loop the connections have ended, so there is nothing to warn of."""
        client = CONFIRM.client(outside.server.url)
        asyncio.run(ask(client))
        collect()  # What others left behind is not to be heard of here.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            collect()

        assert [] == [str(warning.message) for warning in caught]
        assert [] == caplog.records
        assert 0 == outside.open_connections()

    def test_never_used(self) -> None:
        """A client that has sent nothing holds nothing."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            CONFIRM.client("http://127.0.0.1:9")
            collect()

        assert [] == caught

    async def test_borrowed(self, outside: ServerInThread) -> None:
        """A client over the caller's session may be forgotten: it holds nothing of its own."""
        async with aiohttp.ClientSession() as session:
            client = CONFIRM.client(outside.server.url, session=session)
            await ask(client)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del client
                collect()

        assert [] == caught


class TestClose:
    """Calls in flight when the client is closed end with what is known."""

    @pytest.mark.parametrize("step", [silent, drips(http(200, b" " * 999))])
    @pytest.mark.parametrize("policy", [ONCE, PATIENT])
    async def test_on_the_wire(self, step: Step, policy: RetryPolicy) -> None:
        """A call that waits for its answer may have landed, and says so at once."""
        async with RawServer(step) as server, CONFIRM.client(server.url, retry=policy) as client:
            task = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            await client.aclose()
            with pytest.raises(AnswerLostError) as caught:
                await task

        assert (UNKNOWN, 1) == (caught.value.outcome, len(caught.value.attempts))
        assert GaveUp.CLOSED is caught.value.gave_up
        assert 1 == len(server.requests)

    @pytest.mark.parametrize(("status", "outcome"), [(503, UNKNOWN), (429, REJECTED)])
    async def test_between_attempts(self, status: int, outcome: Outcome) -> None:
        """
        A call between two attempts does not wait for its time, and is unknown if the first may have
        landed.
        """
        step = answers(status, b"", "Retry-After: 50")
        retry = RetryPolicy(base_delay=0)
        async with RawServer(step) as server, CONFIRM.client(server.url, retry=retry) as client:
            task = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            await client.aclose()
            with pytest.raises(ClientClosedError) as caught:
                await task

        assert outcome is caught.value.outcome
        assert [status, None] == [attempt.status for attempt in caught.value.attempts]
        assert GaveUp.CLOSED is caught.value.gave_up
        assert caught.value.idempotency_key is not None
        assert 1 == len(server.requests)

    async def test_in_the_queue(self) -> None:
        """A call that waits for a connection was not sent."""
        async with (
            RawServer(silent) as server,
            CONFIRM.client(server.url, max_connections=1) as client,
        ):
            tasks = [asyncio.create_task(CONFIRM.ask(client)) for _ in range(3)]
            await settle()
            await client.aclose()
            first, *others = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(first, AnswerLostError)
        assert UNKNOWN is first.outcome
        for error in others:
            assert isinstance(error, ClientClosedError)
            assert NOT_SENT is error.outcome
        assert 1 == len(server.requests)

    async def test_while_connecting(self) -> None:
        """A call that was still connecting was not sent, and is not cancelled either."""
        async with aiohttp.TCPConnector(resolver=Resolver(60)) as connector:
            client = CONFIRM.client(
                "http://vendor.example", connector=connector, allow_insecure=True
            )
            task = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            await client.aclose()
            await connector.close()
            with pytest.raises(APIConnectionError) as caught:
                await task

        assert (NOT_SENT, 1) == (caught.value.outcome, len(caught.value.attempts))

    @pytest.mark.parametrize("borrowed", [False, True])
    async def test_on_the_wire_of_whoever_it_is(self, borrowed: bool) -> None:
        """So does one over the caller's session, which stays open."""
        async with aiohttp.ClientSession() as session, RawServer(silent, silent) as server:
            given = session if borrowed else None
            client = CONFIRM.client(server.url, session=given, max_connections=1)
            tasks = [asyncio.create_task(CONFIRM.ask(client)) for _ in range(2)]
            await server.arrived(1)
            await client.aclose()
            async with asyncio.timeout(5):
                sent, queued = await asyncio.gather(*tasks, return_exceptions=True)

            assert not session.closed

        assert isinstance(sent, AnswerLostError)
        assert isinstance(queued, ClientClosedError)
        assert (UNKNOWN, NOT_SENT) == (sent.outcome, queued.outcome)

    async def test_in_a_handshake(self) -> None:
        """A call that waits for the server's part of TLS ends at once, and was not sent."""

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = CONFIRM.client(f"https://127.0.0.1:{port}", retry=ONCE)
            task = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            await client.aclose()
            with pytest.raises(APIConnectionError) as caught:
                async with asyncio.timeout(5):
                    await task

        assert (NOT_SENT, GaveUp.CLOSED) == (caught.value.outcome, caught.value.gave_up)
        assert not isinstance(caught.value, APITimeoutError)

    async def test_from_another_loop(self, outside: ServerInThread) -> None:
        """A client cannot be closed from another loop than the one that it runs in."""
        client = CONFIRM.client(outside.server.url)
        await ask(client)
        with pytest.raises(ConfigurationError, match="close it there"):
            await asyncio.to_thread(asyncio.run, client.aclose())
        await ask(client)
        await client.aclose()

        assert 2 == len(outside.server.requests)

    async def test_by_many(self) -> None:
        """Closing from several tasks is closing once."""
        async with RawServer(late(0.02)) as server:
            client = CONFIRM.client(server.url)
            await CONFIRM.ask(client)
            await asyncio.gather(*(client.aclose() for _ in range(5)))

        assert client.closed

    async def test_after_use(self) -> None:
        """Every later call says that the client is closed, and sends nothing."""
        async with RawServer() as server:
            for calling in (CONFIRM, UPDATE_METHOD):
                client = calling.client(server.url)
                await client.aclose()
                with pytest.raises(ClientClosedError, match="make a new one") as caught:
                    await calling.ask(client)
                assert (NOT_SENT, False, ()) == (
                    caught.value.outcome,
                    caught.value.retryable,
                    caught.value.attempts,
                )

        assert [] == server.requests

    async def test_of_shared_options(self) -> None:
        """A call of a client with other options goes on when that one is closed."""
        now = asyncio.Event()
        async with RawServer(once(now)) as server, CONFIRM.client(server.url) as client:
            other = client.with_options(deadline=30)
            task = asyncio.create_task(CONFIRM.ask(other))
            await server.arrived(1)
            await other.aclose()
            now.set()

            assert 1 == len((await task).meta.attempts)


class TestCancellation:
    @pytest.mark.parametrize(
        ("script", "policy", "attempts", "arrived"),
        [
            ([silent], PATIENT, 1, 1),
            ([drips(http(200, b" " * 999))], PATIENT, 1, 1),
            ([answers(503, b"", "Retry-After: 3")], RetryPolicy(), 1, 1),
            ([answers(503), silent], RetryPolicy(base_delay=0), 2, 2),
            (
                [breaks_off(), answers(429, b"", "Retry-After: 3")],
                RetryPolicy(base_delay=0),
                2,
                2,
            ),
        ],
        ids=["waiting", "reading", "in backoff", "second attempt", "in backoff after a loss"],
    )
    async def test_call(
        self,
        caplog: pytest.LogCaptureFixture,
        script: list[Step],
        policy: RetryPolicy,
        attempts: int,
        arrived: int,
    ) -> None:
        """
        A cancelled call ends at once, sends nothing more, names its key in the log and to the
        hooks, and leaves a client that works.
        """
        events: list[Event] = []
        async with (
            RawServer(*script) as server,
            CONFIRM.client(
                server.url, max_connections=1, retry=policy, hooks=[events.append]
            ) as client,
        ):
            before = asyncio.all_tasks()
            task = asyncio.create_task(CONFIRM.ask(client))
            await server.arrived(arrived)
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert arrived == len(server.requests)
            await settle()
            assert asyncio.all_tasks() <= before | server._tasks
            assert 1 == free(client._session._transport)
            started, *_, ended = events
            await CONFIRM.ask(client.with_options(hooks=()))

        assert isinstance(started, CallStarted)
        assert isinstance(ended, CallEnded)
        assert (True, None, attempts) == (ended.cancelled, ended.error, len(ended.attempts))
        assert arrived == attempts
        assert Outcome.UNKNOWN is ended.outcome
        assert arrived + 1 == len(server.requests)
        told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
        assert 1 == len(told)
        assert f"cancelled after {attempts} attempts, outcome unknown" in told[0]
        assert str(started.idempotency_key) in told[0]

    async def test_in_the_queue(self, caplog: pytest.LogCaptureFixture) -> None:
        """A call that is cancelled in the queue was not sent and keeps nobody waiting."""
        now = asyncio.Event()
        async with (
            RawServer(once(now)) as server,
            CONFIRM.client(server.url, max_connections=1) as client,
        ):
            first = asyncio.create_task(CONFIRM.ask(client))
            await server.arrived(1)
            second = asyncio.create_task(CONFIRM.ask(client))
            third = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            second.cancel()
            await settle()
            now.set()
            await asyncio.gather(first, third)

            assert second.cancelled()
            assert 1 == free(client._session._transport)

        assert 2 == len(server.requests)
        assert "cancelled after 0 attempts, outcome not_sent" in caplog.records[0].message

    async def test_after_a_refusal(self) -> None:
        """A call that is cancelled after the vendor only ever said no has put nothing on record."""
        events: list[Event] = []
        async with (
            RawServer(answers(429, b"", "Retry-After: 3")) as server,
            CONFIRM.client(server.url, retry=RetryPolicy(), hooks=[events.append]) as client,
        ):
            task = asyncio.create_task(CONFIRM.ask(client))
            await server.arrived(1)
            while len(events) < 2:
                await settle()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert (True, Outcome.REJECTED) == (ended.cancelled, ended.outcome)

    async def test_while_connecting(self) -> None:
        """A call that is cancelled before it has a connection frees its slot."""
        async with aiohttp.TCPConnector(resolver=Resolver(60)) as connector:
            client = CONFIRM.client(
                "http://vendor.example", connector=connector, allow_insecure=True
            )
            task = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert 100 == free(client._session._transport)
            await client.aclose()

    @pytest.mark.parametrize("kept", [False, True])
    @pytest.mark.parametrize("steps", range(25))
    async def test_at_every_step(self, steps: int, kept: bool) -> None:
        """Wherever a call is cancelled, its slot is free again and the next call has its answer."""
        async with RawServer() as server, CONFIRM.client(server.url, max_connections=1) as client:
            if kept:
                await CONFIRM.ask(client)
                server.requests.clear()
            server.script.append(answers(401, {"status": 401, "error": "Unauthorized"}))
            task = asyncio.create_task(CONFIRM.ask(client))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            # What became of the first is not heard by the second.
            server.script.clear()
            answer = await CONFIRM.ask(client)

            assert 1 == free(client._session._transport)

        assert 1 == len(answer.meta.attempts)
        assert not answer.meta.already_recorded
        assert len(server.requests) in {1, 2}

    async def test_by_a_timeout_of_the_caller(self) -> None:
        """A caller's own timeout ends the call as a timeout, and the call is not tried again."""
        async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await CONFIRM.ask(client)

            assert not isinstance(caught.value, CareValidateError)
            await CONFIRM.ask(client)

        assert 2 == len(server.requests)

    async def test_of_the_first_leaves_the_others(self) -> None:
        """Of calls side by side only the one that is cancelled ends."""
        now = asyncio.Event()
        async with (
            RawServer(*[once(now)] * 3) as server,
            CONFIRM.client(server.url) as client,
        ):
            tasks = [asyncio.create_task(CONFIRM.ask(client)) for _ in range(3)]
            await server.arrived(3)
            tasks[1].cancel()
            now.set()
            done = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(done[1], asyncio.CancelledError)
        answered = [one for one in done if not isinstance(one, BaseException)]
        assert [1, 1] == [len(one.meta.attempts) for one in answered]
        assert 3 == len(server.requests)
