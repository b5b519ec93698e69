"""
Sends sealed requests through aiohttp: the only file that does.

One `Transport.send` is at most one request on the wire. It returns what came back, or that nothing
did, as data. It raises what kept it from trying, and lets cancellation through, without the frames
that hold the credential.
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import aiohttp
import attrs

from carevalidate_async._body import BodyError, read_bounded
from carevalidate_async._wire import NoReply, Reply, Sealed
from carevalidate_async.errors import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

E = TypeVar("E", bound=BaseException)

# Our own clocks bound each phase; aiohttp's would count the wait for a free connection as request
# time, and round what is over five seconds up to a whole one.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
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


@attrs.define(kw_only=True)
class _Home:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore
    keeper: AsyncGenerator[None, None] | None


class Transport:
    """
    Connections to one vendor.

    Args:
        session: A session of the caller, used as it is and never closed.

        connector: A connector of the caller, never closed.

        max_connections: Requests on the wire at a time.

        proxy: URL of an HTTP proxy.

        ssl: TLS settings; True for the defaults.

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
    ) -> None:
        self._home: _Home | None = None
        _check_kinds(session, connector, proxy, ssl)
        _transports.add(self)
        self._borrowed = session
        self._connector = connector
        self._max_connections = max_connections
        self._proxy = proxy
        self._ssl = ssl
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed

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
            ClientClosedError: `aclose` was called.
            ConfigurationError: The caller's session cannot be used here.
        """
        home = await self._at_home()
        try:
            async with asyncio.timeout_at(deadline):
                await home.slots.acquire()
        except TimeoutError:
            return NoReply(what="no free connection in time", sent=False, timed_out=True)
        try:
            if self._closed:
                raise ClientClosedError("the client was closed while the call waited to be sent")
            on_turn()
            now = home.loop.time()
            ends = now + attempt_timeout
            if deadline is not None:
                if now >= deadline:  # A busy loop wakes late; nothing is sent when time is up.
                    return NoReply(what="no time left to send it", sent=False, timed_out=True)
                ends = min(ends, deadline)
            body = OneShot(sealed.body, on_wire)
            return await self._exchange(home.session, sealed, body, ends)
        finally:
            home.slots.release()

    async def aclose(self) -> None:
        """Close the connections that are ours; a second call does nothing."""
        self._closed = True
        home, self._home = self._home, None
        if home is not None and home.keeper is not None:
            await home.keeper.aclose()

    def __del__(self) -> None:
        home = self._home
        if home is not None and home.keeper is not None and not home.session.closed:
            # The keeper, which goes with this object, has the loop close them.
            warnings.warn(
                "a CareValidate or Planocore client was not closed: use 'async with' or aclose()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def forget(self) -> None:
        """
        Leave the connections to the process that forked this one.

        They are its own, and so is what its event loop polls with: to close them here, if only by a
        finalizer, would make it deaf on them.
        """
        home, self._home = self._home, None
        if home is not None and home.keeper is not None:
            connector = home.session.connector
            home.session.detach()
            if self._connector is None:
                # There is no public way to keep its finalizer from closing.
                connector._closed = True  # type: ignore[union-attr]  # noqa: SLF001
            _left_to_parent.append(home)

    async def _exchange(
        self, session: aiohttp.ClientSession, sealed: Sealed, body: OneShot, ends: float
    ) -> Reply | NoReply:
        response: aiohttp.ClientResponse | None = None
        try:
            async with (
                asyncio.timeout_at(ends),
                session.request(
                    sealed.method,
                    sealed.url,
                    data=body,
                    headers=sealed.headers,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    timeout=_NO_TIMEOUT,
                    proxy=self._proxy,
                    ssl=self._ssl,
                ) as response,
            ):
                if not body.started:
                    # Nobody asked for this answer: it lay on the kept connection already, and
                    # would say of this request what was said of another.
                    response.close()
                    return NoReply(what="no connection (an answer lay on it)", sent=False)
                return Reply(
                    status=response.status,
                    headers={
                        name.lower(): value
                        for name, value in response.headers.items()
                        if name.lower() != "set-cookie"
                    },
                    body=await read_bounded(
                        response.content.iter_any(), response.headers.get("Content-Encoding", "")
                    ),
                )
        except asyncio.CancelledError as error:
            response = None  # this frame is in the traceback, and its repr shows cookies
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # in a task we are
                # Without aiohttp's frames: their locals hold headers and body.
                raise _stripped(error) from None
            # Nobody cancelled this call. aiohttp cancels its own step when a connector is closed.
            return NoReply(what="the connections were closed", sent=body.started)
        except _HOPELESS as error:
            return NoReply(
                what=f"no trusted connection ({type(error).__name__})",
                sent=body.started,
                transient=False,
                cause=_shown(error),
            )
        except _NOT_CONNECTED as error:
            # A middleware of the caller's session may have sent it on another one before.
            return NoReply(
                what=f"no connection ({type(error).__name__})",
                sent=body.started,
                cause=_shown(error),
            )
        except TimeoutError as error:
            what = "no answer in time" if body.started else "no connection in time"
            return NoReply(what=what, sent=body.started, timed_out=True, cause=_shown(error))
        except BodyError as error:
            return NoReply(what=f"answer lost: {error}", sent=body.started)
        except Exception as error:  # noqa: BLE001 - whatever it was, *sent* stays true
            what = "answer lost" if body.started else "not sent"
            return NoReply(
                what=f"{what} ({type(error).__name__})",
                sent=body.started,
                transient=isinstance(error, aiohttp.ClientError | OSError),
                cause=_shown(error),
            )
        finally:
            body.withdrawn = True

    async def _at_home(self) -> _Home:
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        loop = asyncio.get_running_loop()
        old = self._home
        if old is not None and old.loop is loop and not old.session.closed:
            return old
        if old is not None and old.loop is not loop:
            self._check_moving(old)
        session = self._open(loop)
        home = _Home(
            loop=loop,
            session=session,
            slots=asyncio.Semaphore(self._max_connections),
            keeper=_keep(session) if session is not self._borrowed else None,
        )
        # In one step with the look at what was there, so that tasks do not open two: neither of
        # these gives way to another task, before the home is set.
        if home.keeper is not None:
            await anext(home.keeper)
        self._home = home
        if old is not None and old.keeper is not None:
            # On a loop that was closed this only forgets the connections; they died with it.
            await old.keeper.aclose()
        return home

    def _check_moving(self, home: _Home) -> None:
        if not home.loop.is_closed():
            raise ConfigurationError(
                "the client is in use by another running event loop; make one client per loop"
            )
        if self._borrowed is not None or self._connector is not None:
            raise ConfigurationError(
                "the session or connector belongs to an event loop that is closed; "
                "make a new client with a session of this loop"
            )

    def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        given = self._borrowed or self._connector
        if given is not None:
            if given.closed:
                raise ConfigurationError("the given session or connector is closed")
            # aiohttp has no public way to ask; without its answer it fails later, and less clearly.
            if getattr(given, "_loop", loop) is not loop:
                raise ConfigurationError(
                    "the given session or connector belongs to another event loop; "
                    "make it in the loop that uses it"
                )
        if self._borrowed is not None:
            return self._borrowed
        connector = self._connector
        return aiohttp.ClientSession(
            loop=loop,
            # The semaphore bounds the connections: there a wait is known not to have been sent.
            connector=connector or aiohttp.TCPConnector(limit=0),
            connector_owner=connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
        )


_transports: weakref.WeakSet[Transport] = weakref.WeakSet()
_left_to_parent: list[_Home] = []  # where nothing finalizes them


def _forget_after_fork() -> None:
    for transport in list(_transports):
        transport.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_after_fork)


def _check_kinds(session: object, connector: object, proxy: object, ssl: object) -> None:
    if not isinstance(session, aiohttp.ClientSession | None):
        raise ConfigurationError("session must be an aiohttp.ClientSession")
    if not isinstance(connector, aiohttp.BaseConnector | None):
        raise ConfigurationError("connector must be an aiohttp connector")
    if not isinstance(ssl, ssl_module.SSLContext | aiohttp.Fingerprint | bool):
        raise ConfigurationError("ssl must be an ssl.SSLContext, an aiohttp.Fingerprint or a bool")
    if proxy is not None and not _is_http_url(proxy):
        # It may hold a password, so it is not repeated.
        raise ConfigurationError("proxy must be an http:// or https:// URL")


def _is_http_url(url: object) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)


async def _keep(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """
    Hold *session* open until this is closed.

    Event loops close async generators that nobody holds any more, and all of them at their end. So
    the connections of a client that was forgotten end like those of one that was closed.
    """
    try:
        yield
    finally:
        await session.close()


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
