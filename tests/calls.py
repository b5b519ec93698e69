"""The five operations as the tests call them, each with a good request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast

import attrs

from carevalidate_async import (
    CareValidate,
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentStatus,
    RetryPolicy,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async._operation import Operation
from carevalidate_async._retry import Clock
from carevalidate_async.carevalidate import (
    CONFIRM_PAYMENT,
    CREATE_CASE_PAYMENT,
    CREATE_PAYMENT_INTENT,
    UPDATE_USER_PAYMENT,
)
from carevalidate_async.models import Answer
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD, PaymentMethodUpdate, Planocore
from carevalidate_async.sandbox import Recorded, Sandbox

if TYPE_CHECKING:
    from carevalidate_async import ClientOptions

Client: TypeAlias = CareValidate | Planocore

AT_ONCE = RetryPolicy(max_attempts=4, base_delay=0, max_delay=0, max_retry_after=0)
ONCE = RetryPolicy(max_attempts=1)
# Nobody lives to see its second attempt.
PATIENT = RetryPolicy(max_attempts=2, base_delay=10**9, max_delay=10**9)


@attrs.define(kw_only=True)
class Time:
    """A clock that moves only when somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = attrs.Factory(list)
    ranges: list[tuple[float, float]] = attrs.Factory(list)
    chance: Callable[[float, float], float] = lambda _, high: high

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self._sleep, uniform=self._uniform)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def _uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return self.chance(low, high)


CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal("50.25"),
    payment_date=date(2025, 1, 1),
    valid_until=date(2025, 2, 1),
    status=PaymentStatus.PAID,
    email="john@example.com",
)
CASE_PAYMENT = CasePaymentRequest(amount=Decimal("1.15"), description="A visit")
INTENT = PaymentIntentRequest(
    amount=Decimal("1.15"),
    payment_method_types=("card",),
    metadata=PaymentIntentMetadata(email="john@example.com"),
)
USER = UserPaymentUpdate(
    email="john@example.com",
    stripe_setup_id="seti_1",
    nmi_payment_token="nmi_1",
    shipping_address=ShippingAddress(
        address_line1="1600 Pennsylvania Avenue NW",
        city="Washington",
        state="DC",
        country="US",
        postal_code="20500",
    ),
)
METHOD = PaymentMethodUpdate(exp_month=5, exp_year=2030)


async def settle() -> None:
    """Let everything happen that can: what is on its way on loopback needs steps, not time."""
    for _ in range(20):
        await asyncio.sleep(0.001)


@attrs.frozen(kw_only=True, repr=False)
class Calling:
    """
    How one operation is called.

    Attributes:
        operation: The operation.

        ask: Makes the call with a good request.

        records: What the sandbox has on record of it.

        vendor: Class of the client.
    """

    operation: Operation[Any, Any]
    ask: Callable[[Any], Coroutine[Any, Any, Answer]]
    records: Callable[[Sandbox], Sequence[Recorded]]
    vendor: type[CareValidate | Planocore] = CareValidate

    def __repr__(self) -> str:
        return self.operation.name

    def client(self, url: str, **options: Unpack[ClientOptions]) -> Client:
        """Return a client of the vendor at *url*; it retries at once unless told otherwise."""
        all_options = cast("ClientOptions", {"retry": AT_ONCE, **options})
        return self.vendor("test", base_url=url, **all_options)


CONFIRM = Calling(
    operation=CONFIRM_PAYMENT,
    ask=lambda client: client.confirm_payment(PAYMENT),
    records=lambda sandbox: sandbox.payments,
)
PAY_CASE = Calling(
    operation=CREATE_CASE_PAYMENT,
    ask=lambda client: client.create_case_payment(CASE, CASE_PAYMENT),
    records=lambda sandbox: sandbox.payments,
)
INTEND = Calling(
    operation=CREATE_PAYMENT_INTENT,
    ask=lambda client: client.create_payment_intent(INTENT),
    records=lambda sandbox: sandbox.intents,
)
UPDATE_USER = Calling(
    operation=UPDATE_USER_PAYMENT,
    ask=lambda client: client.update_user_payment(USER),
    records=lambda sandbox: sandbox.user_updates,
)
UPDATE_METHOD = Calling(
    operation=UPDATE_PAYMENT_METHOD,
    ask=lambda client: client.update_payment_method(42, METHOD),
    records=lambda sandbox: sandbox.method_updates,
    vendor=Planocore,
)
CALLS = (CONFIRM, PAY_CASE, INTEND, UPDATE_USER, UPDATE_METHOD)
