"""
Sends sealed requests through aiohttp: the only file that does.

One `Transport.send` is at most one request on the wire. It returns what came back, or that nothing
did, as data. It raises what kept it from trying, and lets cancellation through, without the frames
that hold the credential.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from carevalidate_async._body import BodyError, read_bounded
from carevalidate_async._pool import NO_TIMEOUT, Pool
from carevalidate_async._wire import NoReply, Reply, Sealed
from carevalidate_async.errors import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

E = TypeVar("E", bound=BaseException)

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
        if not isinstance(ssl, ssl_module.SSLContext | aiohttp.Fingerprint | bool):
            raise ConfigurationError(
                "ssl must be an ssl.SSLContext, an aiohttp.Fingerprint or a bool"
            )
        self._pool = Pool(session=session, connector=connector, max_connections=max_connections)
        self._proxy = proxy
        self._ssl = ssl

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._pool.closed

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
        home = await self._pool.home()
        try:
            async with asyncio.timeout_at(deadline):
                await home.slots.acquire()
        except TimeoutError:
            return NoReply(what="no free connection in time", sent=False, timed_out=True)
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
            body = OneShot(sealed.body, on_wire)
            return await self._exchange(home.session, sealed, body, ends)
        finally:
            home.slots.release()

    async def rest(self, seconds: float) -> None:
        """Wait for *seconds*, or until `aclose` is called."""
        await self._pool.rest(seconds)

    async def aclose(self) -> None:
        """Close the connections that are ours, and end what is under way; see `Pool.aclose`."""
        await self._pool.aclose()

    async def _exchange(
        self, session: aiohttp.ClientSession, sealed: Sealed, body: OneShot, ends: float
    ) -> Reply | NoReply:
        response: aiohttp.ClientResponse | None = None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: somebody awaits this
        cancelled_before = task.cancelling()
        clock = asyncio.timeout_at(ends)
        self._pool.exchanges.add(clock)
        try:
            async with (
                clock,
                session.request(
                    sealed.method,
                    sealed.url,
                    data=body,
                    headers=sealed.headers,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    timeout=NO_TIMEOUT,
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
            if task.cancelling() > cancelled_before:
                # Without aiohttp's frames: their locals hold headers and body.
                raise _stripped(error) from None
            # Nobody cancelled this call. aiohttp cancels its own step when a connector is closed.
            return NoReply(what=_CLOSED, sent=body.started)
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
            if self._pool.closed:
                return NoReply(what=_CLOSED, sent=body.started)
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
            self._pool.exchanges.discard(clock)


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
