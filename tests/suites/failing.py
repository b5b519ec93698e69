"""Tests that fail, for what they say."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING

import pytest

from carevalidate_async import CareValidate, PaymentConfirmation
from carevalidate_async.sandbox import Fault

if TYPE_CHECKING:
    from carevalidate_async.testing import BackgroundSandbox

PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=50,
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 1),
    status="PAID",
    email="ada@patients.example",
    phone_number="555-0100",
    idempotency_key="key-1",
)


@pytest.mark.carevalidate_faults("DROP_AFTER")
def test_amount(carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox) -> None:
    asyncio.run(carevalidate_client.confirm_payment(PAYMENT))
    carevalidate_sandbox.assert_recorded(case_id="case-1", amount=60, email="bob@patients.example")


@pytest.mark.carevalidate_faults(Fault.DROP_AFTER, Fault.OK, Fault.HANG(seconds=1))
def test_faults_left(carevalidate_client: CareValidate) -> None:
    asyncio.run(carevalidate_client.confirm_payment(PAYMENT))


@pytest.mark.carevalidate_faults("DROP_AFTER")
def test_reason_of_its_own(carevalidate_client: CareValidate) -> None:
    raise LookupError("its own reason")


@pytest.mark.carevalidate_faults("DROP_AFTER")
def test_without_sandbox() -> None:
    pass


@pytest.mark.carevalidate_faults("DROP_LATER")
def test_no_fault(carevalidate_sandbox: BackgroundSandbox) -> None:
    pass


@pytest.mark.carevalidate_faults(Fault.DROP_AFTER, operation="pay")
def test_no_operation(carevalidate_sandbox: BackgroundSandbox) -> None:
    pass


def test_passes_after_all_that(carevalidate_sandbox: BackgroundSandbox) -> None:
    carevalidate_sandbox.assert_script_met()
