"""The sandbox on a thread of its own, and what it asserts about the money."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
import threading
import unittest
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from calls import CASE, CASE_PAYMENT, ONCE, PAYMENT
from carevalidate_async import (
    AnswerLostError,
    CareValidate,
    ConfigurationError,
    InvalidRequestError,
    PaymentStatus,
)
from carevalidate_async.planocore import PaymentMethodUpdate, Planocore
from carevalidate_async.sandbox import Fault, Sandbox
from carevalidate_async.session import Session
from carevalidate_async.testing import BackgroundSandbox, no_waiting, only_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = attrs.evolve(PAYMENT, case_id="case-2", amount=60, email="ada@patients.example")


@pytest.fixture
def background() -> Iterator[BackgroundSandbox]:
    """A sandbox on a thread."""
    with BackgroundSandbox() as running:
        yield running


def send(sandbox: BackgroundSandbox, body: str, key: str = "test") -> http.client.HTTPConnection:
    """Send a body by hand, and leave its answer unread."""
    connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"), timeout=5)
    headers = {"cv-api-key": key, "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/customer-payment-confirmation", body, headers)
    return connection


def post(sandbox: BackgroundSandbox, body: str, key: str = "test") -> int:
    """Send a body by hand, and wait for its answer; return its status."""
    connection = send(sandbox, body, key)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def confirmation(**changes: Any) -> str:
    """Return the body of a confirmation."""
    fields = {
        "caseId": "case-1",
        "amount": 5,
        "paymentDate": "2026-11-02",
        "status": "PAID",
        "validUntil": "2026-12-01",
        **changes,
    }
    return json.dumps(fields)


async def confirm(sandbox: BackgroundSandbox, *payments: Any) -> None:
    """Confirm payments one after the other, without a wait."""
    async with CareValidate("test", base_url=sandbox.url) as care:
        with no_waiting():
            for payment in payments:
                await care.confirm_payment(payment)


class TestLife:
    def test_start_and_close(self) -> None:
        """It can be started and closed twice, and tells afterwards what it saw."""
        sandbox = BackgroundSandbox()
        threads = threading.active_count()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.url
        assert sandbox.start() is sandbox.start()
        asyncio.run(confirm(sandbox, PAYMENT))
        assert f"<BackgroundSandbox: {sandbox.url}, 1 requests, 1 payments>" == repr(sandbox)
        sandbox.close()
        sandbox.close()

        assert threads == threading.active_count()
        assert [PAYMENT.case_id] == [payment.case_id for payment in sandbox.payments]
        with pytest.raises(RuntimeError, match="not running: use with, or start"):
            sandbox.close_client(CareValidate("test", base_url="http://127.0.0.1:9"))

    def test_port_that_is_taken(self, background: BackgroundSandbox) -> None:
        """A sandbox that cannot listen leaves no thread behind."""
        port = int(background.url.rpartition(":")[2])
        threads = threading.active_count()

        with pytest.raises(OSError, match="choose another port"):
            BackgroundSandbox(Sandbox(port=port)).start()
        assert threads == threading.active_count()

    def test_what_is_there(self, background: BackgroundSandbox) -> None:
        """It shows what the sandbox has, as lists of its own."""

        async def run() -> None:
            async with Planocore("test", base_url=background.url) as plano:
                await plano.update_payment_method(42, PaymentMethodUpdate(exp_month=5))

        asyncio.run(run())

        assert ([], [], []) == (background.payments, background.intents, background.user_updates)
        assert ["update_payment_method"] == [entry.operation for entry in background.method_updates]
        assert [1] == [request.number for request in background.requests]
        assert 1 == background.received
        with pytest.raises(ValueError, match="no operation 'pay'"):
            background.script(Fault.OK, operation="pay")

    def test_reset(self) -> None:
        """Nothing is left of a test in the next one, except for what the sandbox was made with."""
        with BackgroundSandbox(Sandbox(rate_limit=0.001, rate_burst=1)) as sandbox:
            assert [200, 429] == [post(sandbox, confirmation()) for _ in range(2)]
            sandbox.script(Fault.HANG)
            sandbox.rate_limit = 5
            url = sandbox.url
            sandbox.reset()

            assert 0.001 == sandbox.rate_limit
            assert ((), 0) == (sandbox.script_left, sandbox.received)
            assert url == sandbox.url
            sandbox.assert_nothing_recorded()
            assert [200, 429] == [post(sandbox, confirmation()) for _ in range(2)]

    def test_what_was_sent_is_served(self, background: BackgroundSandbox) -> None:
        """A request whose answer nobody waits for is on record before anybody looks."""
        for number in range(20):
            connection = send(background, confirmation(caseId=f"case-{number}"))
            background.assert_recorded(case_id=f"case-{number}")
            connection.close()

    async def test_in_a_coroutine(self) -> None:
        """It is closed where another event loop runs, with the connections that hang."""
        with BackgroundSandbox() as sandbox:
            sandbox.script(Fault.HANG)
            async with CareValidate("test", base_url=sandbox.url) as care:
                call = asyncio.create_task(care.with_options(retry=ONCE).confirm_payment(PAYMENT))
                while sandbox.received == 0:  # noqa: ASYNC110  # It is in another thread.
                    await asyncio.sleep(0)
                sandbox.close()
                with pytest.raises(AnswerLostError):
                    await call

        assert 1 == sandbox.received

    def test_closed_while_others_look(self) -> None:
        """Threads that look at it while it is closed see what is on record, and none hangs."""
        sandbox = BackgroundSandbox().start()
        asyncio.run(confirm(sandbox, PAYMENT))
        seen: list[int] = []

        def look() -> None:
            while len(seen) < 400:
                seen.append(len(sandbox.payments))
                if len(seen) == 100:
                    half.set()

        half = threading.Event()
        threads = [threading.Thread(target=look, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        half.wait()
        sandbox.close()
        for thread in threads:
            thread.join(timeout=30)

        assert not any(thread.is_alive() for thread in threads)
        assert {1} == set(seen)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_forked(self, background: BackgroundSandbox) -> None:
        """A process that was forked is told that the sandbox is its parent's; it does not hang."""
        child = os.fork()
        if child == 0:
            try:
                background.assert_nothing_recorded()
            except RuntimeError as error:
                os._exit(7 if "forked from" in str(error) else 1)
            os._exit(2)

        assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TestClients:
    @pytest.mark.parametrize("way", ["direct", "session"])
    def test_loop_that_rests(self, background: BackgroundSandbox, way: Any) -> None:
        """A client is closed in its own event loop while that rests, and nothing complains."""
        client = CareValidate("test", base_url=background.url, transport=way)
        with asyncio.Runner() as runner:
            runner.run(client.confirm_payment(PAYMENT))
            background.close_client(client)
            assert client.closed
            runner.run(asyncio.sleep(0))
        del client
        gc.collect()

    async def test_from_a_coroutine(self, background: BackgroundSandbox) -> None:
        """So it is where another loop runs; where its own does, it says who has to close it."""
        other = CareValidate("test", base_url=background.url)
        loop = asyncio.new_event_loop()
        await asyncio.to_thread(loop.run_until_complete, other.confirm_payment(PAYMENT))
        background.close_client(other)
        loop.close()
        async with CareValidate("test", base_url=background.url) as own:
            await own.confirm_payment(PAYMENT)
            with pytest.raises(ConfigurationError, match="close it there"):
                background.close_client(own)

        assert other.closed

    def test_one_that_was_not_used(self, background: BackgroundSandbox) -> None:
        """A client that never had a loop is closed as well."""
        client = CareValidate("test", base_url=background.url)
        background.close_client(client)

        assert client.closed


class TestRecorded:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"case_id": "case-2"},
            {"amount": 60, "operation": "confirm_payment"},
            {"amount": Decimal("60.00"), "payment_date": date(2025, 1, 1)},
            {"status": PaymentStatus.PAID, "email": "ada@patients.example"},
            {"status": "PAID", "phone_number": None, "valid_until": "2025-02-01"},
        ],
    )
    def test_found(self, background: BackgroundSandbox, fields: dict[str, Any]) -> None:
        """Values are compared by field, as the models mean them."""
        asyncio.run(confirm(background, OTHER))
        (payment,) = background.assert_recorded(**fields)

        assert "case-2" == payment.case_id

    def test_times(self, background: BackgroundSandbox) -> None:
        """So many are meant, no more and no fewer; those that are otherwise do not count."""
        asyncio.run(confirm(background, PAYMENT, OTHER, OTHER))

        assert [] == background.assert_recorded(case_id="case-3", times=0)
        assert 2 == len(background.assert_recorded(case_id="case-2", times=2))
        for times in (0, 1, 3):
            with pytest.raises(AssertionError, match=f"^{times} on record expected, 2 found"):
                background.assert_recorded(case_id="case-2", times=times)

    def test_case_payments(self, background: BackgroundSandbox) -> None:
        """Case payments are found by the case of their path."""

        async def run() -> None:
            async with CareValidate("test", base_url=background.url) as care:
                await care.create_case_payment(CASE, CASE_PAYMENT)

        asyncio.run(run())

        background.assert_recorded(case_id=CASE, amount=Decimal("1.15"), preauthorize=None)
        background.assert_recorded(case_id=uuid.UUID(CASE))
        with pytest.raises(AssertionError, match="<- operation is create_case_payment"):
            background.assert_recorded(operation="confirm_payment")

    def test_differences(self, background: BackgroundSandbox) -> None:
        """What is otherwise, or not there, is told by field."""
        asyncio.run(confirm(background, PAYMENT))

        with pytest.raises(AssertionError, match="<- decision_id is None, description is None, am"):
            background.assert_recorded(decision_id="d-1", description="A visit", amount=1)

    def test_what_cannot_be(self, background: BackgroundSandbox) -> None:
        """What no payment can be like is refused, since to want none of it would always hold."""
        with pytest.raises(TypeError, match="has no field 'caseid'; it has amount, description"):
            background.assert_recorded(caseid="case-1", times=0)
        with pytest.raises(InvalidRequestError, match="float"):
            background.assert_recorded(amount=50.25, times=0)
        for fields in (
            {"payment_date": datetime(2025, 1, 1)},  # noqa: DTZ001  # Of no kind that counts.
            {"case_id": 17},
            {"preauthorize": "yes"},
        ):
            with pytest.raises(InvalidRequestError, match=next(iter(fields))):
                background.assert_recorded(times=0, **fields)
        for name in ("confirm", "create_payment_intent"):
            with pytest.raises(ValueError, match=f"no such operation: '{name}'; there are confirm"):
                background.assert_recorded(operation=name, times=0)

    def test_long_lists_end(self, background: BackgroundSandbox) -> None:
        """Ten lines of each list are shown, and how many more there are."""
        asyncio.run(confirm(background, *[PAYMENT] * 12))

        with pytest.raises(AssertionError, match="and 2 more") as caught:
            background.assert_nothing_recorded()
        assert 2 == str(caught.value).count("  10. confirm_payment")
        assert 0 == str(caught.value).count("  11. ")
        assert "john@" not in str(caught.value)


class TestAttempts:
    def test_counted(self, background: BackgroundSandbox) -> None:
        """Requests count as they arrive, of one operation or of all."""
        background.script(Fault.ERROR_AFTER)
        asyncio.run(confirm(background, PAYMENT))

        background.assert_attempts(2)
        background.assert_attempts(2, operation="confirm_payment")
        with pytest.raises(AssertionError, match="3 requests of confirm_payment expected, 2 arr"):
            background.assert_attempts(3, operation="confirm_payment")
        with pytest.raises(AssertionError, match=r"2\. confirm_payment: Fault\.OK, answered 409"):
            background.assert_attempts(1)
        with pytest.raises(ValueError, match="no such operation: 'confirm'; there are confirm_pay"):
            background.assert_attempts(0, operation="confirm")

    def test_forgotten(self) -> None:
        """Requests that the sandbox did not keep count, and it says where they are needed."""
        with BackgroundSandbox(Sandbox(keep_requests=1)) as sandbox:
            asyncio.run(confirm(sandbox, PAYMENT, OTHER))

            sandbox.assert_attempts(2)
            with pytest.raises(AssertionError, match="2 requests arrived, and the sandbox keeps 1"):
                sandbox.assert_attempts(1, operation="confirm_payment")
            with pytest.raises(AssertionError, match="2 requests arrived, and the sandbox keeps 1"):
                sandbox.assert_no_duplicates()

    def test_unknown_path(self, background: BackgroundSandbox) -> None:
        """What is no operation is named by its method."""
        connection = http.client.HTTPConnection(background.url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/nowhere")
        connection.getresponse().read()
        connection.close()

        with pytest.raises(
            AssertionError, match=r"GET of an unknown path: Fault\.OK, answered 404"
        ):
            background.assert_attempts(0)

    def test_script(self, background: BackgroundSandbox) -> None:
        """Faults that are left are named."""
        background.assert_script_met()
        background.script(Fault.HANG, Fault.REFUSE)
        with pytest.raises(AssertionError, match=r"Fault\.HANG, Fault\.REFUSE; .* arrived: none$"):
            background.assert_script_met()


class TestDuplicates:
    def test_none(self, background: BackgroundSandbox) -> None:
        """Attempts of one payment, and payments that differ, are no duplicates."""
        background.script(Fault.DROP_AFTER, Fault.TRUNCATE)
        asyncio.run(confirm(background, PAYMENT, OTHER))

        background.assert_no_duplicates()

    def test_new_keys(self, background: BackgroundSandbox) -> None:
        """One payment under two keys is there twice."""
        asyncio.run(confirm(background, OTHER, PAYMENT, PAYMENT))

        with pytest.raises(AssertionError, match="recorded more than once, under diff") as caught:
            background.assert_no_duplicates()
        assert 2 == str(caught.value).count("case_id='case-1'")
        assert "case-2" not in str(caught.value)

    def test_amounts_that_are_written_otherwise(self, background: BackgroundSandbox) -> None:
        """A payment that is there as 5 and as 5.0 is there twice."""
        post(background, confirmation(idempotencyKey="key-1"))
        post(background, confirmation(idempotencyKey="key-2", amount=5.0))

        with pytest.raises(AssertionError, match="recorded more than once, under different keys"):
            background.assert_no_duplicates()

    def test_organizations(self) -> None:
        """A key is an organization's own, whichever of its API keys it came with."""
        keys = {"north": "N", "south": "S", "newer": "S"}
        with BackgroundSandbox(Sandbox(api_key=keys)) as sandbox:
            post(sandbox, confirmation(idempotencyKey="1"), "north")
            post(sandbox, confirmation(idempotencyKey="1", amount=6), "south")
            sandbox.assert_no_duplicates()
            post(sandbox, confirmation(idempotencyKey="1", amount=7), "newer")

            with pytest.raises(AssertionError, match=r"different contents under .*:\n  1\. 1$"):
                sandbox.assert_no_duplicates()

    def test_no_key(self, background: BackgroundSandbox) -> None:
        """A payment without a key could be there twice."""
        post(background, confirmation())

        with pytest.raises(AssertionError, match=r"without an idempotency key:\n  1\. confirm_pay"):
            background.assert_no_duplicates()

    def test_other_contents(self, background: BackgroundSandbox) -> None:
        """A key under which another payment was sent before hides that payment."""
        for body in (
            confirmation(idempotencyKey="key-1"),
            confirmation(idempotencyKey="key-1", amount=6),
            confirmation(idempotencyKey=7),
            "no JSON",
            "[]",
            "[" * 100_000,
        ):
            post(background, body)

        with pytest.raises(AssertionError, match=r"different contents under .*:\n  1\. key-1$"):
            background.assert_no_duplicates()


class TestOnlyLoopback:
    async def test_names_of_this_machine(self, background: BackgroundSandbox) -> None:
        """This machine's own names and addresses are let through, and nothing else."""
        port = background.url.rpartition(":")[2]
        with only_loopback(), only_loopback():
            for host in ("127.0.0.1", "localhost"):
                async with CareValidate("test", base_url=f"http://{host}:{port}") as care:
                    await care.confirm_payment(PAYMENT)
            for url in ("https://vendor.example", "https://localhost.example", "https://10.0.0.1"):
                async with CareValidate("test", base_url=url) as care:
                    with pytest.raises(ConfigurationError, match="a test must not send to "):
                        await care.confirm_payment(PAYMENT)

        background.assert_attempts(2)

    async def test_left_in_any_order(self) -> None:
        """It holds until the last of those has left who entered it, and no longer."""
        unguarded = Session.run
        async with CareValidate("test", base_url="https://vendor.example") as care:
            with contextlib.ExitStack() as first:
                first.enter_context(only_loopback())
                with only_loopback():
                    first.close()
                    with pytest.raises(ConfigurationError, match="a test must not send to "):
                        await care.confirm_payment(PAYMENT)

        assert unguarded is Session.run

    async def test_ends(self) -> None:
        """After it, calls go where they went before."""
        with pytest.raises(LookupError), only_loopback():
            raise LookupError
        async with CareValidate("test", base_url="https://nowhere.invalid") as care:
            once = care.with_options(deadline=0.000_001)
            with pytest.raises(Exception, match=r"^(?!.*a test must not).*\[outcome: not_sent"):
                await once.confirm_payment(PAYMENT)


class Unittest(unittest.IsolatedAsyncioTestCase):
    """The same in unittest."""

    sandbox: BackgroundSandbox

    @classmethod
    def setUpClass(cls) -> None:
        cls.sandbox = cls.enterClassContext(BackgroundSandbox())

    def setUp(self) -> None:
        self.sandbox.reset()
        self.delays = self.enterContext(no_waiting())
        self.care = CareValidate("test", base_url=self.sandbox.url)
        self.addCleanup(self.sandbox.close_client, self.care)

    async def test_lost_answer(self) -> None:
        self.sandbox.script(Fault.DROP_AFTER)
        receipt = await self.care.confirm_payment(PAYMENT)

        self.sandbox.assert_recorded(case_id="case-1")
        assert self.delays == [attempt.delay for attempt in receipt.meta.attempts[:-1]]

    async def test_next(self) -> None:
        self.sandbox.assert_nothing_recorded()


class TestUnittest:
    def test_passes(self) -> None:
        """It does without pytest, in unittest's own cases."""
        tests = unittest.defaultTestLoader.loadTestsFromTestCase(Unittest)
        result = unittest.TestResult()
        tests.run(result)

        assert (2, [], []) == (result.testsRun, result.errors, result.failures)
