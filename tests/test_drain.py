"""`aclose(grace=...)`: no new calls from then on, and those in flight may settle."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import virtual
from calls import CALLS, CONFIRM, ONCE, PAYMENT, Calling, Client, settle
from carevalidate_async import (
    AnswerLostError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    GaveUp,
    Outcome,
    RetryPolicy,
)
from carevalidate_async._pool import Pool
from carevalidate_async.planocore import Planocore
from raw_server import RawServer, answers, late, once, silent

if TYPE_CHECKING:
    from carevalidate_async.bulk import Row

NOT_SENT, REJECTED, RECORDED, UNKNOWN = Outcome


async def begun(server: RawServer, *asked: Any) -> list[asyncio.Task[Any]]:
    """Return the tasks of calls, once the requests of all of them have arrived."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    await server.arrived(len(tasks))
    return tasks


class TestInFlight:
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    def test_settles(self, calling: Calling) -> None:
        """
        A call in flight has its answer, and the close ends with it, not with the grace; what is
        asked meanwhile is refused, and was not sent.
        """

        async def play() -> None:
            async with RawServer(late(3)) as server, calling.client(server.url) as client:
                (call,) = await begun(server, calling.ask(client))
                closing = asyncio.create_task(client.aclose(grace=10))
                await asyncio.sleep(1)
                assert client.closed
                assert not closing.done()
                with pytest.raises(ClientClosedError) as caught:
                    await calling.ask(client)
                assert NOT_SENT is caught.value.outcome
                await closing
                assert 3 <= virtual.now() < 4
                assert call.done()
                assert RECORDED is (await call).meta.attempts[-1].outcome
                assert 1 == len(server.requests)

        virtual.run(play())

    def test_is_cut_off_after_the_grace(self) -> None:
        """What has not settled by then ends as with a plain close, and may be on record."""

        async def play() -> None:
            async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
                (call,) = await begun(server, CONFIRM.ask(client))
                await client.aclose(grace=2)
                assert 2 <= virtual.now() < 3
                with pytest.raises(AnswerLostError) as caught:
                    await call
                assert (UNKNOWN, GaveUp.CLOSED) == (caught.value.outcome, caught.value.gave_up)

        virtual.run(play())

    def test_retries(self) -> None:
        """A call that waits for its next attempt makes it, and has the answer of that."""

        async def play() -> None:
            told = answers(503, b"", "Retry-After: 5")
            retry = RetryPolicy(base_delay=0)
            async with (
                RawServer(told, told) as server,
                CONFIRM.client(server.url, retry=retry) as client,
            ):
                (call,) = await begun(server, CONFIRM.ask(client))
                await asyncio.sleep(1)
                await client.aclose(grace=60)
                assert [503, 503, 200] == [each.status for each in (await call).meta.attempts]
                assert 10 <= virtual.now() < 11

        virtual.run(play())

    def test_a_retry_that_comes_too_late(self) -> None:
        """One whose delay outlasts the grace is not made, and the call says why."""

        async def play() -> None:
            async with (
                RawServer(answers(429, b"", "Retry-After: 50")) as server,
                CONFIRM.client(server.url, retry=RetryPolicy(base_delay=0)) as client,
            ):
                (call,) = await begun(server, CONFIRM.ask(client))
                await asyncio.sleep(1)
                await client.aclose(grace=5)
                with pytest.raises(ClientClosedError) as caught:
                    await call
                assert (REJECTED, GaveUp.CLOSED) == (caught.value.outcome, caught.value.gave_up)
                assert 1 == len(server.requests)

        virtual.run(play())

    def test_in_the_queue(self) -> None:
        """A call that began, and waits for a connection, is sent and answered."""

        async def play() -> None:
            async with (
                RawServer(late(2), late(2), late(2)) as server,
                CONFIRM.client(server.url, max_connections=1) as client,
            ):
                calls = [asyncio.create_task(CONFIRM.ask(client)) for _ in range(3)]
                await server.arrived(1)
                await client.aclose(grace=60)
                assert all(call.done() for call in calls)
                assert 3 == len({(await call).meta.idempotency_key for call in calls})

        virtual.run(play())

    def test_of_copies(self) -> None:
        """Calls of a copy with other options settle, too, and it takes no new ones."""

        async def play() -> None:
            async with RawServer(late(2)) as server, CONFIRM.client(server.url) as client:
                copy = client.with_options(attempt_timeout=3)
                (call,) = await begun(server, CONFIRM.ask(copy))
                await client.aclose(grace=60)
                assert RECORDED is (await call).meta.attempts[-1].outcome
                assert copy.closed
                with pytest.raises(ClientClosedError):
                    await CONFIRM.ask(copy)

        virtual.run(play())

    def test_a_copys_own(self) -> None:
        """A copy that is closed waits for nobody, and the client it was made of works on."""

        async def play() -> None:
            async with RawServer(late(2)) as server, CONFIRM.client(server.url) as client:
                copy = client.with_options(attempt_timeout=3)
                (call,) = await begun(server, CONFIRM.ask(copy))
                await copy.aclose(grace=60)
                assert virtual.now() < 1
                assert (True, False) == (copy.closed, client.closed)
                await call
                await CONFIRM.ask(client)

        virtual.run(play())

    def test_in_the_midst_of_many(self) -> None:
        """
        Of `confirm_payments` the rows in flight settle, those after them were not sent, and what
        the rows say is what arrived.
        """

        async def play() -> None:
            gate = asyncio.Event()
            async with (
                RawServer(*[once(gate)] * 4) as server,
                CONFIRM.client(server.url) as client,
            ):
                assert not isinstance(client, Planocore)
                payments = [attrs.evolve(PAYMENT, case_id=f"case-{n}") for n in range(10)]
                rows: list[Row] = []

                async def run() -> None:
                    async for row in client.confirm_payments(payments, concurrency=4):
                        rows.append(row)  # noqa: PERF401 - rows count though the run ends in an error

                running = asyncio.create_task(run())
                await server.arrived(4)
                closing = asyncio.create_task(client.aclose(grace=60))
                await asyncio.sleep(1)
                gate.set()
                await closing
                await asyncio.wait([running])

                recorded = [row for row in rows if row.outcome is RECORDED]
                assert 4 == len(recorded) == len(server.requests)
                assert {NOT_SENT} >= {row.outcome for row in rows if row not in recorded}
                for row in rows:
                    assert row in recorded or isinstance(row.error, ClientClosedError)

        virtual.run(play())


class TestClose:
    def test_nothing_in_flight(self) -> None:
        """A client at rest is closed at once, whatever the grace."""

        async def play() -> None:
            async with RawServer() as server:
                client = CONFIRM.client(server.url)
                await client.aclose(grace=60)
                client = CONFIRM.client(server.url)
                await CONFIRM.ask(client)
                await client.aclose(grace=60)
                assert virtual.now() < 1

        virtual.run(play())

    @pytest.mark.parametrize("grace", [0, 2])
    def test_a_shorter_one_meanwhile(self, grace: float) -> None:
        """A second close with less patience ends the first."""

        async def play() -> None:
            async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
                (call,) = await begun(server, CONFIRM.ask(client))
                first = asyncio.create_task(client.aclose(grace=60))
                await asyncio.sleep(1)
                await client.aclose(grace=grace)
                await first
                assert 1 + grace <= virtual.now() < 2 + grace
                with pytest.raises(AnswerLostError):
                    await call
                await client.aclose(grace=60)
                assert virtual.now() < 2 + grace

        virtual.run(play())

    def test_cancelled(self) -> None:
        """A wait that is cancelled closes: calls end, and nothing is left open."""

        async def play() -> None:
            async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
                (call,) = await begun(server, CONFIRM.ask(client))
                closing = asyncio.create_task(client.aclose(grace=60))
                await asyncio.sleep(1)
                closing.cancel()
                await asyncio.wait([closing])
                assert closing.cancelled()
                assert virtual.now() < 2
                with pytest.raises(AnswerLostError):
                    await call
                assert client._session._transport.closed

        virtual.run(play())

    def test_cancelled_calls_are_over(self) -> None:
        """A call whose task was cancelled is not waited for."""

        async def play() -> None:
            async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
                (call,) = await begun(server, CONFIRM.ask(client))
                call.cancel()
                await asyncio.wait([call])
                await client.aclose(grace=60)
                assert virtual.now() < 1

        virtual.run(play())

    @pytest.mark.parametrize("grace", [-1, float("inf"), float("nan"), None, True, "1"])
    async def test_not_a_grace(self, grace: Any) -> None:
        """What is no finite number of seconds is refused, and the client stays open."""
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            with pytest.raises(ConfigurationError, match="grace"):
                await client.aclose(grace=grace)
            assert not client.closed
            await CONFIRM.ask(client)

    async def test_refused_in_another_loop(self) -> None:
        """A close that another running loop asks for is refused, and the client works on."""
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)
            with pytest.raises(ConfigurationError, match="another running event loop"):
                await asyncio.to_thread(lambda: asyncio.run(client.aclose(grace=5)))
            assert not client.closed
            await CONFIRM.ask(client)

    def test_calls_of_a_loop_that_ended(self) -> None:
        """Calls that ended with their loop are not waited for in the next."""
        clients: list[Any] = []

        async def first() -> None:
            async with RawServer(silent) as server:
                clients.append(CONFIRM.client(server.url))
                await begun(server, CONFIRM.ask(clients[0]))

        asyncio.run(first())  # which cancels what is left in it

        async def then() -> None:
            await clients[0].aclose(grace=60)
            assert virtual.now() < 1

        virtual.run(then())

    # Such a loop leaves its own sockets behind, whoever made them.
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("again", [False, True])
    def test_calls_of_a_loop_closed_the_hard_way(self, again: bool) -> None:
        """
        Nor are those that a loop left in their midst when it was closed, whether or not the client
        was used in the next.
        """
        loop = asyncio.new_event_loop()

        async def first() -> tuple[Client, asyncio.Task[Any], RawServer]:
            server = await RawServer(silent).__aenter__()
            client = CONFIRM.client(server.url, retry=ONCE)
            (call,) = await begun(server, CONFIRM.ask(client))
            return client, call, server

        client, call, server = loop.run_until_complete(first())
        loop.close()

        async def then() -> None:
            if again:
                with pytest.raises(CareValidateError):
                    await CONFIRM.ask(client)
            moment = virtual.now()
            await client.aclose(grace=60)
            assert virtual.now() < moment + 1

        virtual.run(then())
        assert not call.done()
        del call, server, loop
        gc.collect()

    async def test_does_not_depend_on_calls(self) -> None:
        """A close that waits ends with one that does not, even where no call does."""
        client = CONFIRM.client("http://127.0.0.1:9")
        client._session._transport.calls.begin()
        first = asyncio.create_task(client.aclose(grace=600))
        await settle()
        assert not first.done()
        await client.aclose()
        await asyncio.wait_for(first, 10)

    @pytest.mark.parametrize("way", ["direct", "session"])
    async def test_of_a_loop_that_rests(self, way: Any) -> None:
        """
        What a loop uses that nobody runs is closed from another, and nothing complains: neither of
        connections that are kept, nor if that loop never runs again.
        """
        loop = asyncio.new_event_loop()
        async with RawServer() as server:
            client = CONFIRM.client(server.url, transport=way)
            await asyncio.to_thread(loop.run_until_complete, CONFIRM.ask(client))
            await client.aclose(grace=60)
            await asyncio.wait(server._tasks)
            assert client.closed
        loop.close()
        del client
        gc.collect()

    async def test_calls_of_a_loop_that_rests(self) -> None:
        """A call that such a loop left in the midst ends once that runs again, as in doubt."""
        here, loop = asyncio.get_running_loop(), asyncio.new_event_loop()
        async with RawServer(silent) as server:

            async def arrived() -> None:
                told = asyncio.run_coroutine_threadsafe(server.arrived(1), here)
                await asyncio.wrap_future(told)

            client = CONFIRM.client(server.url)
            call = loop.create_task(CONFIRM.ask(client))
            await asyncio.to_thread(loop.run_until_complete, arrived())
            await client.aclose(grace=60)
            await asyncio.to_thread(loop.run_until_complete, asyncio.wait([call]))
            met = call.exception()
            assert isinstance(met, AnswerLostError)
            assert (UNKNOWN, GaveUp.CLOSED) == (met.outcome, met.gave_up)
            assert 1 == len(server.requests)
        loop.close()

    async def test_of_a_loop_that_runs_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that begins to run at that very moment closes its connections by itself."""
        monkeypatch.setattr(Pool, "_check_closing", lambda _: None)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        async with RawServer() as server:
            client = CONFIRM.client(server.url)
            asked = asyncio.run_coroutine_threadsafe(CONFIRM.ask(client), loop)
            await asyncio.wrap_future(asked)
            await client.aclose()
            await asyncio.wait(server._tasks)
            assert client.closed

        async def finish() -> None:
            # The server hears of the end before the loop has let go of everything.
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(finish(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()
        del client
        gc.collect()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    async def test_calls_of_the_parent(self) -> None:
        """A forked process does not wait for the calls of its parent."""
        async with RawServer(silent) as server, CONFIRM.client(server.url) as client:
            (call,) = await begun(server, CONFIRM.ask(client))
            pool = client._session._transport._pool
            assert 1 == pool.calls.count
            child = os.fork()
            if child == 0:  # pragma: no cover - in another process
                os._exit(pool._calls.count)  # No event loop runs in here.
            _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
            assert 0 == os.waitstatus_to_exitcode(status)
            assert 1 == pool.calls.count
            call.cancel()
            await asyncio.wait([call])
            assert 0 == pool.calls.count

    async def test_counts_to_zero(self) -> None:
        """However calls end, none counts as under way after it."""
        async with (
            RawServer(answers(400), answers(503), silent) as server,
            CONFIRM.client(server.url, retry=RetryPolicy(max_attempts=1)) as client,
        ):
            for _ in range(2):
                with pytest.raises(CareValidateError):
                    await CONFIRM.ask(client)
            call = asyncio.create_task(CONFIRM.ask(client))
            await settle()
            call.cancel()
            await asyncio.wait([call])
            await CONFIRM.ask(client)

            assert 0 == client._session._transport.calls.count
