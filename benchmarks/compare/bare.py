"""Contenders without a library of ours: aiohttp as most write it, aiohttp tuned, and the limit."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from benchmarks.compare.contender import Call, check
from benchmarks.compare.target import KEY, PATH, Target, fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def tls(target: Target) -> ssl.SSLContext | bool:
    """Return aiohttp's setting for the target's certificate."""
    return ssl.create_default_context(cafile=target.authority) if target.authority else True


@contextlib.asynccontextmanager
async def naive(target: Target) -> AsyncIterator[Call]:
    """Do what aiohttp's own first page shows."""
    url, headers = target.url + PATH, {"cv-api-key": KEY}
    connector = aiohttp.TCPConnector(limit=max(100, target.concurrency), ssl=tls(target))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call(number: int) -> None:
            async with session.post(url, json=fields(number), headers=headers) as response:
                answer = await response.json()
            check(answer["success"])

        yield call


@contextlib.asynccontextmanager
async def tuned(target: Target) -> AsyncIterator[Call]:
    """Turn every knob of aiohttp's that helps; there is no time limit left."""
    url = target.url + PATH
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls(target)),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"cv-api-key": KEY, "Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
    )
    async with session:

        async def call(number: int) -> None:
            response = await session.post(url, data=encode(fields(number)))
            answer = decode(await response.read())
            check(answer["success"])

        yield call


class _Pipe(asyncio.Protocol):
    """One connection, of which one request at a time makes use."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[bytes] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._waiter is not None  # whose answer is one piece, from this stub
        if not self._waiter.done():
            self._waiter.set_result(data)

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        self._transport.close()


@contextlib.asynccontextmanager
async def limit(target: Target) -> AsyncIterator[Call]:
    """Send the same bytes each time, and hardly look at the answer: what asyncio itself costs."""
    loop = asyncio.get_running_loop()
    where = urlsplit(target.url)
    body = msgspec.json.encode(fields(1))
    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: {where.netloc}\r\ncv-api-key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    context = tls(target) if where.scheme == "https" else None
    idle: deque[_Pipe] = deque()
    for _ in range(target.concurrency):
        _, pipe = await loop.create_connection(
            lambda: _Pipe(loop), str(where.hostname), int(where.port or 0), ssl=context
        )
        idle.append(pipe)

    async def call(_: int) -> None:
        pipe = idle.pop()
        answer = await pipe.ask(request)
        check(answer.endswith(b'"success":true}'))
        idle.append(pipe)

    yield call
    for pipe in idle:
        pipe.close()
