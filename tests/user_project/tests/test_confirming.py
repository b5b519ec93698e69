from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from clinic_billing.confirming import Invoice, State, confirm, confirm_all

from carevalidate_async.sandbox import Fault

if TYPE_CHECKING:
    from carevalidate_async import CareValidate
    from carevalidate_async.testing import BackgroundSandbox

INVOICE = Invoice(
    number="2026-117",
    case_id="case-1",
    total=Decimal("149.90"),
    paid_on=date(2026, 11, 2),
    covers_until=date(2026, 12, 1),
    email="ada@patients.example",
)


def test_paid_invoice(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
) -> None:
    """A paid invoice is on record with its amount."""
    assert State.CONFIRMED is asyncio.run(confirm(carevalidate_client, INVOICE))

    carevalidate_sandbox.assert_recorded(
        case_id="case-1", amount=Decimal("149.90"), email="ada@patients.example", status="PAID"
    )


@pytest.mark.parametrize("happens", range(2))
def test_each_test_begins_with_nothing(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox, happens: int
) -> None:
    """What one test records is gone in the next."""
    carevalidate_sandbox.assert_nothing_recorded()
    asyncio.run(confirm(carevalidate_client, INVOICE))
    carevalidate_sandbox.assert_recorded(times=1)


@pytest.mark.carevalidate_faults("DROP_AFTER")
def test_lost_answer(
    carevalidate_client: CareValidate, carevalidate_sandbox: BackgroundSandbox
) -> None:
    """A payment that was recorded, and whose answer was lost, is confirmed and there once."""
    assert State.CONFIRMED is asyncio.run(confirm(carevalidate_client, INVOICE))

    carevalidate_sandbox.assert_recorded(case_id="case-1", times=1)
    carevalidate_sandbox.assert_attempts(2)
    carevalidate_sandbox.assert_no_duplicates()


@pytest.mark.carevalidate_faults(*["ERROR_AFTER"] * 4)
def test_job_that_runs_again(carevalidate_env: BackgroundSandbox) -> None:
    """What a run leaves in doubt, the next one settles: it is on record once."""
    assert {"2026-117": State.AGAIN} == confirm_all([INVOICE])
    assert {"2026-117": State.CONFIRMED} == confirm_all([INVOICE])

    carevalidate_env.assert_recorded(case_id="case-1", times=1)
    carevalidate_env.assert_no_duplicates()


@pytest.mark.carevalidate_faults(*[Fault.RATE_LIMIT(retry_after=20)] * 4)
def test_busy_vendor(
    carevalidate_client: CareValidate,
    carevalidate_sandbox: BackgroundSandbox,
    carevalidate_delays: list[float],
) -> None:
    """A vendor that is too busy is asked again as late as it wants, and nothing is recorded."""
    assert State.AGAIN is asyncio.run(confirm(carevalidate_client, INVOICE))

    carevalidate_sandbox.assert_nothing_recorded()
    assert 3 == len(carevalidate_delays)
    assert all(delay >= 20 for delay in carevalidate_delays)


def test_key_that_is_wrong(
    carevalidate_env: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is for a person; nothing is recorded."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "of-somebody-else")

    assert {"2026-117": State.REFUSED} == confirm_all([INVOICE])
    carevalidate_env.assert_nothing_recorded()
