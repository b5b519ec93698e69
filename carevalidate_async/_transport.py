"""
Sends sealed requests: through aiohttp's session, or past it by way of `_direct.py`.

One `Transport.send` is at most one request on the wire. It returns what came back, or that nothing
did, as data. It raises what kept it from trying, and lets cancellation through, without the frames
that hold the credential.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from carevalidate_async._body import BodyError, read_bounded
from carevalidate_async._direct import NO_TIMEOUT, Direct, is_replaced, unfit
from carevalidate_async._flights import Flight
from carevalidate_async._pool import Calls, Home, Pool
from carevalidate_async._wire import NoReply, Reply, Sealed, plain_headers
from carevalidate_async.errors import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aiohttp.abc import AbstractStreamWriter

E = TypeVar("E", bound=BaseException)

WAYS = ("auto", "direct", "session")
"""How requests get onto connections."""

_CLOSED = "the connections were closed"
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)
# Not sent, and trying again changes nothing.
_HOPELESS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class OneShot(aiohttp.BytesPayload):
    """
    A body that can be written once.

    aiohttp repeats a PUT by itself on a kept-alive connection that dies, even when the server has
    carried it out. A body that is used up stops that (aiohttp asks it), and refuses (should a
    version not ask). It also knows whether a byte of the request may have left.

    Args:
        value: The bytes.

        on_wire: Called before the first byte leaves.

    Attributes:
        started: Whether a byte may have left.

        withdrawn: Whether it must not be sent any more, though nothing of it was.
    """

    def __init__(self, value: bytes, on_wire: Callable[[], None]) -> None:
        super().__init__(value, content_type="application/json")
        self._on_wire = on_wire
        self.started = False
        self.withdrawn = False

    @property
    def consumed(self) -> bool:
        """Whether the body cannot be sent any more."""
        return self.started or self.withdrawn

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, the first time."""
        if self.consumed:
            msg = "a request is sent once; only the retry policy repeats it"
            raise RuntimeError(msg)
        if getattr(getattr(writer, "protocol", None), "should_close", False):
            # The peer has spoken or gone: what comes next on it would be no answer to this.
            raise ConnectionAbortedError("the kept connection cannot be used any more")
        self.started = True
        self._on_wire()
        await super().write_with_length(writer, content_length)


class Transport:
    """
    The way to one vendor and back.

    Args:
        session: A session of the caller, used as it is and never closed.

        connector: A connector of the caller, never closed.

        max_connections: Requests on the wire at a time.

        proxy: URL of an HTTP proxy, checked.

        ssl: TLS settings; True for the defaults.

        way: How requests get onto connections: ``session`` through aiohttp's session, ``direct``
            past it, ``auto`` past it where that can be done and a session is not asked for.

    Raises:
        ConfigurationError: One of them is of the wrong kind; it is named.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None,
        connector: aiohttp.BaseConnector | None,
        max_connections: int,
        proxy: str | None,
        ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool,
        way: str = "auto",
    ) -> None:
        if not isinstance(ssl, ssl_module.SSLContext | aiohttp.Fingerprint | bool):
            raise ConfigurationError(
                "ssl must be an ssl.SSLContext, an aiohttp.Fingerprint or a bool"
            )
        given = ("session", session), ("connector", connector), ("proxy", proxy)
        self._pool = Pool(
            session=session,
            connector=connector,
            max_connections=max_connections,
            direct=self._make_direct if _is_direct(way, given) else None,
        )
        self._proxy = proxy
        self._ssl = ssl

    @property
    def closed(self) -> bool:
        """Whether the connections were closed: calls under way can make no further attempt."""
        return self._pool.closed

    @property
    def refusing(self) -> bool:
        """Whether no new call may begin: `aclose` was called."""
        return self._pool.refusing

    @property
    def calls(self) -> Calls:
        """Those under way."""
        return self._pool.calls

    async def send(
        self,
        sealed: Sealed,
        *,
        attempt_timeout: float,
        deadline: float | None,
        on_turn: Callable[[], None],
        on_wire: Callable[[], None],
    ) -> Reply | NoReply:
        """
        Send *sealed* once.

        Args:
            sealed: The request.

            attempt_timeout: Seconds for connecting, sending and the whole answer. The wait for a
                free connection before that is bounded by *deadline* alone.

            deadline: Moment on the loop's clock at which all ends; None for no such moment.

            on_turn: Called once a connection may be used: the end of the wait for it.

            on_wire: Called before the first byte leaves; from then on it may arrive.

        Raises:
            ClientClosedError: The connections were closed.
            ConfigurationError: The caller's session cannot be used here.
        """
        home = self._pool.open_home() or await self._pool.home()
        if home.slots.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await home.slots.acquire()
            except TimeoutError:
                return NoReply(what="no free connection in time", sent=False, timed_out=True)
        else:
            await home.slots.acquire()  # which waits for nobody
        try:
            if self._pool.closed:
                raise ClientClosedError("the client was closed while the call waited to be sent")
            on_turn()
            now = home.loop.time()
            ends = now + attempt_timeout
            if deadline is not None:
                if now >= deadline:  # A busy loop wakes late; nothing is sent when time is up.
                    return NoReply(what="no time left to send it", sent=False, timed_out=True)
                ends = min(ends, deadline)
            return await self._exchange(home, sealed, Flight(ends, on_wire))
        finally:
            home.slots.release()

    async def rest(self, seconds: float) -> None:
        """Wait for *seconds*, or until the connections are closed."""
        await self._pool.rest(seconds)

    async def aclose(self, grace: float = 0.0) -> None:
        """Refuse new calls, let others settle, and close the connections; see `Pool.aclose`."""
        await self._pool.aclose(grace)

    async def _exchange(self, home: Home, sealed: Sealed, flight: Flight) -> Reply | NoReply:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: somebody awaits this
        cancelled_before = task.cancelling()
        home.flights.add(flight)
        try:
            if home.direct is None or is_replaced():
                return await self._through(home.session, sealed, flight)
            line = await home.direct.kept()
            if line is None:
                async with _bounded(flight):
                    line = await home.direct.connect(sealed.head)
            return await home.direct.exchange(line, sealed, flight)
        except asyncio.CancelledError as error:
            if task.cancelling() > cancelled_before:
                # Without aiohttp's frames: their locals hold headers and body.
                raise _stripped(error) from None
            # Nobody cancelled this call. aiohttp cancels its own step when a connector is closed.
            return NoReply(what=_CLOSED, sent=flight.started)
        except Exception as error:  # noqa: BLE001 - whatever it was, *started* stays true
            # aiohttp may keep it, and its frames whatever led here: the request, the call's error.
            stripped = _stripped(error)
            return _no_reply(stripped, sent=flight.started, closed=self._pool.closed)
        except BaseException as error:  # noqa: BLE001 - a signal's, which ends the program
            raise _stripped(error) from None
        finally:
            home.flights.discard(flight)

    async def _through(
        self, session: aiohttp.ClientSession, sealed: Sealed, flight: Flight
    ) -> Reply | NoReply:
        """Send *sealed* through *session*, and return the whole answer."""
        head = sealed.head
        body = OneShot(sealed.body, flight.start)
        response: aiohttp.ClientResponse | None = None
        try:
            async with (
                _bounded(flight),
                session.request(
                    head.method,
                    head.url,
                    data=body,
                    headers=head.headers,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    timeout=NO_TIMEOUT,
                    proxy=self._proxy,
                    ssl=self._ssl,
                ) as response,
            ):
                if not flight.started:
                    # Nobody asked for this answer: it lay on the kept connection already, and
                    # would say of this request what was said of another.
                    response.close()
                    return NoReply(what="no connection (an answer lay on it)", sent=False)
                return Reply(
                    status=response.status,
                    headers=plain_headers(response.headers),
                    body=await read_bounded(
                        response.content.iter_any(), response.headers.get("Content-Encoding", "")
                    ),
                )
        finally:
            response = None  # this frame is in tracebacks, and its repr shows cookies
            body.withdrawn = True

    def _make_direct(
        self, session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop
    ) -> Direct:
        return Direct(session, loop, self._ssl)


def _is_direct(way: str, given: Iterable[tuple[str, object]]) -> bool:
    """Tell whether requests can go past a session; refuse what was asked for and cannot be."""
    if way not in WAYS:
        raise ConfigurationError(f"transport must be one of {', '.join(WAYS)}")
    asked = [name for name, value in given if value is not None]
    why_not = f"with a {asked[0]} of yours" if asked else unfit()
    if way == "direct" and why_not is not None:
        raise ConfigurationError(f"transport cannot be direct: {why_not}")
    return way != "session" and why_not is None


@contextlib.asynccontextmanager
async def _bounded(flight: Flight) -> AsyncIterator[None]:
    """End what is awaited in here when the time of *flight* is up."""
    async with asyncio.timeout(None) as clock:
        flight.on_expiry = lambda: clock.reschedule(0)
        if flight.expired:
            clock.reschedule(0)
        try:
            yield
        finally:
            flight.on_expiry = None


def _no_reply(error: Exception, *, sent: bool, closed: bool) -> NoReply:
    """Return what *error* tells of a request that is *sent*, on connections that are *closed*."""
    kind = type(error).__name__
    if isinstance(error, _HOPELESS):
        return NoReply(
            what=f"no trusted connection ({kind})", sent=sent, transient=False, cause=_shown(error)
        )
    if isinstance(error, _NOT_CONNECTED):
        # A middleware of the caller's session may have sent it on another one before.
        return NoReply(what=f"no connection ({kind})", sent=sent, cause=_shown(error))
    if isinstance(error, TimeoutError):
        if closed:
            return NoReply(what=_CLOSED, sent=sent)
        what = "no answer in time" if sent else "no connection in time"
        return NoReply(what=what, sent=sent, timed_out=True, cause=_shown(error))
    if isinstance(error, BodyError):
        return NoReply(what=f"answer lost: {error}", sent=sent)
    return NoReply(
        what=f"{'answer lost' if sent else 'not sent'} ({kind})",
        sent=sent,
        transient=isinstance(error, aiohttp.ClientError | OSError),
        cause=_shown(error),
    )


def _shown(error: Exception) -> OSError | None:
    """
    Return what the system said, fit to be seen; None where it said nothing.

    aiohttp's own errors hold the request's headers, the proxy's password or the vendor's words, and
    show them in their repr.
    """
    told = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if not isinstance(told, OSError):
        return None
    told = _stripped(told)
    told.__cause__ = told.__context__ = None
    return told


def _stripped(error: E) -> E:
    """Return *error* without the frames of it and of what led to it."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            queue += [one.__cause__, one.__context__]
    return error
