from __future__ import annotations

import asyncio
import errno
import json
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import (
    ClientConnectionError,
    ClientSession,
)

from asking import (
    CASE,
    CASE_PAYMENT,
    CONFIRMATION,
    GOOD,
    METHOD_UPDATE,
    PATH,
    Asker,
    head,
    on_record,
    raw,
    until,
)
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from carevalidate_async._operation import Operation


class TestRoutes:
    @pytest.mark.parametrize("operation", [*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS])
    async def test_every_operation_is_served(
        self, asker: Asker, operation: Operation[Any, Any]
    ) -> None:
        """Each operation of either vendor answers a good request at its own method and path."""
        method, path, body = GOOD[operation.name]

        assert method == operation.method
        assert path == operation.path.format(case_id=CASE)

        said = await asker.send(method, path, data=json.dumps(body).encode())

        assert 200 == said.status
        assert 1 == on_record(asker.sandbox)
        assert [operation.name] == [request.operation for request in asker.sandbox.requests]

    async def test_description(self, asker: Asker) -> None:
        """The sandbox describes itself in OpenAPI 3.1, whoever asks."""
        said = await asker.send("GET", "/openapi.json", key=None)

        assert 200 == said.status
        assert "application/json" == said.headers["Content-Type"]
        assert "3.1.0" == said.fields["openapi"]

    @pytest.mark.parametrize("path", ["/", "/api/v1/usersx", "/api/v1/cases//payments", "/x?y=1"])
    async def test_unknown_path(self, asker: Asker, path: str) -> None:
        """A path of no operation is not found."""
        said = await asker.send("POST", path)

        assert 404 == said.status
        assert {"success": False, "message": "Not found"} == said.fields
        assert asker.sandbox.requests[0].operation is None

    async def test_unknown_path_at_planocore(self, asker: Asker) -> None:
        """The vendor planocore says with status 500 that a route of its own does not exist."""
        said = await asker.send("PUT", "/api/v1/payment_methods/delete")

        assert 500 == said.status
        assert {"status": "route-non-existent"} == said.fields

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", PATH, "POST"),
            ("PUT", f"/api/v1/cases/{CASE}/payments", "POST"),
            ("POST", "/api/v1/payment_methods/update", "PUT"),
            ("POST", "/openapi.json", "GET"),
        ],
    )
    async def test_wrong_method(self, asker: Asker, method: str, path: str, allowed: str) -> None:
        """A known path that is asked with another method names the right one."""
        said = await asker.send(method, path)

        assert 405 == said.status
        assert allowed == said.headers["Allow"]
        assert {"success": False, "message": "Method not allowed"} == said.fields

    async def test_target_forms(self, sandbox: Sandbox) -> None:
        """A query, escapes and a whole URL as the target lead to the same operation."""
        body = json.dumps(CONFIRMATION).encode()
        case = json.dumps(CASE_PAYMENT).encode()
        end = "Connection: close\r\n"
        targets = [f"{PATH}?a=b", f"{sandbox.url}{PATH}", f"{sandbox.url}{PATH}?a=b"]

        for path in targets:
            await raw(sandbox, head(path=path, length=len(body), more=end) + body)
        escaped = f"/api/v1/cases/%39{CASE[1:]}/payments"
        await raw(sandbox, head(path=escaped, length=len(case), more=end) + case)

        assert [200] * 4 == [request.status for request in sandbox.requests]
        assert CASE == sandbox.payments[-1].case_id

    async def test_request_id(self, asker: Asker) -> None:
        """Each answer names the request that it answers by its number."""
        await asker.ask("confirm_payment")
        said = await asker.ask("confirm_payment")

        assert "sandbox-2" == said.headers["X-Request-Id"]
        assert 2 == asker.sandbox.requests[-1].number


class TestWire:
    async def test_broken_framing(self, sandbox: Sandbox) -> None:
        """What is not HTTP is a bad request, and its connection ends."""
        chunked = head().replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        for broken in (b"HELLO\r\n\r\n", head(length=-1), chunked + b"zz\r\n"):
            answer = await raw(sandbox, broken)

            assert b" 400 Bad Request" in answer.partition(b"\r\n")[0]

        assert 0 == on_record(sandbox)

    async def test_expectation(self, sandbox: Sandbox) -> None:
        """A client that asks before it sends its body is told to go on."""
        body = json.dumps(CONFIRMATION).encode()
        more = "Expect: 100-continue\r\nConnection: close\r\n"
        answer = await raw(sandbox, head(length=len(body), more=more), body)

        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")

    async def test_compressed_bodies_stay_compressed(self, sandbox: Sandbox) -> None:
        """The sandbox keeps the bytes as they came, whatever their encoding claims."""
        more = "Content-Encoding: gzip\r\nConnection: close\r\n"
        answer = await raw(sandbox, head(length=2, more=more) + b"{}")

        assert b"caseId is required" in answer
        assert [b"{}"] == sandbox.bodies

    async def test_pipelined_requests_keep_their_order(self, sandbox: Sandbox) -> None:
        """Requests that arrive together are answered one after the other."""
        bodies = [json.dumps({**CONFIRMATION, "caseId": f"c{n}"}).encode() for n in range(5)]
        requests = [head(length=len(body)) + body for body in bodies]
        await raw(sandbox, b"".join(requests), head(more="Connection: close\r\n"))

        assert bodies == [payment.raw for payment in sandbox.payments]
        assert 6 == sandbox.received

    async def test_a_body_that_never_comes(self, sandbox: Sandbox) -> None:
        """A request counts once its head is there; hanging up amid its body leaves no task."""
        host, port = sandbox.url.removeprefix("http://").split(":")
        before = asyncio.all_tasks()
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head(length=10) + b"{")
        await until(lambda: sandbox.received)
        writer.close()
        await until(lambda: asyncio.all_tasks() == before)

        assert [None] == [request.status for request in sandbox.requests]
        assert 0 == on_record(sandbox)

    async def test_loopback_only(self, sandbox: Sandbox) -> None:
        """The sandbox listens on 127.0.0.1, at a URL without a slash at its end."""
        assert sandbox.url.startswith("http://127.0.0.1:")
        assert sandbox.url[-1].isdigit()


class TestMemory:
    async def test_keeps_the_latest(self, plain_http: ClientSession) -> None:
        """A bound keeps the latest requests, and the count stays exact."""
        async with Sandbox(keep_requests=2) as sandbox:
            for _ in range(5):
                await Asker(plain_http, sandbox).ask("confirm_payment")

            assert [4, 5] == [request.number for request in sandbox.requests]
            assert 2 == len(sandbox.bodies)
            assert 5 == sandbox.received
            assert 5 == len(sandbox.payments)

    async def test_reset(self, asker: Asker) -> None:
        """A reset forgets everything: records, keys, requests, methods and the script."""
        body = {**CONFIRMATION, "idempotencyKey": "k"}
        for operation in GOOD:
            await asker.ask(operation)
        await asker.ask("confirm_payment", body)
        asker.sandbox.script(Fault.REFUSE)
        asker.sandbox.reset()

        assert 0 == on_record(asker.sandbox)
        assert 0 == asker.sandbox.received
        assert [] == asker.sandbox.requests
        assert 200 == (await asker.ask("confirm_payment", body)).status
        assert 1 == asker.sandbox.requests[0].number

    async def test_lists_are_copies(self, asker: Asker) -> None:
        """What a caller does to a list does not change the record."""
        await asker.ask("confirm_payment")
        asker.sandbox.payments.clear()
        asker.sandbox.requests.clear()

        assert 1 == len(asker.sandbox.payments) == len(asker.sandbox.requests)

    async def test_reprs_hide(self, asker: Asker) -> None:
        """No repr shows a key, a token, a header or a body."""
        body = {**CONFIRMATION, "email": "john@example.com", "description": "Semaglutide"}
        await asker.ask("confirm_payment", body)
        await asker.ask("create_payment_intent")
        await asker.ask("update_user_payment")
        await asker.ask("update_payment_method", {**METHOD_UPDATE, "token": "t0ken"})
        box = asker.sandbox
        shown = repr((box, box.requests, box.payments, box.intents, box.user_updates))

        for secret in ("cv-api-key", "john@", "Semaglutide", "seti_", "nmi_1", "t0ken", "Pennsy"):
            assert secret not in shown
        assert f"<Sandbox: {box.url}, 4 requests, 1 payments>" == repr(box)


class TestLife:
    async def test_close_is_at_once(self, plain_http: ClientSession) -> None:
        """Closing ends hangs, delays, half-sent bodies and idle connections, and every task."""
        before = asyncio.all_tasks()
        sandbox = await Sandbox().start()
        asker = Asker(plain_http, sandbox)
        await asker.ask("confirm_payment")
        sandbox.script(Fault.HANG, Fault.HANG_AFTER(seconds=60), Fault.DELAY(seconds=60))
        host, port = sandbox.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head(length=10))
        waiting = [asyncio.create_task(asker.ask("confirm_payment")) for _ in range(3)]
        await until(lambda: sandbox.received == 5)
        start = time.perf_counter()
        await sandbox.aclose()

        assert time.perf_counter() - start < 0.5
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, ClientConnectionError)
        writer.close()
        assert asyncio.all_tasks() <= before
        assert 3 == len(sandbox.payments)

    async def test_close_twice(self) -> None:
        """Closing again, or before the start, does nothing."""
        sandbox = Sandbox()
        await sandbox.aclose()
        async with sandbox:
            pass
        await sandbox.aclose()

        assert "<Sandbox: not running, 0 requests, 0 payments>" == repr(sandbox)

    async def test_start_twice(self) -> None:
        """A sandbox that runs is not started again."""
        async with Sandbox() as sandbox:
            url = sandbox.url

            assert url == (await sandbox.start()).url

    async def test_url_needs_a_start(self) -> None:
        """A sandbox that does not run has no URL, and says what to do."""
        with pytest.raises(RuntimeError, match="await start"):
            _ = Sandbox().url

    async def test_restart_keeps_the_record(self, plain_http: ClientSession) -> None:
        """A sandbox that is started again remembers."""
        sandbox = Sandbox()
        body = {**CONFIRMATION, "idempotencyKey": "k"}
        statuses = []
        for _ in range(2):
            async with sandbox:
                statuses.append(
                    (await Asker(plain_http, sandbox).ask("confirm_payment", body)).status
                )

        assert [200, 409] == statuses

    def test_one_loop_after_the_other(self) -> None:
        """The same sandbox runs under one event loop after the other."""
        sandbox = Sandbox()

        async def visit() -> int:
            async with sandbox, ClientSession() as http:
                return (await Asker(http, sandbox).ask("confirm_payment")).status

        assert [200, 200] == [asyncio.run(visit()) for _ in range(2)]

    async def test_taken_port(self) -> None:
        """A taken port is named, with the way out."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            sandbox = Sandbox(port=port)
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}.*or 0") as caught:
                await sandbox.start()

        assert errno.EADDRINUSE == caught.value.errno
        async with sandbox:
            assert f"http://127.0.0.1:{port}" == sandbox.url

    async def test_many_at_once(self, plain_http: ClientSession) -> None:
        """A thousand requests over many connections are each recorded once."""
        async with Sandbox(keep_requests=0) as sandbox:
            asker = Asker(plain_http, sandbox)
            bodies = ({**CONFIRMATION, "idempotencyKey": str(n % 500)} for n in range(1000))
            said = await asyncio.gather(*(asker.ask("confirm_payment", body) for body in bodies))

            assert {200: 500, 409: 500} == Counter(one.status for one in said)
            assert {str(n) for n in range(500)} == {p.idempotency_key for p in sandbox.payments}
            assert 1000 == sandbox.received
            assert [] == sandbox.requests
