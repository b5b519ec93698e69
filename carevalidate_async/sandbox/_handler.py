"""Takes each request in, has it judged and recorded, and does to the wire what its fault says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import attrs
from aiohttp import hdrs, web

from carevalidate_async.sandbox._answers import CAREVALIDATE, Reply
from carevalidate_async.sandbox._faults import Fault, FaultPlan
from carevalidate_async.sandbox._judge import Asked, RefusedError, Rules

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from carevalidate_async.sandbox._ledger import Ledger
    from carevalidate_async.sandbox._meter import Meter
    from carevalidate_async.sandbox._routes import Route, Router

# With a linger time of zero, closing a socket resets the connection.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_API_KEY = "cv-api-key"
_TOO_MANY = attrs.evolve(Fault.RATE_LIMIT, retry_after=None)


@attrs.define(kw_only=True, eq=False)
class ReceivedRequest:
    """
    A request that arrived.

    Attributes:
        number: 1 for the first that arrived.

        operation: Name of the operation, None where the request line means none.

        method: HTTP method.

        path: The request's target as it came.

        headers: Its headers; names in any case.

        body: The bytes of the body; empty until they are all there.

        fault: What went wrong on purpose, ``Fault.OK`` for nothing.

        status: HTTP status of the answer; None where there was none, or none yet.
    """

    number: int
    operation: str | None
    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    fault: Fault = attrs.field(factory=lambda: Fault.OK)
    status: int | None = None


class Handler:
    """
    What serves the requests.

    Args:
        rules: What is known to be valid.

        router: Finds the operation of a request.

        plan: Says what goes wrong.

        ledger: Where good requests are put on record.

        hang_seconds: How long a hang lasts that names no time of its own, None for no end.

        keep_requests: How many of the latest requests to keep, None for all.

        max_body: Bytes that a body may have.

        meter: How many requests are admitted.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        router: Router,
        plan: FaultPlan,
        ledger: Ledger,
        hang_seconds: float | None,
        keep_requests: int | None,
        max_body: int,
        meter: Meter,
    ) -> None:
        self._meter = meter
        self._rules = rules
        self._router = router
        self._plan = plan
        self._ledger = ledger
        self._hang_seconds = hang_seconds
        self._max_body = max_body
        self.requests: deque[ReceivedRequest] = deque(maxlen=keep_requests)
        self.received = 0

    def clear(self) -> None:
        """Forget what arrived."""
        self.requests.clear()
        self.received = 0

    def make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Return aiohttp's request, with the limit on its body."""
        loop = asyncio.get_running_loop()
        limit = self._max_body
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=limit
        )

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; it is counted from its first step, however it ends."""
        # Before the first await nothing can have closed the connection.
        transport = cast("asyncio.Transport", http.transport)
        headers = http.headers
        found = self._router.find(http.method, http.raw_path)
        route = None if isinstance(found, Reply) else found[0]
        self.received += 1
        seen = ReceivedRequest(
            number=self.received,
            operation=route.name if route else None,
            method=http.method,
            path=http.raw_path,
            headers=headers,
        )
        self.requests.append(seen)
        if "Expect" in headers:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        vendor = route.vendor if route else CAREVALIDATE
        try:
            seen.body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            return _write(seen, vendor.too_large)
        if isinstance(found, Reply):
            return _write(seen, found)
        return await self._serve(transport, seen, *found)

    async def _serve(
        self,
        transport: asyncio.Transport,
        seen: ReceivedRequest,
        route: Route,
        path_values: tuple[str, ...],
    ) -> web.StreamResponse:
        """Do what the request's fault says; recording, where it records, comes first."""
        fault = self._plan.next_for(route.name)
        if fault is Fault.OK and not self._meter.admit():
            fault = _TOO_MANY
        seen.fault = fault
        if fault is Fault.OK:
            return _write(seen, self._decide(seen, route, path_values))
        reply = fault.reply(route.vendor)
        if fault.records:
            verdict = self._decide(seen, route, path_values)
            reply = reply if fault.effect == "answer" else verdict
        if fault.effect == "hang":
            await _silence(self._hang_seconds if fault.seconds is None else fault.seconds)
        elif fault.seconds is not None:
            await asyncio.sleep(fault.seconds)
        if fault.effect in {"drop", "hang"}:
            return await _reset(transport)
        if fault.effect == "truncate":
            return await _truncate(transport, seen, reply)
        return _write(seen, reply)

    def _decide(self, seen: ReceivedRequest, route: Route, path_values: tuple[str, ...]) -> Reply:
        """Judge a request, put it on record where it is good, and return the documented answer."""
        asked = Asked(
            api_key=seen.headers.get(_API_KEY),
            content_type=seen.headers.get(hdrs.CONTENT_TYPE, ""),
            path_values=path_values,
            body=seen.body,
        )
        try:
            claim = route.judge(asked, self._rules)
        except RefusedError as refusal:
            return refusal.reply
        return route.enter(self._ledger, route.name, claim, seen.body)


def _write(seen: ReceivedRequest, reply: Reply) -> web.Response:
    seen.status = reply.status
    headers = {**reply.headers, "X-Request-Id": f"sandbox-{seen.number}"}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


async def _gone() -> web.StreamResponse:
    """Wait for the cancellation that follows the end of the connection."""
    gone: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await gone


async def _silence(seconds: float | None) -> None:
    if seconds is None:
        await _gone()
    else:
        await asyncio.sleep(seconds)


async def _reset(transport: asyncio.Transport) -> web.StreamResponse:
    """Reset the connection, so that the client sees an error and not an end."""
    with contextlib.suppress(OSError):  # It is closed already.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
    return await _gone()


async def _truncate(
    transport: asyncio.Transport, seen: ReceivedRequest, reply: Reply
) -> web.StreamResponse:
    """Write the whole head and half of the body, then end the connection."""
    seen.status = reply.status
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        f"Content-Length: {len(reply.body)}",
        "\r\n",
    ]
    transport.write("\r\n".join(lines).encode() + reply.body[: len(reply.body) // 2])
    transport.close()
    return await _gone()
