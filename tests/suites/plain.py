"""Under pytest alone."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async import (
    AuthenticationError,
    CareValidate,
    CareValidateError,
    CasePaymentRequest,
    ConfigurationError,
    PaymentConfirmation,
    PaymentIntentRequest,
    RetryPolicy,
)
from carevalidate_async.planocore import PaymentMethodUpdate, Planocore
from carevalidate_async.sandbox import Fault

if TYPE_CHECKING:
    from carevalidate_async.testing import BackgroundSandbox

PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal("50.10"),
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 1),
    status="PAID",
    email="ada@patients.example",
)
CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
urls: set[str] = set()


@pytest.fixture(scope="session")
def carevalidate_sandbox_options() -> dict[str, Any]:
    return {"api_key": {"mine": "one", "other": "two"}, "token": "plain", "users": []}


async def in_other_loops(client: CareValidate) -> None:
    await client.confirm_payment(PAYMENT)


class TestClients:
    @pytest.mark.parametrize("time", range(2))
    def test_one_loop_after_the_other(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox, time: int
    ) -> None:
        """Each test begins with nothing on record, and a client goes from loop to loop."""
        carevalidate_sandbox.assert_nothing_recorded()
        for _ in range(3):
            asyncio.run(carevalidate_client.confirm_payment(PAYMENT))

        carevalidate_sandbox.assert_recorded(times=3, amount=Decimal("50.1"))
        urls.add(carevalidate_sandbox.url)
        assert 1 == len(urls)

    def test_threads(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """A thread's event loop does as well; the client is closed though that loop is gone."""
        thread = threading.Thread(target=lambda: asyncio.run(in_other_loops(carevalidate_client)))
        thread.start()
        thread.join()

        carevalidate_sandbox.assert_recorded()

    def test_loop_that_rests(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """So it is where the loop is open still, and does not run."""
        with asyncio.Runner() as runner:
            runner.run(in_other_loops(carevalidate_client))
            carevalidate_sandbox.close_client(carevalidate_client)

        assert carevalidate_client.closed

    def test_planocore(
        self, planocore_client: Planocore, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """There is one for planocore, too."""
        asyncio.run(planocore_client.update_payment_method(42, PaymentMethodUpdate(exp_month=5)))

        assert ["42"] == [update.id for update in carevalidate_sandbox.method_updates]
        with pytest.raises(
            AssertionError, match=r"1 found\non record:\n  1\. update_payment_method"
        ):
            carevalidate_sandbox.assert_nothing_recorded()


class TestEnvironment:
    def test_clients_of_their_own(self, carevalidate_env: BackgroundSandbox) -> None:
        """Code that reads the environment talks to the sandbox, whatever it is told there."""

        async def run() -> None:
            async with CareValidate() as care, Planocore() as plano:
                await care.confirm_payment(PAYMENT)
                await plano.update_payment_method(42, PaymentMethodUpdate(exp_month=5))
            for name in ("production", "staging"):
                async with CareValidate(environment=name) as care:
                    await care.confirm_payment(PAYMENT)

        asyncio.run(run())

        carevalidate_env.assert_recorded(times=3, case_id="case-1")
        assert {name for name in os.environ if name.startswith(("CAREVALIDATE", "PLANOCORE"))} == {
            "CAREVALIDATE_API_KEY",
            "CAREVALIDATE_BASE_URL",
            "PLANOCORE_BASE_URL",
            "PLANOCORE_TOKEN",
        }

    def test_back_as_it_was(self) -> None:
        """After the test the machine's variables are there again."""
        assert "of-the-machine" == os.environ["CAREVALIDATE_API_KEY"]
        with pytest.raises(ConfigurationError, match="environment must be one of"):
            CareValidate()

    def test_guard(self, carevalidate_sandbox: BackgroundSandbox) -> None:
        """A client of the real vendor, whoever made it, sends nothing."""

        async def run(client: CareValidate) -> None:
            async with client:
                with pytest.raises(
                    ConfigurationError, match=r"must not send to api\.care360"
                ) as told:
                    await client.confirm_payment(PAYMENT)
                assert () == told.value.attempts
                with pytest.raises(ConfigurationError, match="must not send to"):
                    await client.with_options(deadline=5).confirm_payment(PAYMENT)

        asyncio.run(run(CareValidate("k", environment="production")))


class TestFaults:
    pytestmark = pytest.mark.carevalidate_faults("REFUSE")

    @pytest.mark.carevalidate_faults(Fault.RATE_LIMIT(retry_after=20), all_met=True)
    @pytest.mark.carevalidate_faults(Fault.DROP_AFTER, operation="confirm_payment")
    def test_in_order(
        self,
        carevalidate_client: CareValidate,
        carevalidate_sandbox: BackgroundSandbox,
        carevalidate_delays: list[float],
    ) -> None:
        """Those of the class come first, and of decorators the upper one; retries do not wait."""
        assert (Fault.REFUSE, Fault.RATE_LIMIT) == tuple(
            vars(Fault)[fault.name]
            for fault in carevalidate_sandbox.script_left
            if fault.name != "DROP_AFTER"
        )
        receipt = asyncio.run(carevalidate_client.confirm_payment(PAYMENT))

        assert receipt.meta.already_recorded
        # An operation's own go before those of any.
        assert ["DROP_AFTER", "REFUSE", "RATE_LIMIT", "OK"] == [
            request.fault.name for request in carevalidate_sandbox.requests
        ]
        assert carevalidate_delays == [a.delay for a in receipt.meta.attempts[:-1]]
        assert carevalidate_delays[-1] >= 20
        carevalidate_sandbox.assert_attempts(4)
        carevalidate_sandbox.assert_attempts(0, operation="create_case_payment")
        carevalidate_sandbox.assert_no_duplicates()

    @pytest.mark.carevalidate_faults(Fault.HANG, all_met=False)
    def test_some_may_be_left(self, carevalidate_sandbox: BackgroundSandbox) -> None:
        """A test may say that not all have to be met."""
        assert (Fault.REFUSE, Fault.HANG) == carevalidate_sandbox.script_left

    @pytest.mark.carevalidate_waits
    def test_waits(
        self, carevalidate_client: CareValidate, carevalidate_delays: list[float]
    ) -> None:
        """A test may have its retries wait."""
        quick = carevalidate_client.with_options(retry=RetryPolicy(base_delay=0.001))
        receipt = asyncio.run(quick.confirm_payment(PAYMENT))

        assert 2 == len(receipt.meta.attempts)
        assert [] == carevalidate_delays


class TestSandbox:
    def test_rate(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """A rate that a test sets holds in that test."""
        assert carevalidate_sandbox.rate_limit is None
        carevalidate_sandbox.rate_limit = 1e-9
        quick = carevalidate_client.with_options(retry=RetryPolicy(max_attempts=1))

        async def ask() -> None:
            for _ in range(30):
                await quick.confirm_payment(PAYMENT)

        with pytest.raises(CareValidateError):
            asyncio.run(ask())

    def test_no_rate_any_more(self, carevalidate_sandbox: BackgroundSandbox) -> None:
        """The next one has none."""
        assert carevalidate_sandbox.rate_limit is None
        assert 0 == carevalidate_sandbox.received

    def test_closed(self, carevalidate_sandbox: BackgroundSandbox) -> None:
        """A test may close it."""
        carevalidate_sandbox.close()

    def test_not_closed_any_more(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """The next one has it again."""
        asyncio.run(carevalidate_client.confirm_payment(PAYMENT))

        carevalidate_sandbox.assert_recorded()

    def test_options(
        self, carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
    ) -> None:
        """What the project's own fixture says of the sandbox holds."""

        async def run() -> None:
            await carevalidate_client.create_payment_intent(PaymentIntentRequest(amount=5))
            await carevalidate_client.create_case_payment(
                CASE, CasePaymentRequest(amount=5, description="A visit")
            )
            async with CareValidate("test", base_url=carevalidate_sandbox.url) as stranger:
                with pytest.raises(AuthenticationError):
                    await stranger.confirm_payment(PAYMENT)

        asyncio.run(run())

        assert 1 == len(carevalidate_sandbox.intents)
        (payment,) = carevalidate_sandbox.assert_recorded(
            case_id=CASE, operation="create_case_payment"
        )
        assert "one" == payment.organization

    def test_session(self, carevalidate_url: str, carevalidate_sandbox: BackgroundSandbox) -> None:
        """Its address is known to what is set up once."""
        assert carevalidate_url == carevalidate_sandbox.url
