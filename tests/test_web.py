"""The clients of a web application, and the work on them that is finished whoever hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from aiohttp import web
from fastapi import FastAPI
from litestar import Litestar, get, post
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import virtual
from calls import AT_ONCE, CASE, CASE_PAYMENT, METHOD, PAYMENT, settle
from carevalidate_async import (
    AnswerLostError,
    CareValidate,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    Outcome,
    RetryPolicy,
    derive_idempotency_key,
    webhooks,
)
from carevalidate_async.integrations import aiohttp as for_aiohttp
from carevalidate_async.integrations import fastapi as for_fastapi
from carevalidate_async.integrations import litestar as for_litestar
from carevalidate_async.integrations import starlette as for_starlette
from carevalidate_async.integrations._vendors import _Finishing
from carevalidate_async.integrations.starlette import Unheard, Vendors
from carevalidate_async.planocore import Planocore
from carevalidate_async.sandbox import Fault, Sandbox
from carevalidate_async.session import Session
from raw_server import RawServer, answers, late, once, silent
from web_support import App, happens, served, session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEYED = attrs.evolve(PAYMENT, idempotency_key="k-1")
NOT_SENT, REJECTED, RECORDED, UNKNOWN = Outcome


def care_at(url: str, **options: Any) -> Callable[[], CareValidate]:
    """Return what makes a client of the vendor at *url*."""
    return partial(CareValidate, "test", base_url=url, **{"retry": AT_ONCE, **options})


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What is logged of ends that nobody heard."""
    caplog.set_level(logging.INFO, "carevalidate_async")
    return lambda: [text for text in caplog.messages if "after its caller was gone" in text]


async def gone(task: asyncio.Task[Any]) -> None:
    """Cancel a task."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


class TestFinish:
    async def test_call(self, heard: Callable[[], list[str]]) -> None:
        """
        A call whose caller is gone is finished, through its retries, and its end is told once.
        """
        told: list[Unheard] = []
        now = asyncio.Event()
        async with (
            RawServer(once(now, answers(503))) as server,
            Vendors(care=care_at(server.url), on_unheard=told.append) as vendors,
        ):
            call = asyncio.create_task(vendors.care.confirm_payment(KEYED))
            await server.arrived(1)
            await gone(call)
            assert 1 == vendors.unfinished
            now.set()
            await happens(lambda: not vendors.unfinished)

        assert 2 == len(server.requests)
        (end,) = told
        assert ("confirm_payment", RECORDED, "k-1", None) == (
            end.what,
            end.outcome,
            end.idempotency_key,
            end.error,
        )
        assert 2 == len(end.result.meta.attempts)
        assert str(PAYMENT.email) not in repr(end)
        words = "confirm_payment ended after its caller was gone: well, outcome recorded; "
        assert [f"{words}idempotency key k-1"] == heard()

    async def test_call_that_fails(
        self, heard: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
    ) -> None:
        """So is one that fails: by its class and outcome, without the vendor's words."""
        told: list[Unheard] = []
        now = asyncio.Event()
        words = {"success": False, "message": f"no user {PAYMENT.email}"}
        async with (
            RawServer(once(now, answers(400, words))) as server,
            Vendors(care=care_at(server.url), on_unheard=told.append) as vendors,
        ):
            call = asyncio.create_task(vendors.care.confirm_payment(KEYED))
            await server.arrived(1)
            await gone(call)
            now.set()
            await happens(lambda: bool(told))
        del call
        gc.collect()  # An error that nobody fetched would be shown now.

        assert REJECTED is told[0].outcome
        assert "BadRequestError, outcome rejected; idempotency key k-1" in heard()[0]
        assert str(PAYMENT.email) not in caplog.text + repr(told)

    async def test_heard(self, heard: Callable[[], list[str]]) -> None:
        """An end that its caller hears is not told elsewhere."""
        told: list[Unheard] = []
        async with (
            RawServer(answers(400)) as server,
            Vendors(care=care_at(server.url), on_unheard=told.append) as vendors,
        ):
            with pytest.raises(CareValidateError):
                await vendors.care.confirm_payment(KEYED)
            await vendors.care.confirm_payment(KEYED)

        assert ([], []) == (told, heard())

    @pytest.mark.parametrize("stay", [0, 1])
    async def test_the_same_call_twice(self, stay: int, heard: Callable[[], list[str]]) -> None:
        """
        The same call twice at a time is made once, and goes on as long as it must; it is unheard
        only where both callers are gone.
        """
        now = asyncio.Event()
        async with (
            RawServer(once(now)) as server,
            Vendors(care=care_at(server.url)) as vendors,
        ):
            request = attrs.evolve(CASE_PAYMENT, idempotency_key="k-1")
            calls = [
                asyncio.create_task(vendors.care.create_case_payment(CASE, request))
                for _ in range(2)
            ]
            await server.arrived(1)
            for call in calls[stay:]:
                await gone(call)
            now.set()
            done = await asyncio.gather(*calls[:stay])
            await happens(lambda: not vendors.unfinished)
            other = await vendors.care.create_case_payment(CASE, request)

        assert [other.payment_id] * stay == [each.payment_id for each in done]
        assert 2 == len(server.requests)
        assert (1 if stay == 0 else 0) == len(heard())

    async def test_the_same_call_with_less_time(self) -> None:
        """One that is given less time does not wait for one that has more."""
        now = asyncio.Event()
        async with RawServer(once(now)) as server, Vendors(care=care_at(server.url)) as vendors:
            first = asyncio.create_task(vendors.care.confirm_payment(KEYED))
            await server.arrived(1)
            await vendors.care.with_options(deadline=60).confirm_payment(KEYED)
            assert not first.done()
            now.set()
            await first

        assert 2 == len(server.requests)

    async def test_error_is_let_go(self) -> None:
        """An error holds nothing that holds it: what it shows of a request is gone with it."""
        gone: list[weakref.ref[CareValidateError]] = []
        async with RawServer(answers(400)) as server, Vendors(care=care_at(server.url)) as vendors:
            gc.collect()
            gc.disable()
            try:
                try:
                    await vendors.care.confirm_payment(KEYED)
                except CareValidateError as error:
                    gone.append(weakref.ref(error))
                await settle()
                assert [None] == [each() for each in gone]
            finally:
                gc.enable()

    async def test_calls_without_a_key(self) -> None:
        """Two calls that may be two payments are two."""
        async with RawServer() as server, Vendors(care=care_at(server.url)) as vendors:
            await asyncio.gather(*(vendors.care.confirm_payment(PAYMENT) for _ in range(2)))

        assert 2 == len(server.requests)

    @pytest.mark.parametrize("first", ["the end", "the caller"])
    async def test_at_the_same_moment(self, first: str, heard: Callable[[], list[str]]) -> None:
        """An end that comes as the caller goes is told once."""
        now = asyncio.Event()
        async with RawServer() as server, Vendors(care=care_at(server.url)) as vendors:

            async def work() -> str:
                await now.wait()
                return "done"

            call = asyncio.create_task(vendors.finish(work()))
            await settle()
            if first == "the end":
                (task,) = vendors._unfinished._tasks
                task.add_done_callback(lambda _: call.cancel())
                now.set()
            else:
                now.set()
                call.cancel()
            await asyncio.wait([call])
            await settle()

        assert call.cancelled()
        assert 1 == len(heard())

    async def test_work(self, heard: Callable[[], list[str]]) -> None:
        """What belongs to a payment is done with it, though the caller is gone."""
        told: list[Unheard] = []
        noted: list[str] = []
        now = asyncio.Event()
        async with (
            RawServer(once(now)) as server,
            Vendors(care=care_at(server.url), on_unheard=told.append) as vendors,
        ):

            async def pay() -> str:
                await vendors.care.confirm_payment(KEYED)
                noted.append("paid")
                return "done"

            work = asyncio.create_task(vendors.finish(pay()))
            await server.arrived(1)
            await gone(work)
            now.set()
            await happens(lambda: bool(noted) and not vendors.unfinished)
            assert "done" == await vendors.finish(pay())

        (end,) = told
        assert (None, "done") == (end.outcome, end.result)
        assert end.what.endswith("pay")
        assert 1 == len(heard())

    async def test_a_hook_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """What `on_unheard` raises is logged without its words, and changes nothing."""

        def fails(end: Unheard) -> None:
            raise ValueError(PAYMENT.email)

        now = asyncio.Event()
        async with (
            RawServer(once(now)) as server,
            Vendors(care=care_at(server.url), on_unheard=fails) as vendors,
        ):
            call = asyncio.create_task(vendors.care.confirm_payment(KEYED))
            await server.arrived(1)
            await gone(call)
            now.set()
            await happens(lambda: not vendors.unfinished)

        assert "on_unheard failed on the end of confirm_payment: ValueError" in caplog.messages
        assert str(PAYMENT.email) not in caplog.text

    async def test_many(self, heard: Callable[[], list[str]]) -> None:
        """Rows of `confirm_payments` that are under way are finished, too."""
        now = asyncio.Event()
        async with (
            RawServer(*[once(now)] * 4) as server,
            Vendors(care=care_at(server.url)) as vendors,
        ):
            payments = [attrs.evolve(PAYMENT, case_id=f"case-{n}") for n in range(20)]

            async def run() -> None:
                async for _ in vendors.care.confirm_payments(payments, concurrency=4):
                    pass

            running = asyncio.create_task(run())
            await server.arrived(4)
            await gone(running)
            assert 4 == vendors.unfinished
            now.set()

        assert 4 == len(server.requests)
        assert 4 == len(heard())


class TestVendors:
    async def test_both(self, sandbox: Sandbox) -> None:
        """There are a client of each vendor, with their options, and both work."""
        plano = partial(Planocore, "test", base_url=sandbox.url)
        async with Vendors(care=care_at(sandbox.url, deadline=7), plano=plano) as vendors:
            await vendors.care.confirm_payment(KEYED)
            await vendors.plano.update_payment_method(42, METHOD)
            worst = vendors.care.with_options(deadline=3).worst_case()
            assert (7, 3) == (vendors.care.worst_case().seconds, worst.seconds)
            assert vendors.care.retry_quota is not None
            assert sandbox.url in repr(vendors.care)
            assert "<Vendors, 0 unfinished>" == repr(vendors)

        assert (1, 1) == (len(sandbox.payments), len(sandbox.method_updates))
        assert vendors.closed
        assert vendors.care.closed

    def test_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a factory there is a client of each vendor that has a credential there."""
        for name in ("CAREVALIDATE_API_KEY", "PLANOCORE_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigurationError, match="there is no client"):
            Vendors()
        with pytest.raises(ConfigurationError, match="there is no client"):
            Vendors(care=None)
        monkeypatch.setenv("PLANOCORE_TOKEN", "test")
        vendors = Vendors()
        assert isinstance(vendors.plano, Planocore)
        with pytest.raises(ConfigurationError, match="no client of CareValidate"):
            _ = vendors.care
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        vendors = Vendors(plano=None)
        assert isinstance(vendors.care, CareValidate)
        with pytest.raises(ConfigurationError, match="no client of planocore"):
            _ = vendors.plano
        with pytest.raises(ConfigurationError, match="grace"):
            Vendors(grace=-1)

    async def test_options(self) -> None:
        """One that does not exist, or that nobody would await, is refused."""

        async def on_unheard(end: Unheard) -> None:
            raise NotImplementedError

        with pytest.raises(TypeError, match="no such option here: on_unhaerd"):
            Vendors(care=care_at("http://localhost"), on_unhaerd=print)  # type: ignore[call-arg]  # it says so
        with pytest.raises(ConfigurationError, match="on_unheard must be a plain function"):
            Vendors(care=care_at("http://localhost"), on_unheard=on_unheard)  # type: ignore[arg-type]  # it says so

    async def test_a_client_that_cannot_be_closed(self) -> None:
        """The others are closed, whatever one of them raises."""

        class Stuck(CareValidate):
            async def aclose(self, *, grace: float = 0.0) -> None:
                raise ConfigurationError("in use by another running event loop")

        made: list[Planocore] = []

        def plano() -> Planocore:
            made.append(Planocore("test", base_url="http://localhost"))
            return made[0]

        vendors = Vendors(care=lambda: Stuck("test", base_url="http://localhost"), plano=plano)
        with pytest.raises(ConfigurationError, match="another running event loop"):
            await vendors.aclose()

        assert made[0].closed

    def test_stand_in_for_all_of_a_session(self) -> None:
        """Whatever a client asks its session for, it asks one that finishes calls."""
        asked = {name for name in vars(Session) if not name.startswith("_")} - {"open"}

        assert asked <= vars(_Finishing).keys()

    async def test_is_closed_by_the_application_alone(self, sandbox: Sandbox) -> None:
        """A handler that closes the client has closed nothing."""
        async with Vendors(care=care_at(sandbox.url)) as vendors:
            async with vendors.care as care:
                await care.confirm_payment(PAYMENT)
            await vendors.care.confirm_payment(PAYMENT)

        assert 2 == len(sandbox.payments)

    def test_end(self) -> None:
        """
        When the application ends nothing new begins, but by work that has begun; that is waited
        for, as long as it takes.
        """

        async def play() -> None:
            async with RawServer(late(3), late(3)) as server:
                vendors = Vendors(care=care_at(server.url), grace=20)

                async def twice() -> int:
                    for number in range(2):
                        key = f"k-{number}"
                        await vendors.care.confirm_payment(
                            attrs.evolve(PAYMENT, idempotency_key=key)
                        )
                    return 2

                work = asyncio.create_task(vendors.finish(twice()))
                await server.arrived(1)
                closing = asyncio.create_task(vendors.aclose())
                await asyncio.sleep(1)
                assert vendors.closed
                with pytest.raises(ClientClosedError) as caught:
                    await vendors.care.confirm_payment(KEYED)
                assert NOT_SENT is caught.value.outcome
                with pytest.raises(ClientClosedError):
                    await vendors.finish(asyncio.sleep(0))
                await closing
                assert 2 == await work
                assert 6 <= virtual.now() < 7

        virtual.run(play())

    def test_end_of_patience(self, caplog: pytest.LogCaptureFixture) -> None:
        """What has not settled within the grace ends, and says what is known."""

        async def play() -> None:
            async with RawServer(silent, silent) as server:
                vendors = Vendors(care=care_at(server.url), grace=2)
                forever = asyncio.create_task(vendors.finish(asyncio.sleep(999)))
                call = asyncio.create_task(vendors.care.confirm_payment(KEYED))
                await server.arrived(1)
                await vendors.aclose()
                with pytest.raises(AnswerLostError) as caught:
                    await call
                assert UNKNOWN is caught.value.outcome
                with pytest.raises(asyncio.CancelledError):
                    await forever
                assert 2 <= virtual.now() < 4
                assert 0 == vendors.unfinished

        virtual.run(play())
        words = "2 not settled within 2 seconds; they end now: confirm_payment, sleep"
        assert words in caplog.messages

    def test_end_that_is_cancelled(self) -> None:
        """A wait for work that is cancelled closes the clients at once."""

        async def play() -> None:
            async with RawServer(silent) as server:
                vendors = Vendors(care=care_at(server.url), grace=60)
                call = asyncio.create_task(vendors.care.confirm_payment(KEYED))
                await server.arrived(1)
                closing = asyncio.create_task(vendors.aclose())
                await asyncio.sleep(1)
                closing.cancel()
                await asyncio.wait([closing, call])
                assert closing.cancelled()
                assert isinstance(call.exception(), AnswerLostError)
                assert virtual.now() < 3

        virtual.run(play())


async def pay(request: Request) -> Response:
    """Confirm the payment."""
    payment = for_starlette.caller_key(request).bind(PAYMENT, scope="u")
    receipt = await for_starlette.vendors_of(request).care.confirm_payment(payment)
    return JSONResponse({"key": receipt.meta.idempotency_key})


ROUTE = Route("/pay", pay, methods=["POST"])


class TestStarlette:
    async def test_own_lifespan(self, sandbox: Sandbox) -> None:
        """What the application opens by itself is open before the clients, and after them."""
        steps: list[str] = []

        def care() -> CareValidate:
            steps.append("client")
            return care_at(sandbox.url)()

        @contextlib.asynccontextmanager
        async def own(app: Starlette) -> AsyncIterator[dict[str, Any]]:
            steps.append("opened")
            yield {"database": "there"}
            steps.append("closed")

        async def look(request: Request) -> Response:
            assert isinstance(for_starlette.vendors_of(request), Vendors)
            return JSONResponse({"database": request.state.database})

        app = Starlette(
            routes=[Route("/look", look, methods=["POST"]), Mount("/part", routes=[ROUTE])],
            lifespan=for_starlette.lifespan(own, care=care),
            exception_handlers=for_starlette.PROBLEM_HANDLERS,
        )
        async with served(app) as running:
            assert {"database": "there"} == (await running.ask("/look", {})).body
            assert (await running.ask("/part/pay", {})).body["key"].startswith("cv1-")
            # It is on record already, and the route does not accept that.
            again = await running.ask("/part/pay", {})
        assert (409, "application/problem+json") == (again.status, again.kind)
        assert ["opened", "client", "closed"] == steps

    async def test_without_a_lifespan(self) -> None:
        """An application whose lifespan makes no clients says so, and sends nothing."""
        app = Starlette(routes=[ROUTE], exception_handlers=for_starlette.PROBLEM_HANDLERS)
        async with served(app) as running:
            answer = await running.ask("/pay", {})

        assert (500, "not_sent") == (answer.status, answer.body["outcome"])

    async def test_server_out_of_patience(self, heard: Callable[[], list[str]]) -> None:
        """
        A server that cancels what it serves, when it is to end, cancels no payment: it is finished
        within the grace, and told.
        """
        now = asyncio.Event()
        async with RawServer(once(now)) as server:
            app = Starlette(
                routes=[ROUTE],
                lifespan=for_starlette.lifespan(care=care_at(server.url)),
                exception_handlers=for_starlette.PROBLEM_HANDLERS,
            )
            async with served(app, timeout_graceful_shutdown=0) as running:
                asking = asyncio.create_task(running.ask("/pay", {}))
                await server.arrived(1)
                # The vendor answers once the server has given up.
                asking.add_done_callback(lambda _: now.set())
            await asyncio.gather(asking, return_exceptions=True)

        (end,) = heard()
        assert "well, outcome recorded" in end

    async def test_middleware(self, sandbox: Sandbox) -> None:
        """Behind a BaseHTTPMiddleware, a payment whose caller hangs up is finished as well."""
        ended: list[str] = []
        sandbox.script(Fault.DELAY(seconds=0.2))

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        app = Starlette(
            routes=[ROUTE],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
            lifespan=for_starlette.lifespan(
                care=care_at(sandbox.url, hooks=[lambda event: ended.append(type(event).__name__)])
            ),
        )
        async with served(app) as running:
            await running.hang_up("/pay", b"{}", key="k", until=lambda: sandbox.received == 1)
            await happens(lambda: "CallEnded" in ended)

        assert 1 == len(sandbox.payments)
        assert ["CallStarted", "AttemptEnded", "CallEnded"] == ended


class TestFastAPI:
    async def test_dependencies(self, sandbox: Sandbox) -> None:
        """Each dependency is what it says, and the header stands in the API's description."""
        app = FastAPI(
            lifespan=for_fastapi.lifespan(
                care=care_at(sandbox.url), plano=partial(Planocore, "test", base_url=sandbox.url)
            ),
            exception_handlers=for_fastapi.PROBLEM_HANDLERS,
        )

        async def look(
            care: for_fastapi.CareDep,
            plano: for_fastapi.PlanoDep,
            vendors: for_fastapi.VendorsDep,
            key: for_fastapi.CallerKeyDep,
        ) -> bool:
            return care is vendors.care and plano is vendors.plano and "<CallerKey>" == repr(key)

        # Annotations of a function within another cannot be read as text.
        look.__annotations__ = {
            "care": for_fastapi.CareDep,
            "plano": for_fastapi.PlanoDep,
            "vendors": for_fastapi.VendorsDep,
            "key": for_fastapi.CallerKeyDep,
        }
        app.post("/look")(look)
        async with served(app) as running:
            assert (200, True) == attrs.astuple(await running.ask("/look", {}))[::2]
            assert 400 == (await running.ask("/look", {}, key=None)).status
        (header,) = app.openapi()["paths"]["/look"]["post"]["parameters"]

        assert ("Idempotency-Key", "header") == (header["name"], header["in"])

    async def test_secrets_that_change(self, sandbox: Sandbox) -> None:
        """A webhook's secret may be asked for anew each time."""
        event = for_fastapi.webhook_event(lambda: ["another"])

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        with pytest.raises(CareValidateError, match="no x-cv-signature header"):
            await event(Request({"type": "http", "headers": []}, receive))

    async def test_secrets_that_are_read_once(self, sandbox: Sandbox) -> None:
        """Secrets of an iterator are good for every request."""
        event = for_fastapi.webhook_event(iter(["first", "second"]))
        signature = webhooks.sign(b"{}", "second").encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        for _ in range(2):
            scope = {"type": "http", "headers": [(b"x-cv-signature", signature)]}
            assert (await event(Request(scope, receive))).verified


class TestLitestar:
    async def test_plugin(self, sandbox: Sandbox) -> None:
        """Handlers get what they name; the application's own lifespan is around the clients'."""
        steps: list[str] = []

        @contextlib.asynccontextmanager
        async def own(app: Litestar) -> AsyncIterator[None]:
            steps.append("opened")
            yield
            steps.append("closed" if app.state.carevalidate.closed else "too early")

        @post("/look", status_code=200)
        async def look(
            care: for_litestar.CareDep,
            plano: for_litestar.PlanoDep,
            vendors: for_litestar.VendorsDep,
            caller_key: for_litestar.CallerKeyDep,
        ) -> bool:
            shown = repr(caller_key)
            return care is vendors.care and plano is vendors.plano and "<CallerKey>" == shown

        @get("/fails")
        async def fails(request: LitestarRequest[Any, Any, Any]) -> None:
            raise InvalidRequestError("amount", "must be positive")

        plugin = for_litestar.CareValidatePlugin(
            care=care_at(sandbox.url), plano=partial(Planocore, "test", base_url=sandbox.url)
        )
        app = Litestar([look, fails], plugins=[plugin], lifespan=[own], logging_config=None)
        async with served(app) as running:
            assert (200, True) == attrs.astuple(await running.ask("/look", {}))[::2]
            assert 400 == (await running.ask("/look", {}, key=None)).status
            async with running.http.get(f"{running.url}/fails") as answer:
                assert 422 == answer.status
                assert "amount" == (await answer.json(content_type=None))["field"]

        assert ["opened", "closed"] == steps


async def pay_aiohttp(request: web.Request) -> web.Response:
    """Confirm the payment."""
    payment = for_aiohttp.caller_key(request).bind(PAYMENT, scope="u")
    receipt = await for_aiohttp.vendors_of(request).care.confirm_payment(payment)
    return web.json_response({"key": receipt.meta.idempotency_key})


@contextlib.asynccontextmanager
async def runs(app: web.Application, **options: Any) -> AsyncIterator[App]:
    """Serve an application of aiohttp in this process."""
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with session() as http:
            yield App(f"http://127.0.0.1:{runner.addresses[0][1]}", http)
    finally:
        await runner.cleanup()


class TestAiohttp:
    async def test_parts(self, sandbox: Sandbox) -> None:
        """A part of an application has its clients; one without them says so."""
        part = web.Application()
        part.router.add_post("/pay", pay_aiohttp)
        app = web.Application(middlewares=[for_aiohttp.problems])
        app.add_subapp("/part", part)
        app.cleanup_ctx.append(for_aiohttp.vendors_ctx(care=care_at(sandbox.url)))
        async with runs(app) as running:
            assert 200 == (await running.ask("/part/pay", {})).status
            assert not app[for_aiohttp.VENDORS].closed
        bare = web.Application(middlewares=[for_aiohttp.problems])
        bare.router.add_post("/pay", pay_aiohttp)
        async with runs(bare) as running:
            answer = await running.ask("/pay", {})

        assert (500, "not_sent") == (answer.status, answer.body["outcome"])
        assert 1 == len(sandbox.payments)

    async def test_caller_hangs_up(self, sandbox: Sandbox, heard: Callable[[], list[str]]) -> None:
        """Where who hangs up cancels the handler, the payment is finished and told."""
        sandbox.script(Fault.DROP_AFTER(seconds=0.2))
        app = web.Application(middlewares=[for_aiohttp.problems])
        app.router.add_post("/pay", pay_aiohttp)
        retry = RetryPolicy(base_delay=0)
        app.cleanup_ctx.append(for_aiohttp.vendors_ctx(care=care_at(sandbox.url, retry=retry)))
        async with runs(app, handler_cancellation=True) as running:
            body = json.dumps({}).encode()
            await running.hang_up("/pay", body, key="k", until=lambda: sandbox.received == 1)
            await happens(lambda: bool(heard()))

        assert (2, 1) == (sandbox.received, len(sandbox.payments))
        assert "well, outcome recorded" in heard()[0]


OWN = derive_idempotency_key("a payment of its own for each request")


class Keys:
    """Applications with a route that pays under the caller's key, and one that has its own."""

    def __init__(self, url: str) -> None:
        self.care = care_at(url)

    def starlette(self) -> contextlib.AbstractAsyncContextManager[App]:
        async def own(request: Request) -> Response:
            return await self.pay(for_starlette.vendors_of(request).care, OWN)

        async def bound(request: Request) -> Response:
            key = for_starlette.caller_key(request)
            assert key is for_starlette.caller_key(request)
            payment = key.bind(PAYMENT, scope="u")
            care = for_starlette.vendors_of(request).care
            return await self.pay(care, payment.idempotency_key)

        routes = [Route(f"/{each.__name__}", each, methods=["POST"]) for each in (own, bound)]
        return served(
            Starlette(
                routes=[Mount("/part", routes=routes)],
                lifespan=for_starlette.lifespan(care=self.care),
                exception_handlers=for_starlette.PROBLEM_HANDLERS,
            )
        )

    def litestar(self) -> contextlib.AbstractAsyncContextManager[App]:
        @post("/part/own")
        async def own(care: for_litestar.CareDep) -> None:
            await self.pay(care, OWN)

        @post("/part/bound")
        async def bound(care: for_litestar.CareDep, caller_key: for_litestar.CallerKeyDep) -> None:
            await self.pay(care, caller_key.bind(PAYMENT, scope="u").idempotency_key)

        plugin = for_litestar.CareValidatePlugin(care=self.care)
        return served(Litestar([own, bound], plugins=[plugin], logging_config=None))

    def aiohttp(self) -> contextlib.AbstractAsyncContextManager[App]:
        async def own(request: web.Request) -> web.Response:
            await self.pay(for_aiohttp.vendors_of(request).care, OWN)
            raise NotImplementedError

        async def bound(request: web.Request) -> web.Response:
            payment = for_aiohttp.caller_key(request).bind(PAYMENT, scope="u")
            await self.pay(for_aiohttp.vendors_of(request).care, payment.idempotency_key)
            raise NotImplementedError

        app, part = web.Application(middlewares=[for_aiohttp.problems]), web.Application()
        part.router.add_post("/own", own)
        part.router.add_post("/bound", bound)
        app.add_subapp("/part", part)
        app.cleanup_ctx.append(for_aiohttp.vendors_ctx(care=self.care))
        return runs(app)

    async def pay(self, care: CareValidate, key: str | None) -> Response:
        await care.confirm_payment(attrs.evolve(PAYMENT, idempotency_key=key))
        raise NotImplementedError


class TestWhoseKey:
    @pytest.mark.parametrize("framework", ["starlette", "litestar", "aiohttp"])
    async def test_in_doubt(self, framework: str) -> None:
        """
        Only who paid under the caller's key asks for a repetition: elsewhere it may pay again,
        although the caller sent one.
        """
        async with (
            RawServer(*[answers(500, b"", "Retry-After: 0")] * 8) as server,
            getattr(Keys(server.url), framework)() as running,
        ):
            own = await running.ask("/part/own", {})
            bound = await running.ask("/part/bound", {})

        assert ["unknown", "unknown"] == [each.body["outcome"] for each in (own, bound)]
        assert (False, True) == (own.body["retryable"], bound.body["retryable"])
        assert "look first" in own.body["detail"]
        assert "Ask again with the same Idempotency-Key" in bound.body["detail"]
        assert ("Retry-After" in own.headers, "Retry-After" in bound.headers) == (False, True)


class Slow:
    """
    A handler that takes its time, and what became of it.

    Attributes:
        seen: What happened to it.

        enough: Set when it need not go on.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.enough = asyncio.Event()

    async def work(self) -> None:
        self.seen.append("begun")
        try:
            await self.enough.wait()
            self.seen.append("goes on")
        except asyncio.CancelledError:
            self.seen.append("is cancelled")
            raise

    async def for_starlette(self, request: Request) -> Response:
        await self.work()
        return Response()

    async def for_aiohttp(self, request: web.Request) -> web.Response:
        await self.work()
        return web.Response()

    def starlette(self, *middleware: Any) -> Starlette:
        route = Route("/", self.for_starlette, methods=["POST"])
        return Starlette(routes=[route], middleware=[Middleware(each) for each in middleware])

    def litestar(self) -> Litestar:
        @post("/")
        async def handle() -> None:
            await self.work()

        return Litestar([handle], logging_config=None)  # It would be that of all tests.

    def aiohttp(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/", self.for_aiohttp)
        return app


class PassesOn(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


SERVERS: dict[str, tuple[str, Callable[[Slow], Any]]] = {
    "starlette": ("goes on", lambda slow: served(slow.starlette())),
    "middleware": ("goes on", lambda slow: served(slow.starlette(PassesOn))),
    "litestar": ("goes on", lambda slow: served(slow.litestar())),
    "aiohttp": ("goes on", lambda slow: runs(slow.aiohttp())),
    "cancellation": (
        "is cancelled",
        lambda slow: runs(slow.aiohttp(), handler_cancellation=True),
    ),
}


class TestWhoCancels:
    """What the guide says of the frameworks."""

    @pytest.mark.parametrize("name", SERVERS)
    async def test_hang_up(self, name: str) -> None:
        """What a handler meets whose caller hangs up."""
        slow = Slow()
        became, serve = SERVERS[name]
        async with serve(slow) as running:
            await running.hang_up("/", b"{}", key="k", until=lambda: bool(slow.seen))
            if became == "goes on":
                await settle()  # so that the server has heard of it
                slow.enough.set()
            await happens(lambda: len(slow.seen) > 1)

        assert ["begun", became] == slow.seen

    async def test_server_out_of_patience(self) -> None:
        """A handler that takes longer than uvicorn waits at its end is cancelled."""
        slow = Slow()
        async with served(slow.starlette(), timeout_graceful_shutdown=0) as running:
            asking = asyncio.create_task(running.ask("/", {}))
            await happens(lambda: bool(slow.seen))
        await asyncio.gather(asking, return_exceptions=True)

        assert ["begun", "is cancelled"] == slow.seen

    def test_aiohttp_out_of_patience(self) -> None:
        """A server of aiohttp waits twice for as long as it is told to, and then cancels."""
        slow = Slow()

        async def play() -> None:
            app = slow.aiohttp()
            async with session() as http:
                async with runs(app, shutdown_timeout=2) as running:
                    asking = asyncio.create_task(http.post(running.url))
                    await happens(lambda: bool(slow.seen))
                    began = virtual.now()
                await asyncio.gather(asking, return_exceptions=True)
            assert 4 <= virtual.now() - began < 5

        virtual.run(play())

        assert ["begun", "is cancelled"] == slow.seen
