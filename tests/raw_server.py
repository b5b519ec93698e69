"""
A server of bare TCP, for what no well-behaved server does.

Each whole request meets the next step of the script, a function that does as it likes with the
connection. Every request whose head and body arrived whole is counted, whatever comes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs
import trustme

if TYPE_CHECKING:
    from types import TracebackType

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
# With a linger time of zero, closing a socket resets the connection.
_RESET = struct.pack("ii", 1, 0)
# Made anew for each run, by an authority that nobody trusts.
_CERTIFICATE = trustme.CA().issue_cert("localhost")

GOOD: Mapping[str, dict[str, Any]] = {
    "/api/v1/customer-payment-confirmation": {"status": 200, "success": True},
    "/api/v1/payments/intent": {
        "status": 200,
        "success": True,
        "data": {"paymentIntentSecret": "pi_1_secret_2"},
    },
    "/api/v1/users": {"success": True, "data": {"code": "PAYMENT_SETUP_UPDATED"}},
    "/api/v1/payment_methods/update": {"status": "action-successful", "data": {"id": 42}},
}
GOOD_CASE_PAYMENT = {
    "success": True,
    "data": {
        "result": {
            "paymentId": "a1",
            "status": "UNPAID",
            "amount": 1.15,
            "description": "d",
            "createdAt": "2025-01-01T00:00:00.000Z",
        }
    },
}
ON_RECORD = {
    "status": 409,
    "success": False,
    "code": "IDEMPOTENCY_ERROR",
    "description": "Record with provided idempotencyKey already exists",
}


@attrs.frozen
class Arrived:
    """
    A request that arrived whole.

    Attributes:
        connection: 1 for the first connection that was made.

        head: From the request line to the blank line, both included.

        body: All of it.
    """

    connection: int
    head: bytes
    body: bytes

    @property
    def path(self) -> str:
        """The target in the request line."""
        return self.head.split(b" ", 2)[1].decode()


@attrs.define
class Wire:
    """What a step holds: the request that arrived, and the connection that it came on."""

    arrived: Arrived
    writer: asyncio.StreamWriter

    def write(self, data: bytes) -> None:
        """Send *data*."""
        self.writer.write(data)

    def close(self) -> None:
        """End the connection after what was written."""
        self.writer.close()

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.writer)


Step: TypeAlias = Callable[[Wire], Awaitable[None]]


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection behind *writer*, so that its peer sees an error and not an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # It is closed already.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def http(status: int, body: bytes | dict[str, Any] = b"", *more: str) -> bytes:
    """Return a whole answer; *more* are header lines."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Words", *more, f"Content-Length: {len(body)}", "\r\n"]
    return "\r\n".join(lines).encode() + body


def good(path: str) -> bytes:
    """Return the documented success of the operation at *path*."""
    return http(200, GOOD.get(path, GOOD_CASE_PAYMENT), "Content-Type: application/json")


async def ok(wire: Wire) -> None:
    """Answer with the documented success."""
    wire.write(good(wire.arrived.path))


def says(data: bytes) -> Step:
    """Send *data* and keep the connection."""

    async def step(wire: Wire) -> None:
        wire.write(data)

    return step


def answers(status: int, body: bytes | dict[str, Any] = b"", *more: str) -> Step:
    """Answer with *status* and *body*."""
    return says(http(status, body, *more))


def breaks_off(data: bytes = b"") -> Step:
    """Send *data* and close."""

    async def step(wire: Wire) -> None:
        wire.write(data)
        wire.close()

    return step


def resets(data: bytes = b"") -> Step:
    """Send *data* and reset the connection."""

    async def step(wire: Wire) -> None:
        wire.write(data)
        await asyncio.sleep(0.01)  # or the reset would overtake the data
        wire.reset()

    return step


async def silent(wire: Wire) -> None:
    """Say nothing for as long as the server runs."""
    await asyncio.get_running_loop().create_future()


def late(seconds: float, then: Step = ok) -> Step:
    """Wait for *seconds*, then do as *then* does."""

    async def step(wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await then(wire)

    return step


def once(event: asyncio.Event, then: Step = ok) -> Step:
    """Wait for *event*, then do as *then* does."""

    async def step(wire: Wire) -> None:
        await event.wait()
        await then(wire)

    return step


def drips(data: bytes, *, after: bytes = b"") -> Step:
    """Send *after* at once, and then *data* byte by byte, slower than anybody waits."""

    async def step(wire: Wire) -> None:
        wire.write(after)
        for number in range(len(data)):
            wire.write(data[number : number + 1])
            await asyncio.sleep(0.01)

    return step


def self_signed() -> ssl.SSLContext:
    """Return a server's side of TLS with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CERTIFICATE.configure_cert(context)
    return context


def fingerprint() -> bytes:
    """Return what the certificate of `self_signed` is known by: its SHA-256."""
    pem = _CERTIFICATE.cert_chain_pems[0].bytes().decode()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


class RawServer:
    """
    Serves a script on a port of loopback.

    Args:
        script: What the requests meet, one each, in order; after that, `ok`.

        greeting: Said on each connection before anybody asks.

        tls: Speaks TLS with it.
    """

    def __init__(
        self, *script: Step, greeting: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = deque(script)
        self._greeting = greeting
        self._news = asyncio.Event()
        self.requests: list[Arrived] = []
        self.connections = 0
        self._tls = tls
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def bodies(self) -> list[bytes]:
        """Bodies of the requests that arrived, in order."""
        return [request.body for request in self.requests]

    async def arrived(self, count: int) -> None:
        """Wait until *count* requests have arrived."""
        while len(self.requests) < count:
            self._news.clear()
            await self._news.wait()

    def close_all(self) -> None:
        """Close every connection at this very moment."""
        for writer in self._writers:
            writer.close()

    def reset_all(self) -> None:
        """Reset every connection at this very moment."""
        for writer in self._writers:
            reset(writer)

    def say_to_all(self, data: bytes) -> None:
        """Send *data* that nobody asked for on every connection."""
        for writer in self._writers:
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        self.connections += 1
        number = self.connections
        writer.write(self._greeting)
        # A peer that goes away in the middle, or the end of the test, ends this connection.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                wire = Wire(Arrived(number, head, body), writer)
                self.requests.append(wire.arrived)
                self._news.set()
                await (self.script.popleft() if self.script else ok)(wire)
                await writer.drain()
        writer.close()
