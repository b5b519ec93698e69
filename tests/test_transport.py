from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import sys
import types
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from calls import settle
from carevalidate_async import ClientClosedError, ConfigurationError
from carevalidate_async._body import MAX_ANSWER_BYTES
from carevalidate_async._transport import OneShot, Transport, _shown
from carevalidate_async._wire import Head, NoReply, Reply, Sealed
from raw_server import (
    RawServer,
    Step,
    answers,
    breaks_off,
    drips,
    fingerprint,
    http,
    late,
    ok,
    once,
    resets,
    says,
    self_signed,
    silent,
)

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

CONFIRM = "/api/v1/customer-payment-confirmation"
OTHER_WORDS = b'{"status": 200, "success": true, "of": "another request"}'


@pytest.fixture(autouse=True, params=["session", "direct"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let each test be played by both ways onto a connection."""
    chosen: str = request.param
    monkeypatch.setattr(sys.modules[__name__], "WAY", chosen)
    return chosen


WAY = "auto"


def make(
    *,
    session: aiohttp.ClientSession | None = None,
    connector: aiohttp.BaseConnector | None = None,
    max_connections: int = 100,
    proxy: str | None = None,
    ssl: aiohttp.Fingerprint | bool = True,
) -> Transport:
    """Return a transport; what is not given is as a client's defaults are."""
    given = session is not None or connector is not None or proxy is not None
    return Transport(
        session=session,
        connector=connector,
        max_connections=max_connections,
        proxy=proxy,
        ssl=ssl,
        way="auto" if given else WAY,
    )


async def send(
    transport: Transport,
    url: str,
    *,
    method: str = "POST",
    body: bytes = b'{"amount":1.15}',
    attempt_timeout: float = 20.0,
    deadline: float | None = None,
) -> Reply | NoReply:
    """Send a request once; *deadline* is in seconds from now."""
    sealed = Sealed(head=Head(method, url + CONFIRM, {"cv-api-key": "k"}), body=body)
    now = asyncio.get_running_loop().time()
    return await transport.send(
        sealed,
        attempt_timeout=attempt_timeout,
        deadline=None if deadline is None else now + deadline,
        on_turn=lambda: None,
        on_wire=lambda: None,
    )


def lost(got: Reply | NoReply) -> NoReply:
    """Return *got*, which has to be no reply."""
    assert isinstance(got, NoReply), got
    return got


def replied(got: Reply | NoReply) -> Reply:
    """Return *got*, which has to be a reply."""
    assert isinstance(got, Reply), got
    return got


def free(transport: Transport) -> int:
    """Return how many requests could be sent side by side now."""
    home = transport._pool._held.home
    assert home is not None
    return home.slots._value


class Resolver(AbstractResolver):
    """Knows no host; *patience* makes it take its time for that."""

    def __init__(self, patience: float = 0.0) -> None:
        self.patience = patience

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.sleep(self.patience)
        raise OSError(None, "no such host")

    async def close(self) -> None:
        """Hold nothing."""


def closed_port() -> str:
    """Return an origin that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


class Writer:
    """What aiohttp writes a body to."""

    def __init__(self, *, should_close: bool = False) -> None:
        self.written: list[bytes] = []
        self.protocol = types.SimpleNamespace(should_close=should_close)

    async def write(self, data: bytes) -> None:
        self.written.append(data)


class TestOneShot:
    async def test_written_once(self) -> None:
        """The first write goes out whole, and is known to have started."""
        told: list[bool] = []
        body, writer = OneShot(b"abc", lambda: told.append(not writer.written)), Writer()

        assert (False, False, []) == (body.started, body.consumed, told)

        await body.write_with_length(writer, 3)  # type: ignore[arg-type]  # a fake

        assert [b"abc"] == writer.written
        assert [True] == told
        assert (True, True) == (body.started, body.consumed)

    async def test_second_write_is_refused(self) -> None:
        """Whoever writes the body again is refused, and nothing goes out."""
        body, first, second = OneShot(b"abc", lambda: None), Writer(), Writer()
        await body.write_with_length(first, 3)  # type: ignore[arg-type]  # a fake

        with pytest.raises(RuntimeError, match="sent once"):
            await body.write_with_length(second, 3)  # type: ignore[arg-type]  # a fake

        assert [] == second.written

    async def test_withdrawn_is_refused(self) -> None:
        """A body that is withdrawn before it was written never goes out."""
        body, writer = OneShot(b"abc", lambda: None), Writer()
        body.withdrawn = True

        with pytest.raises(RuntimeError, match="sent once"):
            await body.write_with_length(writer, 3)  # type: ignore[arg-type]  # a fake

        assert [] == writer.written
        assert (False, True) == (body.started, body.consumed)

    async def test_spent_connection_is_refused(self) -> None:
        """On a connection that holds an answer already, or has failed, nothing is written."""
        body, writer = OneShot(b"abc", lambda: None), Writer(should_close=True)

        with pytest.raises(ConnectionAbortedError):
            await body.write_with_length(writer, 3)  # type: ignore[arg-type]  # a fake

        assert [] == writer.written
        assert (False, False) == (body.started, body.consumed)


class TestReply:
    async def test_whole_answer(self) -> None:
        """An answer comes back with its status, its headers in lower case, and its body."""
        answer = answers(418, b"tea", "X-One: 1", "X-Two: a", "X-Two: b", "Set-Cookie: c=d")
        async with RawServer(answer) as server:
            transport = make()
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert (418, b"tea") == (reply.status, reply.body)
        assert {"x-one": "1", "x-two": "b", "content-length": "3"} == reply.headers

    async def test_request_as_sealed(self) -> None:
        """What arrives is what was sealed: method, path, header, JSON, body."""
        async with RawServer() as server:
            transport = make()
            await send(transport, server.url, method="PUT", body=b'{"x":1}')
            await transport.aclose()

        head = server.requests[0].head
        assert head.startswith(f"PUT {CONFIRM} HTTP/1.1\r\n".encode())
        assert b"\r\ncv-api-key: k\r\n" in head
        assert b"\r\nContent-Type: application/json\r\n" in head
        assert [b'{"x":1}'] == server.bodies

    @pytest.mark.parametrize("borrowed", [False, True])
    async def test_gzip(self, borrowed: bool) -> None:
        """A compressed answer is read, also over a session that was told not to."""
        packed = gzip.compress(b'{"success": true}')
        async with (
            RawServer(answers(200, packed, "Content-Encoding: gzip")) as server,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            transport = make(session=session if borrowed else None)
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert b'{"success": true}' == reply.body

    async def test_chunked(self) -> None:
        """An answer in chunks is put together."""
        chunks = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
        async with RawServer(says(chunks)) as server:
            transport = make()
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert b"abc" == reply.body

    async def test_until_the_end(self) -> None:
        """An answer without a length lasts until the connection ends."""
        async with RawServer(breaks_off(b"HTTP/1.1 200 OK\r\n\r\nabc")) as server:
            transport = make()
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert b"abc" == reply.body

    async def test_early_hints_are_passed_over(self) -> None:
        """An interim answer is not the answer."""
        async with RawServer(says(b"HTTP/1.1 103 Hints\r\n\r\n" + http(200, b"x"))) as server:
            transport = make()
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert (200, b"x") == (reply.status, reply.body)

    @pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
    @pytest.mark.parametrize("packed", [False, True])
    async def test_size_is_bounded(self, more: int, fits: bool, packed: bool) -> None:
        """An answer of a mebibyte is read; of one that is longer, unpacked, no more is kept."""
        body, headers = b"x" * (MAX_ANSWER_BYTES + more), []
        if packed:
            body, headers = gzip.compress(body), ["Content-Encoding: gzip"]
        async with RawServer(answers(200, body, *headers)) as server:
            transport = make()
            got = await send(transport, server.url)

            assert 100 == free(transport)
            await transport.aclose()

        assert fits is isinstance(got, Reply)
        if not fits:
            assert (True, True) == (lost(got).sent, lost(got).transient)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("same_origin", [False, True])
    async def test_redirect_is_not_followed(self, status: int, same_origin: bool) -> None:
        """A redirect is the answer; nobody hears of the request, or the key, at its target."""
        async with RawServer() as other, RawServer() as server:
            target = (server if same_origin else other).url
            server.script.append(answers(status, b"", f"Location: {target}/elsewhere"))
            transport = make()
            reply = replied(await send(transport, server.url))
            await transport.aclose()

        assert status == reply.status
        assert (1, 0) == (len(server.requests), len(other.requests))

    async def test_cookies_are_forgotten(self) -> None:
        """A cookie that an answer sets is neither sent back nor shown; bare aiohttp sends it."""
        sets = answers(200, b"", "Set-Cookie: a=b; Path=/")
        async with RawServer(sets, ok, sets, ok) as server:
            # aiohttp takes no cookies from addresses.
            url = server.url.replace("127.0.0.1", "localhost")
            transport = make()
            first = replied(await send(transport, url))
            await send(transport, url)
            await transport.aclose()
            async with aiohttp.ClientSession() as session:
                for _ in range(2):
                    await session.post(f"{url}/x", data=b"{}")

        assert "set-cookie" not in first.headers
        told = [b"cookie: a=b" in request.head.lower() for request in server.requests]
        assert [False, False, False, True] == told

    async def test_connection_is_kept(self) -> None:
        """Requests one after the other share a connection, those side by side do not."""
        async with RawServer() as server:
            transport = make()
            for _ in range(3):
                await send(transport, server.url)
            assert 1 == server.connections

            server.script.extend([late(0.05)] * 2)
            await asyncio.gather(*(send(transport, server.url) for _ in range(2)))
            assert 2 == server.connections
            await transport.aclose()

    async def test_force_close(self) -> None:
        """A connector that keeps no connections works as well."""
        async with RawServer() as server, aiohttp.TCPConnector(force_close=True) as connector:
            transport = make(connector=connector)
            for _ in range(2):
                replied(await send(transport, server.url))
            await transport.aclose()

        assert (2, 2) == (len(server.requests), server.connections)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LOST: dict[str, Step] = {
    "closed": breaks_off(),
    "half a head": breaks_off(HEAD[:20]),
    "half a body": breaks_off(HEAD + b'{"success"'),
    "no body": breaks_off(HEAD),
    "cut in a chunk": breaks_off(CHUNKS + b"9\r\n{"),
    "cut between chunks": breaks_off(CHUNKS + b"1\r\n{\r\n"),
    "junk for a chunk": breaks_off(CHUNKS + b"zz\r\n{}\r\n"),
    "reset": resets(),
    "reset in the head": resets(HEAD[:20]),
    "reset in the body": resets(HEAD + b"{"),
    "junk": says(b"\x00\xff junk\r\n\r\n"),
    "junk, closed": breaks_off(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "bad length": says(b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n"),
    "two lengths": says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
    "endless header": says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "not gzip": answers(200, b"{}", "Content-Encoding: gzip"),
}
SLOW: dict[str, Step] = {
    "silence": silent,
    "silence after the head": late(0, says(HEAD + b"{")),
    "dripping head": drips(HEAD * 99),
    "dripping body": drips(b" " * 9999, after=HEAD.replace(b": 20", b": 9999")),
}


class TestLost:
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    @pytest.mark.parametrize("fault", LOST)
    async def test_answer_that_cannot_be_trusted(self, fault: str, method: str) -> None:
        """Whatever becomes of the answer, one request arrived, and it may have been carried out."""
        async with RawServer(LOST[fault]) as server:
            transport = make()
            got = lost(await send(transport, server.url, method=method))
            assert 100 == free(transport)

            replied(await send(transport, server.url, method=method))
            await transport.aclose()

        assert (True, False, True) == (got.sent, got.timed_out, got.transient)
        assert 2 == len(server.requests)

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    @pytest.mark.parametrize("by_deadline", [False, True])
    @pytest.mark.parametrize("fault", SLOW)
    async def test_answer_that_takes_too_long(
        self, fault: str, by_deadline: bool, method: str
    ) -> None:
        """When time is up in the midst of an answer, the request may have been carried out."""
        async with RawServer(SLOW[fault]) as server:
            transport = make()
            attempt_timeout, deadline = (9.0, 0.4) if by_deadline else (0.4, 9.0)
            got = lost(
                await send(
                    transport,
                    server.url,
                    method=method,
                    attempt_timeout=attempt_timeout,
                    deadline=deadline,
                )
            )
            assert 100 == free(transport)

            replied(await send(transport, server.url, method=method))
            await transport.aclose()

        assert (True, True, True) == (got.sent, got.timed_out, got.transient)
        assert 2 == len(server.requests)
        assert 2 == server.connections


class TestMiddleware:
    @pytest.mark.parametrize("hopeless", [False, True])
    async def test_what_went_out_before_is_not_forgotten(self, *, hopeless: bool) -> None:
        """
        A middleware of the caller's session that sends, and then finds no connection, leaves open
        whether the payment is on record.
        """

        async def sends_first(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            (await handler(request)).close()
            if hopeless:
                raise aiohttp.InvalidURL("nowhere")
            raise aiohttp.ClientConnectorError(request.connection_key, OSError("gone"))

        async with (
            RawServer() as server,
            aiohttp.ClientSession(middlewares=[sends_first]) as session,
        ):
            transport = make(session=session)
            got = lost(await send(transport, server.url))
            await transport.aclose()

        assert (True, False, not hopeless) == (got.sent, got.timed_out, got.transient)
        assert 1 == len(server.requests)

    async def test_what_was_not_sent_is_withdrawn(self) -> None:
        """A request that a middleware keeps cannot be sent once its attempt is over."""
        kept: list[Any] = []

        async def keeps(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            kept.append(request.body)
            raise aiohttp.ClientConnectorError(request.connection_key, OSError("gone"))

        async with (
            RawServer() as server,
            aiohttp.ClientSession(middlewares=[keeps]) as session,
        ):
            transport = make(session=session)
            got = lost(await send(transport, server.url))
            await transport.aclose()

        (body,) = kept
        assert (False, True) == (got.sent, body.consumed)


class TestKeptConnection:
    """What aiohttp repeats by itself, on a kept connection that dies, arrives once from us."""

    @pytest.mark.parametrize("dies", [breaks_off(), resets()])
    async def test_control(self, dies: Step) -> None:
        """Bare aiohttp sends a PUT twice that was carried out, and says nothing of it."""
        async with RawServer(ok, dies) as server, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.put(server.url + CONFIRM, data=b"{}") as response:
                    assert 200 == response.status

        assert 3 == len(server.requests)

    @pytest.mark.parametrize("borrowed", [False, True])
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize("dies", [breaks_off(), resets()])
    async def test_sent_once(self, dies: Step, method: str, borrowed: bool) -> None:
        """A request whose kept connection dies after it arrived is not sent again by anyone."""
        async with RawServer(ok, dies) as server, aiohttp.ClientSession() as session:
            transport = make(session=session if borrowed else None)
            replied(await send(transport, server.url, method=method))
            got = lost(await send(transport, server.url, method=method))
            await transport.aclose()

        assert (True, False, True) == (got.sent, got.timed_out, got.transient)
        assert 2 == len(server.requests)
        assert server.connections <= 2  # aiohttp 3.13 opens another before the body refuses

    @pytest.mark.parametrize("borrowed", [False, True])
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize("how", ["close_all", "reset_all"])
    async def test_closed_at_the_moment_of_sending(
        self, how: str, method: str, borrowed: bool
    ) -> None:
        """A request that meets the closing of its connection is not lost twice, nor sent twice."""
        async with RawServer() as server, aiohttp.ClientSession() as session:
            transport = make(session=session if borrowed else None)
            replied(await send(transport, server.url, method=method))
            getattr(server, how)()  # The client hears of it only after it has written.
            got = await send(transport, server.url, method=method)
            await transport.aclose()

        # It did not arrive, but nobody here can know that.
        assert (True, True) == (lost(got).sent, lost(got).transient)
        assert 1 == len(server.requests)

    @pytest.mark.parametrize("how", ["close_all", "reset_all"])
    async def test_closed_before_sending(self, how: str) -> None:
        """A kept connection that is known to be closed is not used."""
        async with RawServer() as server:
            transport = make()
            replied(await send(transport, server.url))
            getattr(server, how)()
            await settle()
            replied(await send(transport, server.url))
            await transport.aclose()

        assert (2, 2) == (len(server.requests), server.connections)


class TestAnswerOfAnother:
    """An answer that lies on a kept connection belongs to no request that comes after it."""

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    async def test_whole(self, method: str) -> None:
        """An answer that nobody asked for is not taken for one; the request is not sent there."""
        async with RawServer() as server:
            transport = make()
            replied(await send(transport, server.url, method=method))
            server.say_to_all(http(200, OTHER_WORDS))
            await settle()
            got = await send(transport, server.url, method=method)

            if isinstance(got, NoReply):
                assert (False, False, True) == (got.sent, got.timed_out, got.transient)
                assert 1 == len(server.requests)
                got = await send(transport, server.url, method=method)
            await transport.aclose()

        assert OTHER_WORDS != replied(got).body
        assert (2, 2) == (len(server.requests), server.connections)

    @pytest.mark.parametrize("known", [10, 19, 40, 60])
    async def test_in_part(self, known: int) -> None:
        """Nor is one of which only a part was there before the request."""
        whole = http(200, OTHER_WORDS)
        async with RawServer() as server:
            transport = make()
            replied(await send(transport, server.url))
            server.say_to_all(whole[:known])
            await settle()
            server.script.append(says(whole[known:]))
            got = await send(transport, server.url, attempt_timeout=0.2)
            await transport.aclose()

        assert isinstance(got, NoReply) or OTHER_WORDS != got.body

    async def test_rest_of_an_answer(self) -> None:
        """What follows a body that was longer than announced is not taken for an answer."""
        short = http(200, b"{}")
        async with RawServer(says(short + http(200, OTHER_WORDS))) as server:
            transport = make()
            first = replied(await send(transport, server.url))
            second = replied(await send(transport, server.url))
            await transport.aclose()

        assert b"{}" == first.body
        assert OTHER_WORDS != second.body
        assert (2, 2) == (len(server.requests), server.connections)


class TestNotSent:
    async def test_refused(self) -> None:
        """Where nobody listens nothing is sent; that may pass."""
        transport = make()
        got = lost(await send(transport, closed_port()))
        await transport.aclose()

        assert (False, False, True) == (got.sent, got.timed_out, got.transient)
        assert isinstance(got.cause, ConnectionRefusedError)

    async def test_unknown_host(self) -> None:
        """Nor is it where the host is not known."""
        async with aiohttp.TCPConnector(resolver=Resolver()) as connector:
            transport = make(connector=connector)
            got = lost(await send(transport, "http://vendor.example"))
            await transport.aclose()

        assert (False, False, True) == (got.sent, got.timed_out, got.transient)

    @pytest.mark.parametrize(("attempt_timeout", "deadline"), [(9.0, 0.05), (0.05, 9.0)])
    async def test_no_connection_in_time(self, attempt_timeout: float, deadline: float) -> None:
        """When time is up before there is a connection, nothing was sent."""
        async with aiohttp.TCPConnector(resolver=Resolver(60)) as connector:
            transport = make(connector=connector)
            url = "http://vendor.example"
            got = lost(
                await send(transport, url, attempt_timeout=attempt_timeout, deadline=deadline)
            )
            await transport.aclose()

        assert (False, True, True) == (got.sent, got.timed_out, got.transient)

    @pytest.mark.parametrize("left", [0.0, -1.0])
    async def test_no_time_left(self, left: float) -> None:
        """Once the deadline is over nothing is sent, however fast it might go."""
        async with RawServer() as server:
            transport = make()
            replied(await send(transport, server.url))
            got = lost(await send(transport, server.url, deadline=left))
            assert 100 == free(transport)
            await transport.aclose()

        assert (False, True) == (got.sent, got.timed_out)
        assert 1 == len(server.requests)

    async def test_no_proxy(self) -> None:
        """Without the proxy nothing is sent."""
        transport = make(proxy="http://user:pw@127.0.0.1:1")
        got = lost(await send(transport, "http://127.0.0.1:1"))
        await transport.aclose()

        assert (False, True) == (got.sent, got.transient)
        assert "pw" not in repr(got)

    async def test_proxy_refuses_the_tunnel(self) -> None:
        """A proxy that makes no tunnel has sent nothing of the request."""
        async with RawServer(answers(407)) as server:
            transport = make(proxy=server.url)
            got = lost(await send(transport, "https://vendor.example"))
            await transport.aclose()

        assert (False, False) == (got.sent, got.timed_out)
        assert [b""] == server.bodies
        assert server.requests[0].head.startswith(b"CONNECT vendor.example:443 ")

    async def test_proxy(self) -> None:
        """Through a proxy the request goes with the whole URL in its first line."""
        async with RawServer() as server:
            transport = make(proxy=server.url)
            replied(await send(transport, "http://vendor.example"))
            await transport.aclose()

        start = f"POST http://vendor.example{CONFIRM} HTTP/1.1".encode()
        assert server.requests[0].head.startswith(start)


class TestCause:
    def test_system_error_alone(self) -> None:
        """What the system said is shown without what led to it, which may hold the request."""
        error = OSError(9, "words")
        error.__context__ = ValueError("the request")
        error.__cause__ = error.__context__

        assert error is _shown(error)
        assert [None, None] == [getattr(error, name) for name in ("__cause__", "__context__")]

    def test_others_are_not_shown(self) -> None:
        """The transport library's own errors hold the request, so none of them is shown."""
        assert None is _shown(aiohttp.ClientPayloadError("the answer"))


class TestTls:
    async def test_trusted(self) -> None:
        """With a certificate that is trusted the request goes out."""
        async with RawServer(tls=self_signed()) as server:
            transport = make(ssl=aiohttp.Fingerprint(fingerprint()))
            replied(await send(transport, server.url))
            await transport.aclose()

        assert 1 == len(server.requests)

    @pytest.mark.parametrize("ssl", [True, aiohttp.Fingerprint(b"\x00" * 32)])
    async def test_not_trusted(self, ssl: aiohttp.Fingerprint | bool) -> None:
        """To a server that is not the one it should be nothing is sent; that does not pass."""
        async with RawServer(tls=self_signed()) as server:
            transport = make(ssl=ssl)
            got = lost(await send(transport, server.url))
            await transport.aclose()

        assert (False, False, False) == (got.sent, got.timed_out, got.transient)
        assert [] == server.requests

    async def test_no_tls_there(self) -> None:
        """To a server that does not speak TLS nothing is sent."""
        async with RawServer(greeting=http(400)) as server:
            transport = make()
            got = lost(await send(transport, server.url.replace("http", "https")))
            await transport.aclose()

        assert (False, False, False) == (got.sent, got.timed_out, got.transient)
        assert [] == server.requests


class TestSlots:
    async def test_bound(self) -> None:
        """No more requests are on the wire at a time than there may be connections."""
        async with RawServer(*[late(0.01)] * 9) as server:
            transport = make(max_connections=3)
            await asyncio.gather(*(send(transport, server.url) for _ in range(9)))
            assert 3 == free(transport)
            await transport.aclose()

        assert (9, 3) == (len(server.requests), server.connections)

    async def test_full_until_the_deadline(self) -> None:
        """A request that found no free connection by the deadline was not sent."""
        async with RawServer(silent) as server:
            transport = make(max_connections=1)
            first = asyncio.create_task(send(transport, server.url, attempt_timeout=1.0))
            await settle()
            got = lost(await send(transport, server.url, deadline=0.05))
            assert not first.done()
            assert lost(await first).sent
            assert 1 == free(transport)
            await transport.aclose()

        assert (False, True) == (got.sent, got.timed_out)
        assert 1 == len(server.requests)

    async def test_wait_is_no_time_of_the_attempt(self) -> None:
        """The clock of an attempt starts when its connection is free."""
        async with RawServer(late(1.0)) as server:
            transport = make(max_connections=1)
            first = asyncio.create_task(send(transport, server.url))
            await settle()
            second = await send(transport, server.url, attempt_timeout=0.8)
            assert first.done()
            await transport.aclose()

        assert 200 == replied(second).status
        assert 2 == len(server.requests)


async def cancel(task: asyncio.Task[Any]) -> BaseException:
    """Cancel *task* and return what it ends with."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


class TestCancellation:
    async def test_while_it_waits_for_a_connection(self) -> None:
        """A request that is cancelled in the queue leaves no gap in it."""
        async with RawServer(silent) as server:
            transport = make(max_connections=1)
            first = asyncio.create_task(send(transport, server.url))
            await settle()
            second = asyncio.create_task(send(transport, server.url))
            third = asyncio.create_task(send(transport, server.url))
            await settle()
            await cancel(second)
            await cancel(first)

            assert 200 == replied(await third).status
            assert 1 == free(transport)
            await transport.aclose()

    async def test_as_it_gets_a_connection(self) -> None:
        """A connection that is given to a request in the moment of its cancellation is not lost."""
        now = asyncio.Event()
        async with RawServer(once(now)) as server:
            transport = make(max_connections=1)
            first = asyncio.create_task(send(transport, server.url))
            await server.arrived(1)
            second = asyncio.create_task(send(transport, server.url))
            await settle()
            now.set()
            first.add_done_callback(lambda _: second.cancel())
            await asyncio.wait([first, second])

            assert second.cancelled()
            assert 1 == free(transport)
            replied(await send(transport, server.url))
            await transport.aclose()

    @pytest.mark.parametrize(
        "step", [silent, drips(b" " * 9999, after=HEAD.replace(b": 20", b": 9999"))]
    )
    async def test_while_it_waits_for_the_answer(self, step: Step) -> None:
        """A request that is cancelled on the wire closes its connection and frees its slot."""
        async with RawServer(step) as server:
            transport = make(max_connections=1)
            task = asyncio.create_task(send(transport, server.url))
            await settle()
            error = await cancel(task)
            assert 1 == free(transport)

            replied(await send(transport, server.url))
            await transport.aclose()

        assert 2 == server.connections
        assert (None, None) == (error.__cause__, error.__context__)

    async def test_while_it_connects(self) -> None:
        """A request that is cancelled before it was sent frees its slot."""
        async with aiohttp.TCPConnector(resolver=Resolver(60)) as connector:
            transport = make(connector=connector, max_connections=1)
            task = asyncio.create_task(send(transport, "http://vendor.example"))
            await settle()
            await cancel(task)

            assert 1 == free(transport)
            await transport.aclose()


class TestClose:
    async def test_closed(self) -> None:
        """After its end a transport says so, and sends nothing."""
        async with RawServer() as server:
            transport = make()
            await send(transport, server.url)
            states = [transport.closed]
            for _ in range(2):
                await transport.aclose()
                states.append(transport.closed)
            assert [False, True, True] == states

            with pytest.raises(ClientClosedError):
                await send(transport, server.url)

        assert 1 == len(server.requests)

    async def test_waiting_requests_are_not_sent(self) -> None:
        """What waited for a connection when the transport was closed was never sent."""
        async with RawServer(silent) as server:
            transport = make(max_connections=1)
            first = asyncio.create_task(send(transport, server.url))
            await settle()
            second = asyncio.create_task(send(transport, server.url))
            await asyncio.sleep(0)
            await transport.aclose()

            assert lost(await first).sent
            with pytest.raises(ClientClosedError):
                await second

        assert 1 == len(server.requests)

    @pytest.mark.parametrize("cancelled_before", [False, True])
    async def test_while_it_connects(self, cancelled_before: bool) -> None:
        """
        What was still connecting when the connector was closed was never sent, and nobody cancelled
        it, not even in a task that was cancelled before and cleans up.
        """

        async def clean_up() -> Reply | NoReply:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60 if cancelled_before else 0)
            return await send(transport, "http://vendor.example")

        async with aiohttp.TCPConnector(resolver=Resolver(60)) as connector:
            transport = make(connector=connector)
            task = asyncio.create_task(clean_up())
            await settle()
            if cancelled_before:
                task.cancel()
                await settle()
            await connector.close()
            got = lost(await task)
            await transport.aclose()

        assert (False, False) == (got.sent, got.timed_out)

    @pytest.mark.parametrize("kind", ["session", "connector"])
    async def test_borrowed_and_closed(self, kind: str) -> None:
        """A session or connector that its owner has closed is named as the reason."""
        async with RawServer() as server:
            session = aiohttp.ClientSession()
            transport = (
                make(session=session) if kind == "session" else make(connector=session.connector)
            )
            replied(await send(transport, server.url))
            await session.close()

            with pytest.raises(ConfigurationError, match="closed"):
                await send(transport, server.url)
            await transport.aclose()

        assert 1 == len(server.requests)
