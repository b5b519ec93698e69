from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import (
    ClientConnectionError,
    ClientPayloadError,
    ClientSession,
)

from asking import (
    CONFIRMATION,
    GOOD,
    PATH,
    Asker,
    head,
    on_record,
    raw,
    until,
)
from carevalidate_async.carevalidate import CONFIRM_PAYMENT, CREATE_CASE_PAYMENT
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD
from carevalidate_async.sandbox import Fault, Sandbox
from carevalidate_async.sandbox._meter import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestFaults:
    """Each fault at the wire, and whether the request is on record."""

    @pytest.mark.parametrize("operation", GOOD)
    @pytest.mark.parametrize("fault", Fault.EVERY, ids=lambda fault: fault.name)
    async def test_recording(self, asker: Asker, operation: str, fault: Fault) -> None:
        """What a fault says of recording is what the sandbox does, for each operation."""
        if fault.effect in {"hang", "pass"}:
            fault = fault(seconds=0.01)
        asker.sandbox.script(fault)
        try:
            said = await asker.ask(operation)
        except ClientPayloadError:
            assert "truncate" == fault.effect
        except ClientConnectionError:
            assert fault.effect in {"drop", "hang"}
            assert asker.sandbox.requests[0].status is None
        else:
            assert fault.effect in {"answer", "pass"}
            assert (fault.status or 200) == said.status == asker.sandbox.requests[0].status

        assert fault.records == on_record(asker.sandbox)
        assert 1 == asker.sandbox.received
        assert fault == asker.sandbox.requests[0].fault
        assert () == asker.sandbox.script_left

    @pytest.mark.parametrize("fault", Fault.EVERY, ids=lambda fault: fault.name)
    async def test_the_connection_after(self, asker: Asker, fault: Fault) -> None:
        """The request after a fault is served well."""
        if "hang" == fault.effect:
            fault = fault(seconds=0.01)
        asker.sandbox.script(fault)
        with contextlib.suppress(ClientConnectionError, ClientPayloadError):
            await asker.ask("confirm_payment")

        assert 200 == (await asker.ask("confirm_payment")).status

    @pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER])
    async def test_drop(self, sandbox: Sandbox, fault: Fault) -> None:
        """A dropped connection is reset without a byte of an answer."""
        sandbox.script(fault)
        body = json.dumps(CONFIRMATION).encode()

        with pytest.raises(ConnectionResetError):
            await raw(sandbox, head(length=len(body)) + body)

    async def test_truncate(self, sandbox: Sandbox) -> None:
        """A truncated answer promises its whole length and ends in its middle."""
        sandbox.script(Fault.TRUNCATE)
        body = json.dumps(CONFIRMATION).encode()
        answer = await raw(sandbox, head(length=len(body)) + body)
        start, _, rest = answer.partition(b"\r\n\r\n")

        assert start.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 32" in start
        assert b'{"status": 200, ' == rest
        assert 1 == len(sandbox.payments)

    async def test_truncated_conflict(self, sandbox: Sandbox) -> None:
        """The truncated answer is the documented one, be it a conflict."""
        body = json.dumps({**CONFIRMATION, "idempotencyKey": "k"}).encode()
        sandbox.script(Fault.TRUNCATE, Fault.TRUNCATE)
        first = await raw(sandbox, head(length=len(body)) + body)
        again = await raw(sandbox, head(length=len(body)) + body)

        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert again.startswith(b"HTTP/1.1 409 Conflict\r\n")

    async def test_delay(self, asker: Asker) -> None:
        """A delayed answer is the documented one, and its payment is on record before it."""
        asker.sandbox.script(Fault.DELAY(seconds=0.2))
        start = time.perf_counter()
        asked = asyncio.create_task(asker.ask("confirm_payment"))
        await until(lambda: asker.sandbox.payments)

        assert not asked.done()
        assert 200 == (await asked).status
        assert 0.2 <= time.perf_counter() - start

    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            (2, "2"),
            (1.5, "1.5"),
            ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("soon", "soon"),
            ("-1", "-1"),
            ("inf", "inf"),
            (31_536_000, "31536000"),
            ("", ""),
        ],
    )
    async def test_retry_after(self, asker: Asker, given: str | float, sent: str) -> None:
        """The header says what the caller set, sense or nonsense."""
        asker.sandbox.script(Fault.RATE_LIMIT(retry_after=given))
        said = await asker.ask("confirm_payment")

        assert 429 == said.status
        assert sent == said.headers["Retry-After"]
        assert {"success": False, "message": "Too many requests"} == said.fields

    async def test_retry_after_of_other_answers(self, asker: Asker) -> None:
        """Other answers have the header only where it is set."""
        asker.sandbox.script(Fault.REFUSE, Fault.REFUSE(retry_after=3))
        said = [await asker.ask("confirm_payment") for _ in range(2)]

        assert "Retry-After" not in said[0].headers
        assert "3" == said[1].headers["Retry-After"]

    async def test_redirect(self, asker: Asker) -> None:
        """A redirect leads to another path, or wherever the caller says."""
        there = Fault.REDIRECT(status=307, location="http://127.0.0.1:9/x")
        asker.sandbox.script(Fault.REDIRECT, there)
        said = [await asker.ask("confirm_payment") for _ in range(2)]

        assert [302, 307] == [one.status for one in said]
        assert ["/elsewhere", "http://127.0.0.1:9/x"] == [one.headers["Location"] for one in said]

    async def test_page(self, asker: Asker) -> None:
        """A page comes with any status, before or after the recording."""
        asker.sandbox.script(
            Fault.HTML, Fault.HTML(status=200, records=True), Fault.HTML(status=200, body="")
        )
        said = [await asker.ask("confirm_payment") for _ in range(3)]

        assert [502, 200, 200] == [one.status for one in said]
        assert said[0].text.startswith("<!doctype html>")
        assert "text/html; charset=utf-8" == said[0].headers["Content-Type"]
        assert "" == said[2].text
        assert 1 == len(asker.sandbox.payments)

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ("confirm_payment", {"success": False, "message": "Internal server error"}),
            ("update_payment_method", {"status": "application-crash"}),
        ],
    )
    async def test_crash(self, asker: Asker, operation: str, body: object) -> None:
        """A crash is told in the vendor's own words."""
        asker.sandbox.script(Fault.ERROR_AFTER)
        said = await asker.ask(operation)

        assert 500 == said.status
        assert body == said.fields

    async def test_other_words(self, asker: Asker) -> None:
        """A failure's status and body can be set, to any bytes."""
        slug = '{"status": "mandrill-email-failed"}'
        asker.sandbox.script(
            Fault.ERROR_AFTER(body=slug), Fault.ERROR_AFTER(status=504), Fault.REFUSE(body=b"\xff")
        )
        said = await asker.ask("update_payment_method")
        late = await asker.ask("update_payment_method")

        assert slug == said.text
        assert 504 == late.status
        assert {"success": False, "message": "Request failed"} == late.fields
        async with asker.http.post(asker.sandbox.url + PATH) as answer:
            assert b"\xff" == await answer.read()

    async def test_bad_requests_are_never_recorded(self, asker: Asker) -> None:
        """A fault that records still judges: a bad request is not on record after it."""
        asker.sandbox.script(Fault.ERROR_AFTER, Fault.ERROR_AFTER)
        said = await asker.ask("confirm_payment", {})
        await asker.ask("confirm_payment", key="wrong")

        assert 500 == said.status
        assert [] == asker.sandbox.payments

    async def test_hang_until_the_client_leaves(self, asker: Asker) -> None:
        """Who hangs up on silence leaves no task behind in the sandbox."""
        asker.sandbox.script(Fault.HANG_AFTER)
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asker.ask("confirm_payment")
        await until(lambda: asyncio.all_tasks() <= before)

        assert 1 == len(asker.sandbox.payments)
        assert asker.sandbox.requests[0].status is None

    async def test_hang_with_an_end(self, plain_http: ClientSession) -> None:
        """A sandbox can end every hang; a hang's own time goes first."""
        async with Sandbox(hang_seconds=0.02) as sandbox:
            sandbox.script(Fault.HANG, Fault.HANG(seconds=0.2))
            for least in (0.02, 0.2):
                start = time.perf_counter()
                with pytest.raises(ClientConnectionError):
                    await Asker(plain_http, sandbox).ask("confirm_payment")

                assert least <= time.perf_counter() - start < least + 1

    def test_parameters(self) -> None:
        """A fault has the parameters that make sense for it."""
        with pytest.raises(TypeError, match=r"Fault\.OK has no parameter 'records'"):
            Fault.OK(records=False)
        with pytest.raises(TypeError, match=r"Fault\.TRUNCATE has no parameter 'status'"):
            Fault.TRUNCATE(status=500)

    @pytest.mark.parametrize(
        "change",
        [
            {"seconds": -1},
            {"seconds": float("nan")},
            {"seconds": float("inf")},
            {"seconds": 10**400},
            {"status": 99},
            {"status": 600},
            {"retry_after": "1\r\nX: y"},
            {"location": "/ü"},
        ],
    )
    def test_impossible_parameters(self, change: dict[str, Any]) -> None:
        """What HTTP does not allow is refused at once."""
        with pytest.raises(ValueError, match="must be"):
            Fault.REDIRECT(**change)

    def test_repr(self) -> None:
        """A fault reads as it is written."""
        assert "Fault.HANG" == repr(Fault.HANG)
        assert "Fault.HTML(records=True, status=200)" == repr(Fault.HTML(status=200, records=True))
        assert "Fault.OK" == repr(Fault.OK())
        assert Fault.DELAY(seconds=0.05) == Fault.DELAY
        assert 1 == len({Fault.DELAY(seconds=1), Fault.DELAY(seconds=1)})

    def test_every_fault_is_listed(self) -> None:
        """Every fault is told of in the table, with its word on recording."""
        rows = [line for line in str(Fault.__doc__).splitlines() if line.strip().startswith("| `")]
        told = {row.split("`")[1]: row.split("|")[3].strip().startswith("yes") for row in rows}

        assert {fault.name: fault.records for fault in (Fault.OK, *Fault.EVERY)} == told


class TestScript:
    async def test_order(self, asker: Asker) -> None:
        """Scripted faults are met one each, in order, then none."""
        asker.sandbox.script(Fault.REFUSE, Fault.OK)
        asker.sandbox.script(Fault.ERROR_AFTER)

        assert (Fault.REFUSE, Fault.OK, Fault.ERROR_AFTER) == asker.sandbox.script_left

        statuses = [(await asker.ask("confirm_payment")).status for _ in range(4)]

        assert [503, 200, 500, 200] == statuses

    async def test_of_one_operation(self, asker: Asker) -> None:
        """A fault of an operation waits for it, and goes before those of any."""
        asker.sandbox.script(Fault.REFUSE)
        asker.sandbox.script(Fault.ERROR_AFTER, operation=CREATE_CASE_PAYMENT)
        asker.sandbox.script(Fault.RATE_LIMIT, operation="update_payment_method")

        assert 500 == (await asker.ask("create_case_payment")).status
        assert 503 == (await asker.ask("confirm_payment")).status
        assert (Fault.RATE_LIMIT,) == asker.sandbox.script_left
        assert 429 == (await asker.ask(UPDATE_PAYMENT_METHOD.name)).status

    async def test_other_requests_meet_none(self, asker: Asker) -> None:
        """Only requests of an operation use the script up."""
        asker.sandbox.script(Fault.REFUSE)
        await asker.send("GET", "/openapi.json")
        await asker.send("GET", "/nowhere")

        assert (Fault.REFUSE,) == asker.sandbox.script_left

    async def test_unknown_operation(self, sandbox: Sandbox) -> None:
        """A misspelt operation is said so, with those that there are."""
        with pytest.raises(ValueError, match="no operation 'confirm'; there are confirm_payment"):
            sandbox.script(Fault.OK, operation="confirm")

    async def test_script_goes_before_chance(self, plain_http: ClientSession) -> None:
        """A scripted OK is well-behaved whatever the rates."""
        async with Sandbox(faults={Fault.REFUSE: 1}) as sandbox:
            sandbox.script(Fault.OK, operation=CONFIRM_PAYMENT)
            asker = Asker(plain_http, sandbox)

            assert [200, 503] == [(await asker.ask("confirm_payment")).status for _ in range(2)]


class TestChance:
    async def _met(
        self,
        plain_http: ClientSession,
        *,
        seed: int,
        faults: Mapping[Fault, float] | None = None,
        fault_rate: float = 0,
    ) -> list[str]:
        async with Sandbox(
            hang_seconds=0, faults=faults, fault_rate=fault_rate, seed=seed
        ) as sandbox:
            for _ in range(300):
                with contextlib.suppress(ClientConnectionError, ClientPayloadError):
                    await Asker(plain_http, sandbox).ask("confirm_payment")
            return [request.fault.name for request in sandbox.requests]

    async def test_every_fault(self, plain_http: ClientSession) -> None:
        """One rate lets every fault happen about as often as it says."""
        met = Counter(await self._met(plain_http, fault_rate=0.05, seed=3))

        assert {fault.name for fault in (Fault.OK, *Fault.EVERY)} == met.keys()
        assert 300 * (1 - 0.05 * len(Fault.EVERY)) == pytest.approx(met["OK"], rel=0.2)

    async def test_seed(self, plain_http: ClientSession) -> None:
        """The same seed means the same faults in the same order."""
        faults = {Fault.REFUSE: 0.3, Fault.DROP_AFTER: 0.2, Fault.HTML: 0.0}
        first, second, other = [
            await self._met(plain_http, faults=faults, seed=seed) for seed in (1, 1, 2)
        ]

        assert first == second
        assert first != other
        assert {"OK", "REFUSE", "DROP_AFTER"} == set(first)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"faults": {Fault.REFUSE: -0.1}}, "rates"),
            ({"faults": {Fault.REFUSE: 0.6, Fault.HANG: 0.6}}, "rates"),
            ({"fault_rate": 0.5}, "rates"),
            ({"faults": {}, "fault_rate": 0.1}, "not both"),
            ({"port": 65536}, "port"),
            ({"hang_seconds": -1}, "hang_seconds"),
            ({"keep_requests": -1}, "keep_requests"),
            ({"max_body": 0}, "max_body"),
            ({"rate_limit": 0}, "rate_limit"),
            ({"rate_burst": 0}, "rate_burst"),
        ],
    )
    def test_impossible_options(self, options: dict[str, Any], message: str) -> None:
        """Options out of their range are refused before anything starts."""
        with pytest.raises(ValueError, match=message):
            Sandbox(**options)


class TestRateLimit:
    def test_fills_up_over_time(self) -> None:
        """A bucket holds so many admissions, fills at its rate, and its rate may change."""
        now = 0.0
        meter = Meter(2.0, 3, clock=lambda: now)
        at_once = [meter.admit() for _ in range(4)]
        now = 1.0
        later = [meter.admit() for _ in range(3)]
        meter.rate, now = None, 1.1
        unlimited = [meter.admit() for _ in range(9)]
        meter.rate, now = 1.0, 60.0
        full = [meter.admit() for _ in range(4)]

        assert [True, True, True, False] == at_once
        assert [True, True, False] == later
        assert all(unlimited)
        assert [True, True, True, False] == full

    async def test_what_comes_beyond_is_refused(self, plain_http: ClientSession) -> None:
        """Requests beyond the limit get a 429 without a Retry-After, and are not on record."""
        async with Sandbox(rate_limit=0.001, rate_burst=2) as sandbox:
            asker = Asker(plain_http, sandbox)
            said = [await asker.ask("confirm_payment") for _ in range(3)]
            sandbox.rate_limit = None
            last = await asker.ask("confirm_payment")

            assert [200, 429] == [said[0].status, said[2].status]
            assert "Retry-After" not in said[2].headers
            assert 429 != last.status
            assert None is sandbox.rate_limit
            assert "RATE_LIMIT" == sandbox.requests[2].fault.name

    async def test_chance_asks_nobody_to_wait(self, plain_http: ClientSession) -> None:
        """Who is refused by chance is asked to wait zero seconds."""
        async with Sandbox(fault_rate=0.08, hang_seconds=0, seed=3) as sandbox:
            for _ in range(100):
                with contextlib.suppress(ClientConnectionError, ClientPayloadError):
                    await Asker(plain_http, sandbox).ask("confirm_payment")
            refused = [r.fault for r in sandbox.requests if r.fault.name == "RATE_LIMIT"]

        assert refused
        assert {"0"} == {fault.retry_after for fault in refused}
