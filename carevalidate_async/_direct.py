"""
Sends sealed requests over aiohttp's connections without its session, which costs most of a call.

The only file that leans on parts of aiohttp that are not documented: that a connector's `connect`
takes a `ClientRequest`, and that the protocol of its connections, whose place on the transport an
`Ear` takes, has `set_response_params`, `read`, `exception`, `set_exception`, `force_close` and
`should_close`. All else stays aiohttp's: how connections are opened and trusted, and how answers
are parsed that `_piece.py` does not read. `unfit` says why it is not to be used; the session is
used then.
"""

from __future__ import annotations

import asyncio
import inspect
import select
from types import FunctionType
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from carevalidate_async._body import read_bounded, whole
from carevalidate_async._piece import read_piece
from carevalidate_async._wire import NoReply, Reply, plain_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.connector import Connection

    from carevalidate_async._flights import Flight
    from carevalidate_async._wire import Head, Sealed

# Our own clocks bound each phase; aiohttp's would count the wait for a free connection as request
# time, and round what is over five seconds up to a whole one.
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

CHECKED = frozenset({"3.13", "3.14"})
"""Versions of aiohttp, without their last number, that the tests of the transport are run with."""

KEEP_ALIVE = 15.0
"""Seconds that a connection is kept for the next request, as aiohttp's own connector does."""

_CLIENT = vars(aiohttp.client)
_EARLY = 0.001  # seconds
_CHUNK = 65_536
_SWITCHING = 101


def unfit() -> str | None:
    """Return why the aiohttp that is installed cannot be used in this way; None where it can."""
    version = ".".join(aiohttp.__version__.split(".")[:2])
    if version not in CHECKED:
        return f"it was not checked with aiohttp {version}"
    params = inspect.signature(ResponseHandler.set_response_params).parameters
    if not params.keys() >= {"read_until_eof", "auto_decompress", "read_bufsize"}:
        return "aiohttp's protocol takes other parameters"
    if not isinstance(getattr(ResponseHandler, "should_close", None), property):
        return "aiohttp's protocol does not say whether it can be kept"
    return None


def is_replaced() -> bool:
    """Tell whether somebody (a mock, a tracer) stands in for the session's requests."""
    # Not by comparing it with what it was when this was imported, which may be under the mock: who
    # mocks means to send nothing, least of all to the vendor.
    request: object = aiohttp.ClientSession._request  # noqa: SLF001 - only to see whose it is
    return type(request) is not FunctionType or request.__globals__ is not _CLIENT


class Ear(asyncio.Protocol):
    """
    Hears the answers on a connection, and hands on to aiohttp's protocol all that is no plain one.

    Args:
        handler: That protocol.

        loop: The event loop.
    """

    def __init__(self, handler: ResponseHandler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._waiter: asyncio.Future[Reply | None] | None = None
        self._parsing = False  # aiohttp's parser is at an answer

    def listen(self) -> asyncio.Future[Reply | None]:
        """Return what will be the answer, or None once aiohttp's parser is at it."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def stop(self) -> None:
        """Expect nothing until `listen`."""
        self._waiter = None
        self._parsing = False

    def give_up(self, error: BaseException) -> None:
        """Let whoever waits for the answer meet *error*."""
        # Not by way of the handler, which forgets its error when it is closed.
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            self._handler.set_exception(error)
        elif not waiter.done():
            waiter.set_exception(error)

    def data_received(self, data: bytes) -> None:
        """Read an answer that is whole and plain; leave any other to the handler."""
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            reply = read_piece(data)
            if not waiter.done():
                waiter.set_result(reply)
            if reply is not None:
                return
            self._parsing = True
            self._handler.set_response_params(
                read_until_eof=True, auto_decompress=False, read_bufsize=_CHUNK
            )
        if self._parsing:
            self._handler.data_received(data)
        else:  # nobody asked: what comes next could be no answer
            self._handler.force_close()

    def eof_received(self) -> None:
        """Let the handler hear of it."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the handler hear of it, and whoever listens."""
        self._handler.connection_lost(exc)
        if self._waiter is not None:
            self.give_up(self._handler.exception() or aiohttp.ServerDisconnectedError())

    def pause_writing(self) -> None:
        """Let the handler hear of it."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Let the handler hear of it."""
        self._handler.resume_writing()


class Line:
    """
    A connection.

    Attributes:
        connection: As aiohttp's connector gave it.

        ear: Hears what comes on it; None where the connection is lost.

        since: Moment on the loop's clock since which nobody uses it.
    """

    __slots__ = ("_poll", "connection", "ear", "since")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.ear: Ear | None = None
        self.since = 0.0
        self._poll: Callable[[int], object] | None = None
        transport, protocol = connection.transport, connection.protocol
        if transport is not None and protocol is not None:
            self.ear = Ear(protocol, loop)
            transport.set_protocol(self.ear)
        sock = None if transport is None else transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN)
            self._poll = poll.poll
        elif sock is not None:  # on Windows, whose select has no bound on the number of a socket
            self._poll = lambda _: select.select([sock.fileno()], [], [], 0)[0]

    @property
    def usable(self) -> bool:
        """Whether it is open, and has said nothing that nobody asked for."""
        protocol = self.connection.protocol
        return protocol is not None and protocol.is_connected() and not protocol.should_close

    def spoken_to(self) -> bool:
        """Tell whether there is something on it, its end too, that was not read yet."""
        return self._poll is not None and bool(self._poll(0))


class Direct:
    """
    Connections to one vendor, each of which carries one request after the other.

    Args:
        session: Its connector opens the connections, and closing it closes them.

        loop: The event loop.

        ssl: TLS settings, as aiohttp takes them.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        loop: asyncio.AbstractEventLoop,
        ssl: Any,  # noqa: ANN401 - aiohttp's own kinds
    ) -> None:
        assert session.connector is not None  # noqa: S101 - for the type checker: it is open
        self._connector = session.connector
        self._loop = loop
        self._ssl = ssl
        self._idle: list[Line] = []  # the one used last at the end
        self._sweeping: asyncio.TimerHandle | None = None

    async def kept(self) -> Line | None:
        """Return a connection that was used before and can be used again; None where none can."""
        oldest = self._loop.time() - KEEP_ALIVE
        while self._idle:
            line = self._idle.pop()
            usable = False
            try:
                usable = line.since >= oldest and line.usable
                if usable and line.spoken_to():
                    # The peer has spoken or gone, and the event loop is yet to hear of it: it looks
                    # in one turn, and has told by the next. What comes on a connection that has
                    # spoken unasked is no answer to this request. An end is seen again and again.
                    usable = False
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    usable = line.usable and not line.spoken_to()
            finally:
                if not usable:
                    line.connection.close()
            if usable:
                return line
        return None

    async def connect(self, head: Head) -> Line:
        """Open a connection."""
        connection = await self._connector.connect(self._prepared(head).request, [], NO_TIMEOUT)
        # asyncio takes memory for 256 KiB at each read, which the system may have to clear first.
        if isinstance(getattr(connection.transport, "max_size", None), int):
            connection.transport.max_size = _CHUNK  # type: ignore[union-attr]  # as seen
        return Line(connection, self._loop)

    async def exchange(self, line: Line, sealed: Sealed, flight: Flight) -> Reply | NoReply:
        """
        Send *sealed* on a connection, and return the whole answer.

        Whatever happens, the connection is kept for another request or closed.

        Raises:
            TimeoutError: Its time is up.
            BodyError: The answer's body cannot be trusted.
            aiohttp.ClientError, OSError: The answer is lost.
        """
        connection = line.connection
        protocol, transport = connection.protocol, connection.transport
        kept = False
        try:
            if protocol is None or transport is None or line.ear is None:
                raise aiohttp.ClientConnectionError("the connection was lost at once")
            if protocol.should_close:
                return NoReply(what="no connection (an answer lay on it)", sent=False)
            prepared = self._prepared(sealed.head)
            ear = line.ear
            flight.on_expiry = lambda: ear.give_up(TimeoutError())
            if flight.expired:  # while nobody was there to be told
                raise TimeoutError
            flight.start()
            answer = ear.listen()
            transport.write(prepared.render(sealed.body))
            reply = await answer
            if reply is None:
                reply = await _parsed(protocol, prepared, flight)
            kept = _can_carry_another(protocol, transport)
            return reply
        finally:
            flight.on_expiry = None
            if line.ear is not None:
                line.ear.stop()
            if kept:
                self._keep(line)
            else:
                connection.close()

    def close(self) -> None:
        """Forget the connections that are kept; the session closes them."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while self._idle:
            self._idle.pop().connection.close()

    def _keep(self, line: Line) -> None:
        line.since = self._loop.time()
        self._idle.append(line)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEP_ALIVE, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has used for long."""
        self._sweeping = None
        # The one used last is at the end. A loop is early by as much as its clock is coarse.
        now = self._loop.time() + _EARLY
        while self._idle and self._idle[0].since + KEEP_ALIVE <= now:
            self._idle.pop(0).connection.close()
        if self._idle:
            self._sweeping = self._loop.call_at(self._idle[0].since + KEEP_ALIVE, self._sweep)

    def _prepared(self, head: Head) -> _Prepared:
        prepared = head.prepared
        if not isinstance(prepared, _Prepared) or prepared.owner is not self:
            prepared = head.prepared = _Prepared(self, head, self._loop, self._ssl)
        return prepared


class _Prepared:
    """
    The beginning of a request, rendered once.

    Attributes:
        owner: For whom; another has another event loop.

        request: What a connector is asked with.

        render: Returns the request with a body; a function, since nothing that lists attributes
            sees the credential within one.
    """

    __slots__ = ("owner", "render", "request")

    def __init__(
        self,
        owner: Direct,
        head: Head,
        loop: asyncio.AbstractEventLoop,
        ssl: Any,  # noqa: ANN401 - aiohttp's own kinds
    ) -> None:
        self.owner = owner
        # Without our headers: it is shown by errors. It fills in the host.
        self.request = aiohttp.ClientRequest(
            head.method, URL(head.url), headers={}, loop=loop, ssl=ssl
        )
        host = self.request.headers["Host"]
        self.render = _renderer(head, self.request.url.raw_path_qs, host)


def _renderer(head: Head, path: str, host: str) -> Callable[[bytes], bytes]:
    lines = [f"{head.method} {path} HTTP/1.1", f"Host: {host}"]
    headers = {"Content-Type": "application/json", **head.headers}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    del headers
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        del lines
        raise ValueError("a header holds a line's end")
    rendered = "\r\n".join([*lines, "Content-Length: "]).encode()

    # It only returns them, so that it is in no traceback: what is within a function is shown there.
    return lambda body: b"%b%d\r\n\r\n%b" % (rendered, len(body), body)


async def _parsed(protocol: ResponseHandler, prepared: _Prepared, flight: Flight) -> Reply:
    """Return the answer that aiohttp's parser reads."""
    try:
        message, payload = await protocol.read()
        while message.code < 200 and message.code != _SWITCHING:
            message, payload = await protocol.read()
    except HttpProcessingError as error:
        raise aiohttp.ClientResponseError(
            prepared.request.request_info, (), status=error.code
        ) from None
    return Reply(
        status=message.code,
        headers=plain_headers(message.headers),
        body=await _body(payload, message.headers, flight),
    )


def _can_carry_another(protocol: ResponseHandler, transport: asyncio.WriteTransport) -> bool:
    # An early answer can come before all of the request has left.
    return not protocol.should_close and not transport.get_write_buffer_size()


async def _body(payload: aiohttp.StreamReader, headers: Any, flight: Flight) -> bytes:  # noqa: ANN401 - aiohttp's own kind
    encoding = headers.get("Content-Encoding", "")
    if payload.is_eof() and payload.exception() is None:  # it came in one piece, as a rule
        return whole(payload.read_nowait(), encoding)
    if flight.expired:
        raise TimeoutError
    ended = flight.on_expiry

    def on_expiry() -> None:
        if ended is not None:
            ended()
        payload.set_exception(TimeoutError())

    flight.on_expiry = on_expiry
    return await read_bounded(payload.iter_any(), encoding)
