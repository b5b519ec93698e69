from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from calls import (
    AT_ONCE,
    CALLS,
    CASE_PAYMENT,
    CONFIRM,
    METHOD,
    ONCE,
    PAYMENT,
    Calling,
    Client,
    settle,
)
from carevalidate_async import (
    AuthenticationError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    GaveUp,
    InvalidRequestError,
    Outcome,
    PaymentConfirmation,
    RetryPolicy,
    RetryQuota,
)
from carevalidate_async._config import CallOptions, ClientOptions, Settings
from carevalidate_async._secret import Secret
from carevalidate_async.carevalidate import CONFIRM_PAYMENT
from carevalidate_async.session import Session
from raw_server import RawServer, answers, late, silent

if TYPE_CHECKING:
    from carevalidate_async.hooks import Event

URL = "http://127.0.0.1:9"
SECRET = Secret("test")


class TestOpen:
    def test_needs_no_loop(self) -> None:
        """A session can be made before any event loop runs; the first call connects."""
        session = Session.open(URL + "/", SECRET)

        assert (URL, False) == (session.origin, session.closed)

    @pytest.mark.parametrize("option", ["timeout", "api_key", "deadlines"])
    def test_unknown_option(self, option: str) -> None:
        """An option that there is not is refused by name, rather than ignored."""
        options: Any = {option: 1}

        with pytest.raises(TypeError, match=option):
            Session.open(URL, SECRET, **options)

    @pytest.mark.parametrize("most", [0, -1, 1.5, True, "9", None])
    def test_max_connections(self, most: object) -> None:
        """What is no number of connections is refused by name."""
        options: Any = {"max_connections": most}

        with pytest.raises(ConfigurationError, match="max_connections"):
            Session.open(URL, SECRET, **options)

    @pytest.mark.parametrize(
        "options",
        [
            {"attempt_timeout": 0},
            {"attempt_timeout": -1},
            {"attempt_timeout": float("inf")},
            {"attempt_timeout": float("nan")},
            {"attempt_timeout": 10**400},
            {"attempt_timeout": None},
            {"attempt_timeout": "30"},
            {"deadline": 0},
            {"deadline": float("inf")},
            {"deadline": True},
            {"retry": 3},
            {"retry": None},
            {"hooks": [1]},
            {"hooks": None},
            {"hooks": print},
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("later", [False, True])
    def test_call_options(self, options: CallOptions, later: bool) -> None:
        """An option of calls that cannot be used is refused by name, at once or later on."""
        given: CallOptions = {} if later else options
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            Session.open(URL, SECRET, **given).with_options(**options)

    def test_coroutine_is_no_hook(self) -> None:
        """A hook that would have to be awaited is refused: nobody would."""

        async def hook(event: Event) -> None:
            """Never run."""

        with pytest.raises(ConfigurationError, match="hooks"):
            Session.open(URL, SECRET, hooks=[hook])  # type: ignore[list-item]  # on purpose

    def test_no_deadline(self) -> None:
        """The deadline can be turned off; an attempt's timeout cannot."""
        assert None is Settings(deadline=None).deadline

    def test_defaults(self) -> None:
        """An attempt has half a minute, a call two."""
        settings = Settings()

        assert (30, 120, RetryPolicy(), ()) == (
            settings.attempt_timeout,
            settings.deadline,
            settings.retry,
            settings.hooks,
        )

    async def test_session_or_connector(self) -> None:
        """A session has a connector of its own, so both cannot be given."""
        async with aiohttp.ClientSession() as given:
            with pytest.raises(ConfigurationError, match="not both"):
                Session.open(URL, SECRET, session=given, connector=given.connector)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"session": 5}, "session must be"),
            ({"connector": "tcp"}, "connector must be"),
            ({"ssl": "no"}, "ssl must be"),
            ({"proxy": 5}, "proxy must be"),
            ({"proxy": "nonsense"}, "proxy must be"),
            ({"proxy": "http://"}, "proxy must be"),
            ({"proxy": "http://:80"}, "proxy must be"),
            ({"proxy": "http://[half"}, "proxy must be"),
            ({"proxy": "ftp://proxy.example"}, "proxy must be"),
            ({"retry_quota": 500}, "retry_quota must be"),
            ({"retry_quota": RetryPolicy()}, "retry_quota must be"),
        ],
    )
    def test_wrong_kind(self, options: dict[str, Any], message: str) -> None:
        """What is no session, connector, TLS setting or proxy is refused when it is given."""
        with pytest.raises(ConfigurationError, match=message):
            Session.open("http://127.0.0.1:9", SECRET, **options)

    def test_options_are_documented(self) -> None:
        """Each option of `ClientOptions` and `CallOptions` is explained in its docstring."""
        for options in (ClientOptions, CallOptions):
            own = options.__annotations__
            if options is ClientOptions:
                own = {name: 1 for name in own if name not in CallOptions.__annotations__}
            for name in own:
                assert f"    {name}: " in inspect.cleandoc(options.__doc__ or ""), name


class TestQuota:
    def test_each_client_has_its_own(self) -> None:
        """Clients share no quota unless they are given the same."""
        first, second = CONFIRM.client(URL), CONFIRM.client(URL)

        assert first.retry_quota is not second.retry_quota
        assert (500, 500) == (first.retry_quota.capacity, first.retry_quota.tokens)  # type: ignore[union-attr]  # it has one

    async def test_given_to_several(self) -> None:
        """A quota that is given to two clients pays for the retries of both."""
        quota = RetryQuota(5)
        async with (
            RawServer(*[answers(503)] * 9) as server,
            CONFIRM.client(server.url, retry_quota=quota) as first,
            CONFIRM.client(server.url, retry_quota=quota) as second,
        ):
            tried = []
            for client in (first, second):
                with pytest.raises(CareValidateError) as caught:
                    await CONFIRM.ask(client)
                tried.append(len(caught.value.attempts))

        assert [2, 1] == tried

    async def test_none(self) -> None:
        """Without a quota there are as many retries as the policy allows."""
        async with (
            RawServer(*[answers(503)] * 99) as server,
            CONFIRM.client(server.url, retry_quota=None) as client,
        ):
            assert None is client.retry_quota
            for _ in range(5):
                with pytest.raises(CareValidateError) as caught:
                    await CONFIRM.ask(client)
                assert GaveUp.MAX_ATTEMPTS is caught.value.gave_up

        assert 5 * AT_ONCE.max_attempts == len(server.requests)


class TestRun:
    @pytest.mark.parametrize("request_", [None, CASE_PAYMENT, METHOD, {"case_id": "c"}], ids=type)
    async def test_wrong_request(self, request_: PaymentConfirmation) -> None:
        """A request of another operation, or of none, is refused before anything is sent."""
        async with RawServer() as server:
            session = Session.open(server.url, SECRET)
            with pytest.raises(InvalidRequestError, match="PaymentConfirmation") as caught:
                await session.run(CONFIRM_PAYMENT, request_)
            await session.aclose()

        assert ("request", Outcome.NOT_SENT) == (caught.value.field, caught.value.outcome)
        assert [] == server.requests

    async def test_headers(self) -> None:
        """Each request says who sends it, what it is, and what it wants."""
        async with RawServer() as server:
            session = Session.open(server.url, Secret("the-key"))
            await session.run(CONFIRM_PAYMENT, PAYMENT)
            await session.aclose()

        head = server.requests[0].head
        assert b"\r\nUser-Agent: carevalidate-async/" in head
        assert b"\r\nAccept: application/json\r\n" in head
        # What is not packed cannot unpack to more than was sent.
        assert 1 == head.count(b"\r\nAccept-Encoding: identity\r\n")
        assert 1 == head.count(b"\r\nContent-Type: application/json\r\n")
        assert 1 == head.count(b"\r\ncv-api-key: the-key\r\n")

    async def test_origin_with_a_path(self) -> None:
        """What stands in the base URL before the operation's path is kept."""
        async with RawServer() as server:
            session = Session.open(f"{server.url}/gate/", SECRET)
            assert f"{server.url}/gate" == session.origin
            await session.run(CONFIRM_PAYMENT, PAYMENT)
            await session.aclose()

        assert [f"/gate{CONFIRM_PAYMENT.path}"] == [request.path for request in server.requests]

    async def test_closed(self) -> None:
        """A closed session says so, and has tried nothing."""
        session = Session.open(URL, SECRET)
        other = session.with_options(retry=ONCE)
        await session.aclose()

        for one in (session, other):
            with pytest.raises(ClientClosedError, match="closed") as caught:
                await one.run(CONFIRM_PAYMENT, PAYMENT)
            assert (Outcome.NOT_SENT, ()) == (caught.value.outcome, caught.value.attempts)


class TestRepr:
    async def test_tells_no_secret(self) -> None:
        """A session shows where it sends and whether it is closed, and nothing else."""
        session = Session.open(URL, Secret("canary"))
        before = repr(session)
        await session.aclose()

        assert [f"<Session {URL}>", f"<Session {URL}, closed>"] == [before, repr(session)]


class TestBorrowedSession:
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_own_settings_do_not_get_in_the_way(self, calling: Calling) -> None:
        """
        A session of the caller's that raises for statuses, unpacks nothing, hurries, and names
        another content type and key changes neither the request nor how its answer is read.
        """
        headers = {"Content-Type": "text/plain", "cv-api-key": "other", "X-Own": "kept"}
        async with (
            RawServer(late(0.05)) as server,
            aiohttp.ClientSession(
                raise_for_status=True,
                auto_decompress=False,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=0.01),
            ) as given,
            calling.client(server.url, session=given, retry=ONCE) as client,
        ):
            await calling.ask(client)
            head = server.requests[0].head

            server.script.append(answers(401, {"status": "invalid-token", "success": False}))
            with pytest.raises(AuthenticationError) as caught:
                await calling.ask(client)

        assert Outcome.REJECTED is caught.value.outcome

        assert b"\r\nX-Own: kept\r\n" in head
        assert b"\r\nContent-Type: application/json\r\n" in head
        assert b"text/plain" not in head
        assert b"cv-api-key: other" not in head or calling.vendor.__name__ == "Planocore"

    @pytest.mark.parametrize("kind", ["session", "connector"])
    async def test_stays_open(self, kind: str) -> None:
        """A session or connector of the caller's is used as it is, and never closed."""
        async with RawServer() as server, aiohttp.ClientSession() as given:
            assert given.connector is not None
            options: ClientOptions = (
                {"session": given} if kind == "session" else {"connector": given.connector}
            )
            async with CONFIRM.client(server.url, **options) as client:
                await CONFIRM.ask(client)
            assert client.closed
            assert not given.closed
            assert not given.connector.closed
            async with given.post(server.url) as response:
                assert 200 == response.status

        # The client's connection was still there.
        assert (2, 1) == (len(server.requests), server.connections)

    async def test_two_clients_share_one(self) -> None:
        """Two clients over one session of the caller's do not disturb each other."""
        async with (
            RawServer() as server,
            aiohttp.ClientSession() as given,
            CONFIRM.client(server.url, session=given) as first,
        ):
            await CONFIRM.ask(first)
            async with CONFIRM.client(server.url, session=given) as second:
                await CONFIRM.ask(second)
            await CONFIRM.ask(first)

        assert (3, 1) == (len(server.requests), server.connections)


async def times_out(client: Client) -> Outcome:
    """Return the outcome of a confirmation whose time is up."""
    with pytest.raises(CareValidateError, match="in time") as caught:
        await CONFIRM.ask(client)
    return caught.value.outcome


class TestWithOptions:
    async def test_shares_the_connections(self) -> None:
        """A client with other options uses the same connections, and does not close them."""
        async with RawServer() as server, CONFIRM.client(server.url) as client:
            await CONFIRM.ask(client)
            async with client.with_options(retry=ONCE) as other:
                await CONFIRM.ask(other)
            assert (True, False) == (other.closed, client.closed)
            with pytest.raises(ClientClosedError):
                await CONFIRM.ask(other)
            await CONFIRM.ask(client)

        assert (3, 1) == (len(server.requests), server.connections)

    async def test_ends_with_the_first(self) -> None:
        """Once the client is closed, those that share its connections are closed too."""
        client = CONFIRM.client(URL)
        other = client.with_options(retry=ONCE).with_options(deadline=1)
        await client.aclose()

        assert other.closed

    async def test_changes_only_what_is_named(self) -> None:
        """Each option can be changed alone, and the first client keeps its own."""
        events: list[Event] = []
        async with RawServer(silent, silent) as server, CONFIRM.client(server.url) as client:
            quick = client.with_options(attempt_timeout=0.4, retry=ONCE)
            heard = quick.with_options(hooks=[events.append])
            assert Outcome.UNKNOWN is await times_out(heard)
            assert 3 == len(events)
            assert Outcome.UNKNOWN is await times_out(quick)
            assert 3 == len(events)
            await CONFIRM.ask(client)

        assert 3 == len(server.requests)

    def test_unknown_option(self) -> None:
        """What belongs to the connections cannot be changed for a call."""
        options: Any = {"max_connections": 3}

        with pytest.raises(TypeError, match="max_connections"):
            CONFIRM.client(URL).with_options(**options)

    async def test_shares_the_quota(self) -> None:
        """Retries of both are paid for by one quota."""
        async with RawServer(*[answers(503)] * 4) as server, CONFIRM.client(server.url) as client:
            assert isinstance(client.retry_quota, RetryQuota)
            other = client.with_options(retry=RetryPolicy(max_attempts=4, base_delay=0))
            with pytest.raises(CareValidateError):
                await CONFIRM.ask(other)

            assert client.retry_quota is other.retry_quota
            assert 500 - 3 * 5 == client.retry_quota.tokens

    def test_worst_case(self) -> None:
        """A client says what a call of its can cost, by its own options."""
        client = CONFIRM.client(URL, retry=RetryPolicy())

        assert "at most 4 requests and 120 seconds" == str(client.worst_case())
        quick = client.with_options(deadline=5, retry=ONCE, attempt_timeout=2)
        assert "at most 1 request and 2 seconds, 5 with waits for a free connection" == str(
            quick.worst_case()
        )

    async def test_full_pool_is_shared(self) -> None:
        """The bound on connections holds for all that share them."""
        async with (
            RawServer(silent) as server,
            CONFIRM.client(server.url, max_connections=1, retry=AT_ONCE, deadline=0.3) as client,
        ):
            first = asyncio.create_task(times_out(client))
            await settle()
            second = await times_out(client.with_options(deadline=0.05))

            assert Outcome.NOT_SENT is second
            assert Outcome.UNKNOWN is await first
            assert 1 == len(server.requests)
