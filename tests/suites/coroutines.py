"""Under pytest-asyncio, in any of its modes."""

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
)
pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("time", range(2))
@pytest.mark.carevalidate_faults("DROP_AFTER")
async def test_lost_answer(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox, time: int
) -> None:
    await carevalidate_client.confirm_payment(PAYMENT)

    carevalidate_sandbox.assert_recorded(case_id="case-1", amount=50)
    carevalidate_sandbox.assert_attempts(2)


async def test_side_by_side(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
) -> None:
    await asyncio.gather(*(carevalidate_client.confirm_payment(PAYMENT) for _ in range(20)))

    carevalidate_sandbox.assert_recorded(times=20)


async def test_closed_in_its_loop(carevalidate_client: CareValidate) -> None:
    async with carevalidate_client:
        await carevalidate_client.confirm_payment(PAYMENT)


async def test_cancelled(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
) -> None:
    """A call that was cancelled with its request on the wire is counted, and gone in the next."""
    carevalidate_sandbox.script(Fault.HANG_AFTER)
    call = asyncio.create_task(carevalidate_client.confirm_payment(PAYMENT))
    while carevalidate_sandbox.received == 0:  # noqa: ASYNC110  # It is in another thread.
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])

    carevalidate_sandbox.assert_recorded(case_id="case-1")


async def test_clients_of_their_own(carevalidate_env: BackgroundSandbox) -> None:
    async with CareValidate() as care:
        await care.confirm_payment(PAYMENT)

    carevalidate_env.assert_recorded()
    carevalidate_env.assert_attempts(1)
