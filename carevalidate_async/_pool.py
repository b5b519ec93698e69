"""
A client's connections: opened in the event loop that uses them, closed or forgotten with it.

They end with the client (`Pool.aclose`), with their event loop, or with the client's own end when
nobody closed it. A process that forks leaves them to its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import warnings
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs

from carevalidate_async._direct import NO_TIMEOUT, Direct
from carevalidate_async._flights import Flights
from carevalidate_async.errors import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@attrs.define(kw_only=True)
class Home:
    """
    What belongs to one event loop.

    Attributes:
        loop: The event loop.

        session: Opens connections, and keeps them.

        slots: Free connections; a wait for one is known not to have been sent.

        flights: The requests under way.

        direct: A shorter way than through *session*; None where there is none.

        keeper: Holds *session* open; None for a session of the caller's.
    """

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore
    flights: Flights
    direct: Direct | None
    keeper: AsyncGenerator[None, None] | None


class Calls:
    """
    How many calls are under way, between their attempts too.

    Args:
        loop: The event loop that they are made in.

    Attributes:
        loop: As given.

        count: That many.
    """

    __slots__ = ("_waiters", "count", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop | None = loop
        self.count: int = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def begin(self) -> None:
        """Count one more."""
        self.count += 1

    def end(self) -> None:
        """Count one less."""
        self.count -= 1
        if self._waiters and not self.count:
            self.wait_no_more()

    async def settled(self, seconds: float) -> None:
        """Wait until there is none, for *seconds* at most, or until `wait_no_more`."""
        if not self.count:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    def wait_no_more(self) -> None:
        """End every `settled`."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@attrs.define
class _Held:
    """What a pool holds, in an object that outlives it by a moment."""

    home: Home | None = None


class Pool:
    """
    Connections to one vendor.

    Args:
        session: A session of the caller, used as it is and never closed.

        connector: A connector of the caller, never closed.

        max_connections: Requests on the wire at a time.

        direct: Makes a shorter way than through a session of ours; None where there is none.

    Attributes:
        closed: Whether the connections were closed: calls under way have ended, or end now.

        refusing: Whether no new call may begin: `aclose` was called.

    Raises:
        ConfigurationError: One of them is of the wrong kind; it is named.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None,
        connector: aiohttp.BaseConnector | None,
        max_connections: int,
        direct: Callable[[aiohttp.ClientSession, asyncio.AbstractEventLoop], Direct] | None = None,
    ) -> None:
        if not isinstance(session, aiohttp.ClientSession | None):
            raise ConfigurationError("session must be an aiohttp.ClientSession")
        if not isinstance(connector, aiohttp.BaseConnector | None):
            raise ConfigurationError("connector must be an aiohttp connector")
        self._session = session
        self._connector = connector
        self._max_connections = max_connections
        self._direct = direct if session is None and connector is None else None
        self._held = _Held()
        self._resting: set[asyncio.Future[None]] = set()
        self.closed = False
        self.refusing = False
        self._calls = Calls()
        _pools.add(self)
        # Not __del__: garbage that holds itself would take the connections along, and they would
        # complain of it one by one. What a finalizer holds is no garbage yet.
        weakref.finalize(self, _let_go, self._held).atexit = False

    @property
    def calls(self) -> Calls:
        """Those under way; what a loop left unfinished that was closed counts no more."""
        calls, loop = self._calls, asyncio.get_running_loop()
        if calls.loop is not loop and (calls.loop is None or calls.loop.is_closed()):
            self._calls = calls = Calls(loop)
        return calls

    def open_home(self) -> Home | None:
        """Return what belongs to the running event loop, where it was opened before."""
        home = self._held.home
        if home is None or home.loop is not asyncio.get_running_loop() or home.session.closed:
            return None
        return home

    async def home(self) -> Home:
        """
        Return what belongs to the running event loop.

        Raises:
            ClientClosedError: They were closed.
            ConfigurationError: The caller's session or connector cannot be used here, or another
                event loop uses this pool.
        """
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")
        current = self.open_home()
        if current is not None:
            return current
        loop = asyncio.get_running_loop()
        old = self._held.home
        if old is not None and old.loop is not loop:
            self._check_moving(old)
        session = self._open(loop)
        direct = None
        # Who instruments sessions wants to hear of each request.
        if self._direct is not None and not session.trace_configs:
            direct = self._direct(session, loop)
        home = Home(
            loop=loop,
            session=session,
            slots=asyncio.Semaphore(self._max_connections),
            flights=Flights(loop),
            direct=direct,
            keeper=_keep(session, direct) if session is not self._session else None,
        )
        # In one step with the look at what was there, so that tasks do not open two: neither of
        # these gives way to another task, before the home is set.
        if home.keeper is not None:
            await anext(home.keeper)
        self._held.home = home
        if old is not None and old.keeper is not None:
            # On a loop that was closed this only forgets the connections; they died with it.
            await old.keeper.aclose()
        return home

    async def rest(self, seconds: float) -> None:
        """Wait for *seconds*, or until the connections are closed."""
        waiter = asyncio.get_running_loop().create_future()
        self._resting.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._resting.discard(waiter)

    async def aclose(self, grace: float = 0.0) -> None:
        """
        Refuse new calls, and close the connections that are ours; a second call does nothing.

        What `rest` holds up ends when they are closed, and so do the requests under way. An event
        loop that uses them, and that nobody runs, is run for as long as that takes, on a thread.

        Args:
            grace: Seconds that calls under way may take to settle before.

        Raises:
            ConfigurationError: Another event loop uses them at this moment.
        """
        self._check_closing()
        self.refusing = True
        try:
            if grace > 0 and not self.closed and self._can_settle():
                await self.calls.settled(grace)
        finally:  # Who is cancelled here wants no more waiting.
            await self._close()

    def _check_closing(self) -> None:
        home = self._held.home
        loop = asyncio.get_running_loop()
        if home is not None and home.loop is not loop and home.loop.is_running():
            raise ConfigurationError(
                "the client is in use by another running event loop; close it there"
            )

    def _can_settle(self) -> bool:
        """Tell whether calls under way can go on; those of a loop that has stopped cannot."""
        home = self._held.home
        return home is None or home.loop is asyncio.get_running_loop()

    async def _close(self) -> None:
        home = self._held.home
        self.closed = True
        self._held.home = None
        self.calls.wait_no_more()  # of another `aclose`, which is more patient
        if home is None or home.loop is asyncio.get_running_loop():
            await self._end(home)
        elif not home.loop.is_closed():
            # It rests, and what it holds can be closed by it alone.
            await asyncio.to_thread(_run_at_rest, home.loop, self._end(home))
        elif home.keeper is not None:
            # This only forgets the connections; they died with the loop.
            await home.keeper.aclose()

    async def _end(self, home: Home | None) -> None:
        """Wake what rests, end what is under way, and close the connections, in their loop."""
        for waiter in self._resting:
            if not waiter.done():
                waiter.set_result(None)
        if home is not None:
            home.flights.end_all()
            if home.keeper is not None:
                await home.keeper.aclose()

    def leave_to_parent(self) -> None:
        """
        Forget the connections of the process that forked this one.

        They are its own, and so is what its event loop polls with: to close them here, if only by a
        finalizer, would make it deaf on them.
        """
        self._resting.clear()
        self._calls = Calls()
        home, self._held.home = self._held.home, None
        if home is not None and home.keeper is not None:
            connector = home.session.connector
            home.session.detach()
            if connector is not None and self._connector is None:
                # There is no public way to keep its finalizer from closing.
                connector._closed = True  # noqa: SLF001 - see above
            _left_to_parent.append(home)

    def _check_moving(self, home: Home) -> None:
        if not home.loop.is_closed():
            raise ConfigurationError(
                "the client is in use by another running event loop; make one client per loop"
            )
        if self._session is not None or self._connector is not None:
            raise ConfigurationError(
                "the session or connector belongs to an event loop that is closed; "
                "make a new client with a session of this loop"
            )

    def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        given = self._session or self._connector
        if given is not None:
            if given.closed:
                raise ConfigurationError("the given session or connector is closed")
            # aiohttp has no public way to ask; without its answer it fails later, and less clearly.
            if getattr(given, "_loop", loop) is not loop:
                raise ConfigurationError(
                    "the given session or connector belongs to another event loop; "
                    "make it in the loop that uses it"
                )
        if self._session is not None:
            return self._session
        connector = self._connector
        return aiohttp.ClientSession(
            loop=loop,
            # The semaphore bounds the connections.
            connector=connector or aiohttp.TCPConnector(limit=0),
            connector_owner=connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=NO_TIMEOUT,
        )


async def _keep(
    session: aiohttp.ClientSession, direct: Direct | None
) -> AsyncGenerator[None, None]:
    """
    Hold *session* open until this is closed, and the connections that *direct* keeps.

    Event loops close async generators that nobody holds any more, and all of them at their end. So
    the connections of a client that was forgotten end like those of one that was closed.
    """
    try:
        yield
    finally:
        # In this order: the connections that are kept are the session's to close.
        await session.close()
        if direct is not None:
            direct.close()


def _run_at_rest(loop: asyncio.AbstractEventLoop, what: Coroutine[Any, Any, None]) -> None:
    """Run *what* in a loop that nobody runs."""
    try:
        # Its own thread may run it again, or have closed it, since we looked. Nobody holds the
        # keeper any more then, and the loop closes the connections as those of a forgotten client.
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(what)
    finally:
        if inspect.getcoroutinestate(what) == inspect.CORO_CREATED:
            what.close()


def _let_go(held: _Held) -> None:
    """Let the event loop close what a pool held that was forgotten."""
    home, held.home = held.home, None
    if home is not None and home.keeper is not None and not home.session.closed:
        # The keeper, whom nobody holds any more after this, has the loop close them.
        warnings.warn(
            "a CareValidate or Planocore client was not closed: use 'async with' or aclose()",
            ResourceWarning,
            stacklevel=2,
        )


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_left_to_parent: list[Home] = []  # where nothing finalizes them


def _leave_all_to_parent() -> None:
    for pool in list(_pools):
        pool.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_leave_all_to_parent)
