"""The way past aiohttp's session: what is its own. Both ways play all tests of the transport."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import socket
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Literal, Self

import aiohttp
import attrs
import pytest
from aiohttp.client_proto import ResponseHandler

import virtual
from calls import CONFIRM, PAYMENT
from carevalidate_async import (
    APITimeoutError,
    CareValidate,
    ConfigurationError,
    RetryPolicy,
    _direct,
)
from carevalidate_async._direct import Direct, unfit
from carevalidate_async._flights import Flight
from carevalidate_async._wire import Head, Sealed
from carevalidate_async.sandbox import Sandbox
from matrix.vendor import Vendor
from raw_server import GOOD, RawServer, Wire, fingerprint, http, ok, self_signed, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async._pool import Home

ONCE = RetryPolicy(max_attempts=1)
PAGE = GOOD["/api/v1/customer-payment-confirmation"]


class Interrupted(BaseException):
    """What a handler of signals may raise."""


class Talkative:
    """
    A server in a thread of its own, which says what nobody asked for when it is told to.

    Attributes:
        requests: How many each connection brought.
    """

    def __init__(self) -> None:
        self.requests: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def say_more(self) -> None:
        """Say it on the first connection, and wait until it has arrived."""
        self._connections[0].sendall(http(200, PAGE))
        time.sleep(0.05)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self.requests.append(0)
                number = len(self._connections) - 1
                threading.Thread(target=self._serve, args=(number,), daemon=True).start()

    def _serve(self, number: int) -> None:
        with contextlib.suppress(OSError):
            while self._connections[number].recv(65536):
                self.requests[number] += 1
                self._connections[number].sendall(http(200, PAGE))


def home(client: Any) -> Home:
    found = client._session._transport._pool._held.home
    assert found is not None
    return found  # type: ignore[no-any-return]  # as its type says


def idle(client: Any) -> int:
    direct = home(client).direct
    assert direct is not None
    return len(direct._idle)


class TestChoice:
    def test_fits_what_is_installed(self) -> None:
        """
        The versions of aiohttp that the tests run with are among those that it was checked with.
        """
        assert None is unfit()

    async def test_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where nothing speaks against it, it is taken.
        """
        monkeypatch.delenv("CAREVALIDATE_TRANSPORT", raising=False)
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)

            assert home(client).direct is not None

    @pytest.mark.parametrize(
        ("break_it", "why"),
        [
            (lambda m: m.setattr(aiohttp, "__version__", "3.99.1"), "with aiohttp 3.99"),
            (
                lambda m: m.setattr(ResponseHandler, "set_response_params", lambda: None),
                "takes other parameters",
            ),
            (lambda m: m.setattr(ResponseHandler, "should_close", False), "can be kept"),
        ],
    )
    async def test_unknown_versions_are_left_alone(
        self, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[Any], None], why: str
    ) -> None:
        """
        A version that nobody checked, or that is not as it was, is used by way of its session.
        """
        break_it(monkeypatch)

        assert why in (unfit() or "")
        with pytest.raises(ConfigurationError, match=why):
            CareValidate("k", base_url="https://vendor.test", transport="direct")

        monkeypatch.delenv("CAREVALIDATE_TRANSPORT", raising=False)
        client = CareValidate("k", base_url="https://vendor.test")
        assert client._session._transport._pool._direct is None

    @pytest.mark.parametrize("given", ["session", "connector", "proxy"])
    async def test_what_is_given_is_used(self, given: str) -> None:
        """
        A session, connector or proxy of the caller's is used as it is.
        """
        async with aiohttp.ClientSession() as session:
            options: dict[str, Any] = {
                "session": session,
                "connector": session.connector,
                "proxy": "http://127.0.0.1:1",
            }
            chosen = {given: options[given]}
            with pytest.raises(ConfigurationError, match=f"with a {given} of yours"):
                CareValidate("k", base_url="http://127.0.0.1:9", transport="direct", **chosen)

            client = CareValidate("k", base_url="http://127.0.0.1:9", **chosen)
            assert client._session._transport._pool._direct is None

    @pytest.mark.parametrize("variable", ["session", "direct", "auto"])
    async def test_the_environment_chooses(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        """
        Whoever runs a program can choose without a change to it.
        """
        monkeypatch.setenv("CAREVALIDATE_TRANSPORT", variable)
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)

            assert (variable == "session") is (home(client).direct is None)

    def test_an_unknown_one_is_refused(self) -> None:
        """
        What is none of the ways is named, with all there are.
        """
        with pytest.raises(ConfigurationError, match="transport must be one of auto, direct, sess"):
            CareValidate("k", base_url="http://127.0.0.1:9", transport="fast")  # type: ignore[arg-type]  # on purpose

    async def test_mocks_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where a test stands in for the session's requests, none goes past it.
        """
        asked = []

        async def request(*arguments: object, **_: object) -> None:
            asked.append(arguments[1])
            raise aiohttp.ClientConnectionError

        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)
            monkeypatch.setattr(aiohttp.ClientSession, "_request", request)
            with pytest.raises(Exception, match="not sent"):
                await CONFIRM.ask(client.with_options(retry=RetryPolicy(max_attempts=1)))

            assert asked
            assert 1 == len(server.requests)

    async def test_tracers_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where somebody has every session traced, requests go through one.
        """
        traced = []
        config = aiohttp.TraceConfig()

        async def note(*_: object) -> None:
            traced.append(1)

        config.on_request_start.append(note)
        real = aiohttp.ClientSession.__init__

        def init(self: aiohttp.ClientSession, **options: Any) -> None:
            real(self, **options, trace_configs=[config])

        monkeypatch.setattr(aiohttp.ClientSession, "__init__", init)
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)

        assert [1] == traced


class TestKept:
    async def test_one_after_the_other(self) -> None:
        """
        Requests one after the other share a connection.
        """
        async with RawServer() as server, CONFIRM.client(server.url, transport="direct") as client:
            for _ in range(5):
                await CONFIRM.ask(client)

            assert {1} == {arrived.connection for arrived in server.requests}
            assert 1 == idle(client)

    async def test_the_one_used_last_is_used_next(self) -> None:
        """
        Of several the one used last is taken, so that what is not needed grows old.
        """
        async with RawServer() as server, CONFIRM.client(server.url, transport="direct") as client:
            await asyncio.gather(*(CONFIRM.ask(client) for _ in range(5)))
            before = len(server.requests)
            for _ in range(5):
                await CONFIRM.ask(client)

            assert 1 == len({arrived.connection for arrived in server.requests[before:]})

    def test_old_ones_are_closed(self) -> None:
        """
        A connection that nobody used for 15 seconds is closed, whether or not another is needed.
        """

        async def main() -> tuple[list[int], int]:
            found = []
            async with Vendor() as vendor:
                client = CONFIRM.client(f"http://127.0.0.1:{vendor.port}", transport="direct")
                await asyncio.gather(*(CONFIRM.ask(client) for _ in range(3)))
                found.append(idle(client))
                await asyncio.sleep(10)
                await CONFIRM.ask(client)
                await asyncio.sleep(5.5)
                found.append(idle(client))
                await asyncio.sleep(10)
                found.append(idle(client))
                await CONFIRM.ask(client)
                requests = len(vendor.exchanges)
                await client.aclose()
            return found, requests

        assert ([3, 1, 0], 5) == virtual.run(main())

    async def test_one_that_was_closed_is_not_used(self) -> None:
        """
        A connection that the server closed meanwhile is forgotten, and nothing is tried on it.
        """

        async def closes(wire: Wire) -> None:
            wire.write(http(200, PAGE))
            wire.close()

        async with (
            RawServer(closes) as server,
            CONFIRM.client(server.url, transport="direct") as client,
        ):
            await CONFIRM.ask(client)
            await asyncio.sleep(0.05)
            await CONFIRM.ask(client)

            assert [1, 2] == [arrived.connection for arrived in server.requests]

    async def test_one_whose_tls_ended_without_a_word_is_not_used(self) -> None:
        """
        A server that goes away below TLS takes no leave, and no request is lost on it.
        """

        async def goes_away(wire: Wire) -> None:
            wire.write(http(200, PAGE))
            await wire.writer.drain()
            wire.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

        trusted = aiohttp.Fingerprint(fingerprint())
        async with (
            RawServer(goes_away, ok, tls=self_signed()) as server,
            CONFIRM.client(server.url, transport="direct", retry=ONCE, ssl=trusted) as client,
        ):
            await CONFIRM.ask(client)
            await asyncio.sleep(0.05)
            await CONFIRM.ask(client)

            assert [1, 2] == [arrived.connection for arrived in server.requests]

    @pytest.mark.parametrize("more", [b"x", http(200, PAGE)])
    async def test_one_that_spoke_unasked_is_not_used(self, more: bytes) -> None:
        """
        What a server says beyond its answer is no answer to the next request.
        """

        async def says_more(wire: Wire) -> None:
            wire.write(http(200, PAGE) + more)

        async with (
            RawServer(says_more) as server,
            CONFIRM.client(server.url, transport="direct") as client,
        ):
            await CONFIRM.ask(client)
            await asyncio.sleep(0.05)
            await CONFIRM.ask(client)

            first, *others = [arrived.connection for arrived in server.requests]
            assert first not in others

    @pytest.mark.parametrize("parts", [1, 2])
    @pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\n", http(200, PAGE)])
    async def test_nor_one_that_spoke_unasked_later(self, parts: int, more: bytes) -> None:
        """
        Nor is what it says while nobody asks, not even the beginning of an answer, and whoever read
        the answer before.
        """

        async def says_more(wire: Wire) -> None:
            answer = http(200, PAGE)
            for start in range(parts):
                wire.write(answer[start * 30 : (start + 1) * 30 if start < parts - 1 else None])
                await asyncio.sleep(0.02)
            wire.write(more)

        async with (
            RawServer(says_more, ok) as server,
            CONFIRM.client(server.url, transport="direct") as client,
        ):
            await CONFIRM.ask(client)
            await asyncio.sleep(0.1)
            await CONFIRM.ask(client)

            assert [1, 2] == [arrived.connection for arrived in server.requests]

    async def test_a_plain_answer_takes_no_parser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        One that came in pieces does, or it is not understood.
        """

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("no parser")

        async def in_pieces(wire: Wire) -> None:
            wire.write(http(200, PAGE)[:30])
            await asyncio.sleep(0.02)
            wire.write(http(200, PAGE)[30:])

        async with (
            RawServer(ok, in_pieces) as server,
            CONFIRM.client(server.url, transport="direct", retry=ONCE) as client,
        ):
            with monkeypatch.context() as without:
                without.setattr(ResponseHandler, "set_response_params", broken)
                await CONFIRM.ask(client)
            await CONFIRM.ask(client)

            assert 2 == len(server.requests)
            assert 1 == idle(client)

    @pytest.mark.parametrize("cancelled", [False, True])
    async def test_one_is_looked_at_before_it_is_used(self, *, cancelled: bool) -> None:
        """
        Nor is it where the event loop has not heard yet of what the server said; and whoever is
        cancelled in that moment leaves nothing open.
        """
        with Talkative() as server:
            client = CONFIRM.client(server.url, transport="direct")
            await CONFIRM.ask(client)
            connection = home(client).direct._idle[0].connection  # type: ignore[union-attr]  # it is there
            server.say_more()  # which takes no turn of the event loop
            task = asyncio.ensure_future(CONFIRM.ask(client))
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
            await asyncio.wait([task])

            assert cancelled is task.cancelled()
            assert connection.closed
            assert [1] if cancelled else [1, 1] == server.requests
            await client.aclose()

    async def test_an_early_answer_leaves_none(self) -> None:
        """
        Where the answer comes before all of the request has left, what is left of it would be taken
        for the beginning of the next one.
        """
        looked, ended = asyncio.Event(), asyncio.Event()

        async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(http(400, {"success": False, "message": "too long"}))
            await writer.drain()
            await looked.wait()
            writer.transport.abort()
            ended.set()

        server = await asyncio.start_server(answer_early, "127.0.0.1", 0, limit=1024)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, CONFIRM.client(url, transport="direct") as client:
            long = attrs.evolve(PAYMENT, description="x" * 20_000_000)
            assert isinstance(client, CareValidate)
            with pytest.raises(Exception, match="too long"):
                await client.confirm_payment(long)

            assert 0 == idle(client)
            looked.set()
            await ended.wait()

    async def test_forgotten_clients_leave_none(self, recwarn: pytest.WarningsRecorder) -> None:
        """
        The connections of a client that was forgotten are closed by the event loop, without a
        complaint of their own.
        """
        async with RawServer() as server:
            client = CONFIRM.client(server.url, transport="direct")
            await CONFIRM.ask(client)
            connection = home(client).direct._idle[0].connection  # type: ignore[union-attr]  # it is there
            del client
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)

            assert connection.closed
        told = [str(warning.message) for warning in recwarn]
        assert 1 == len(told)
        assert "was not closed" in told[0]

    def test_it_moves_to_another_event_loop(self) -> None:
        """
        After its event loop has ended a client opens connections of the next one.
        """
        client = CareValidate("test", base_url="http://127.0.0.1:1", transport="direct")

        async def ask() -> int:
            async with Sandbox(api_key="test") as sandbox:
                there = CareValidate("test", base_url=sandbox.url, transport="direct")
                await CONFIRM.ask(there)
                await there.aclose()
                return sandbox.received

        async def with_one() -> None:
            with pytest.raises(Exception, match="no connection"):
                await CONFIRM.ask(client.with_options(retry=RetryPolicy(max_attempts=1)))

        assert [1, 1] == [asyncio.run(ask()), asyncio.run(ask())]
        asyncio.run(with_one())
        asyncio.run(with_one())


class TestAsAiohttpWould:
    async def test_the_same_bytes(self) -> None:
        """
        Both ways send the same headers and the same body, in whatever order.
        """
        async with RawServer() as server:
            ways: tuple[Literal["session", "direct"], ...] = ("session", "direct")
            for way in ways:
                async with CONFIRM.client(server.url, transport=way) as client:
                    assert isinstance(client, CareValidate)
                    await client.confirm_payment(attrs.evolve(PAYMENT, idempotency_key="k-1"))
        heads = [
            (head.split(b"\r\n")[0], sorted(head.split(b"\r\n")[1:]))
            for head in (arrived.head for arrived in server.requests)
        ]

        assert heads[0] == heads[1]
        assert server.requests[0].body == server.requests[1].body

    async def test_the_name_of_a_host(self) -> None:
        """
        The host is named with its port where that is not the scheme's own.
        """
        session = aiohttp.ClientSession()
        loop = asyncio.get_running_loop()
        hosts = []
        for url in ("http://h.test/", "http://h.test:80/", "http://h.test:81/", "http://[::1]:8/"):
            prepared = Direct(session, loop, ssl=True)._prepared(Head("POST", url, {}))
            hosts.append(prepared.request.headers["Host"])
        await session.close()

        assert ["h.test", "h.test", "h.test:81", "[::1]:8"] == hosts

    def test_a_header_cannot_end_early(self) -> None:
        """
        A line's end in a header is refused, without a word of it.
        """
        head = Head("POST", "http://h.test/", {"cv-api-key": "canary\r\nX: y"})
        with pytest.raises(ValueError, match="line's end") as caught:
            _direct._renderer(head, "/", "h.test")

        frames = inspect.getinnerframes(caught.value.__traceback__)  # type: ignore[arg-type]  # raised
        assert not any("canary" in repr(frame.frame.f_locals) for frame in frames[1:])

    async def test_time_that_is_up_already_sends_nothing(self) -> None:
        """
        A request whose time was up before anybody was told so does not leave.
        """
        async with RawServer() as server, CONFIRM.client(server.url, transport="direct") as client:
            await CONFIRM.ask(client)
            direct = home(client).direct
            assert direct is not None
            line = await direct.kept()
            assert line is not None
            late = Flight(0.0, lambda: None)
            late.expire()
            sealed = Sealed(head=Head("POST", server.url, {}), body=b"{}")
            with pytest.raises(TimeoutError):
                await direct.exchange(line, sealed, late)

            assert (False, 1) == (late.started, len(server.requests))
            assert line.connection.closed

    async def test_a_signal_in_the_midst_shows_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What a handler of signals raises while bytes are written shows neither them nor the key.
        """

        def interrupted(*_: object) -> None:
            raise Interrupted

        async with RawServer() as server, CONFIRM.client(server.url, transport="direct") as client:
            await CONFIRM.ask(client)
            transport = home(client).direct._idle[0].connection.transport  # type: ignore[union-attr]  # it is there
            monkeypatch.setattr(type(transport), "write", interrupted)
            with pytest.raises(Interrupted) as caught:
                await client.confirm_payment(attrs.evolve(PAYMENT, description="canary"))  # type: ignore[union-attr]  # CareValidate's
            monkeypatch.undo()

            told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            ours = [frame for frame in told.stack if "carevalidate_async/_" in frame.filename]
            assert ours
            assert not any("cv-api-key" in str(frame.locals) for frame in ours)
            assert not any("canary" in str(frame.locals) for frame in ours)

    async def test_time_is_up_in_the_midst_of_an_answer(self) -> None:
        """
        An answer that stops coming is given up at its moment, whatever came of it.
        """

        async def half(wire: Wire) -> None:
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            await silent(wire)

        async with (
            RawServer(half, ok) as server,
            CONFIRM.client(server.url, transport="direct", attempt_timeout=0.1) as client,
        ):
            with pytest.raises(APITimeoutError, match="no answer in time"):
                await CONFIRM.ask(client.with_options(retry=RetryPolicy(max_attempts=1)))

            assert (0, 0) == (idle(client), len(home(client).flights))
