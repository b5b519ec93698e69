"""A process that forks: the child leaves the parent's connections alone, and has its own."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from calls import CONFIRM, Client
from carevalidate_async import ConfigurationError, RetryQuota
from test_lifecycle import ServerInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Newer Pythons warn of forks beside threads; the server's thread holds nothing that they need.
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def outside() -> Iterator[ServerInThread]:
    """A server in an event loop of its own."""
    with ServerInThread() as running:
        yield running


def in_child(do: Callable[[], None]) -> int:
    """Return the exit status of a forked process that does *do*: 0 if it raised nothing."""
    gc.collect()  # What others left behind is not the child's to find.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # A hang is a failure, too.
            signal.alarm(10)
            warnings.simplefilter("error")
            said: list[object] = []
            sys.unraisablehook = said.append  # where a finalizer's errors and warnings go
            do()
            status = 0 if not said else 1
        except BaseException:  # noqa: BLE001 - nothing may get back into the test's runner
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def ask(client: Client) -> None:
    async with asyncio.timeout(5):
        await CONFIRM.ask(client)


def forgotten(clients: list[Client]) -> None:
    """Let go of all clients, and of all that they held."""
    clients.clear()
    while gc.collect():
        pass


def closed(clients: list[Client]) -> None:
    """Close the client."""
    asyncio.run(clients.pop().aclose())


def used(clients: list[Client]) -> None:
    """Use the client, and close it."""

    async def use() -> None:
        async with clients[0] as client:
            await ask(client)
            await ask(client)

    asyncio.run(use())


@pytest.mark.parametrize("end", [forgotten, closed, used])
def test_child_leaves_the_parents_connections(
    outside: ServerInThread, end: Callable[[list[Client]], None]
) -> None:
    """
    Whatever the child does with the client, it does it without a word, and the parent goes on over
    the connection that it had.
    """
    clients: list[Client] = [CONFIRM.client(outside.server.url)]
    with asyncio.Runner() as runner:
        runner.run(ask(clients[0]))
        status = in_child(lambda: end(clients))
        runner.run(ask(clients[0]))
        runner.run(clients[0].aclose())

    assert 0 == status
    own = {arrived.connection for arrived in outside.server.requests} - {1}
    assert ({2} if end is used else set()) == own
    assert [1, 1] == [a.connection for a in outside.server.requests if a.connection == 1]


def test_among_others_whose_loops_have_ended(outside: ServerInThread) -> None:
    """Clients that were not closed, but whose event loops have ended, do not get in the way."""
    ended = [CONFIRM.client(outside.server.url) for _ in range(8)]
    for client in ended:
        asyncio.run(ask(client))
    live: list[Client] = [CONFIRM.client(outside.server.url)]
    with asyncio.Runner() as runner:
        runner.run(ask(live[0]))
        status = in_child(lambda: used(live))
        runner.run(ask(live[0]))
        runner.run(live[0].aclose())

    assert 0 == status
    assert 8 + 2 + 2 == len(outside.server.requests)
    forgotten(ended)


def test_quota_that_another_thread_holds() -> None:
    """A fork in the middle of another thread's payment leaves the child a quota that works."""
    quota = RetryQuota(100)
    quota._lock.acquire()

    def pay() -> None:
        assert 5 == quota.take(timed_out=False)
        assert 95 == quota.tokens

    assert 0 == in_child(pay)
    quota._lock.release()
    assert 100 == quota.tokens


def test_client_that_was_not_used_before(outside: ServerInThread) -> None:
    """A client that is made before the fork and used after it works on both sides."""
    clients: list[Client] = [CONFIRM.client(outside.server.url)]
    status = in_child(lambda: used(clients))
    asyncio.run(ask(clients[0]))

    assert 0 == status
    assert 3 == len(outside.server.requests)
    forgotten(clients)


@pytest.mark.parametrize("kind", ["session", "connector"])
def test_borrowed(outside: ServerInThread, kind: str) -> None:
    """A session or connector of the parent's is refused in the child, which has to make its own."""

    async def make() -> tuple[Client, aiohttp.ClientSession]:
        session = aiohttp.ClientSession()
        options: Any = {kind: session if kind == "session" else session.connector}
        client = CONFIRM.client(outside.server.url, **options)
        await ask(client)
        return client, session

    with asyncio.Runner() as runner:
        client, session = runner.run(make())

        def refuse() -> None:
            with pytest.raises(ConfigurationError, match="belongs to another event loop"):
                asyncio.run(ask(client))

        assert 0 == in_child(refuse)
        runner.run(ask(client))
        runner.run(client.aclose())
        runner.run(session.close())

    assert {1} == {arrived.connection for arrived in outside.server.requests}
