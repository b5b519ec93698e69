"""Takes each request in, has it judged and recorded, and does to the wire what its fault says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast

import attrs
from aiohttp import hdrs, web

from carevalidate_async.sandbox._answers import CAREVALIDATE, KEY_EXISTS, Reply
from carevalidate_async.sandbox._exchanges import ReceivedRequest
from carevalidate_async.sandbox._faults import Fault, FaultPlan
from carevalidate_async.sandbox._judge import Asked, RefusedError, Rules

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from carevalidate_async.sandbox._exchanges import Exchanges
    from carevalidate_async.sandbox._ledger import Ledger
    from carevalidate_async.sandbox._meter import Meter
    from carevalidate_async.sandbox._routes import Route, Router

# With a linger time of zero, closing a socket resets the connection.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_API_KEY = "cv-api-key"
_TOO_MANY = attrs.evolve(Fault.RATE_LIMIT, retry_after=None)


class Page(Protocol):
    """What serves the sandbox's own page."""

    def owns(self, method: str, target: str) -> bool:
        """Tell whether a request is for the page, and so none that arrived at a vendor."""

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve a request that it owns."""


class Handler:
    """
    What serves the requests.

    Args:
        rules: What is known to be valid.

        router: Finds the operation of a request.

        plan: Says what goes wrong.

        ledger: Where good requests are put on record.

        hang_seconds: How long a hang lasts that names no time of its own, None for no end.

        exchanges: Where requests are kept.

        max_body: Bytes that a body may have.

        meter: How many requests are admitted.

    Attributes:
        page: The sandbox's own page, None for none.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        router: Router,
        plan: FaultPlan,
        ledger: Ledger,
        hang_seconds: float | None,
        exchanges: Exchanges,
        max_body: int,
        meter: Meter,
    ) -> None:
        self.page: Page | None = None
        self._exchanges = exchanges
        self._meter = meter
        self._rules = rules
        self._router = router
        self._plan = plan
        self._ledger = ledger
        self._hang_seconds = hang_seconds
        self._max_body = max_body

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
        if isinstance(found, Reply) and self.page and self.page.owns(http.method, http.raw_path):
            return await self.page.serve(http)
        route = None if isinstance(found, Reply) else found[0]
        seen = ReceivedRequest(
            number=self._exchanges.received + 1,
            arrived=time.time(),
            operation=route.name if route else None,
            method=http.method,
            path=http.raw_path,
            headers=headers,
        )
        self._exchanges.add(seen)
        if "Expect" in headers:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            seen.body = await http.read()
            if isinstance(found, Reply):
                return _write(seen, found)
            return await self._serve(transport, seen, *found)
        except web.HTTPRequestEntityTooLarge:
            return _write(seen, (route.vendor if route else CAREVALIDATE).too_large)
        finally:
            seen.seconds = max(0.0, time.time() - seen.arrived)
            if seen.ending is None:  # The task was cancelled.
                seen.ending = "gone"
            self._exchanges.weigh(seen)

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
            return await _reset(transport, seen)
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
            seen.verdict = "refused"
            return refusal.reply
        answer = route.enter(self._ledger, route.name, claim, seen.body)
        seen.verdict = "replayed" if answer is KEY_EXISTS else "recorded"
        return answer


def _write(seen: ReceivedRequest, reply: Reply) -> web.Response:
    seen.status = reply.status
    seen.reply = reply
    seen.ending = "answered"
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


async def _reset(transport: asyncio.Transport, seen: ReceivedRequest) -> web.StreamResponse:
    """Reset the connection, so that the client sees an error and not an end."""
    seen.ending = "reset"
    with contextlib.suppress(OSError):  # It is closed already.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
    return await _gone()


async def _truncate(
    transport: asyncio.Transport, seen: ReceivedRequest, reply: Reply
) -> web.StreamResponse:
    """Write the whole head and half of the body, then end the connection."""
    seen.status = reply.status
    seen.reply = reply
    seen.ending = "cut"
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        f"Content-Length: {len(reply.body)}",
        "\r\n",
    ]
    transport.write("\r\n".join(lines).encode() + reply.body[: len(reply.body) // 2])
    transport.close()
    return await _gone()
