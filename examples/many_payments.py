"""
Confirms a stream of payments, each under a key that is derived from its own facts.

Needs no account: it talks to a sandbox that loses one answer in ten. Run it with
``.venv/bin/python examples/many_payments.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from carevalidate_async import (
    CareValidate,
    PaymentConfirmation,
    PaymentStatus,
    derive_idempotency_key,
)
from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAID_ON = date(2026, 11, 2)


async def invoices() -> AsyncIterator[PaymentConfirmation]:
    """Stands for a database cursor: payments arrive as they are asked for."""
    for number in range(200):
        case_id, amount = f"case-{number}", Decimal("49.90")
        yield PaymentConfirmation(
            case_id=case_id,
            amount=amount,
            payment_date=PAID_ON,
            valid_until=PAID_ON + timedelta(days=30),
            status=PaymentStatus.PAID,
            # The same on every machine and after every restart, so nothing is recorded twice.
            idempotency_key=derive_idempotency_key(case_id, amount, PAID_ON),
        )


async def main() -> None:
    """Confirms them all and compares with what the sandbox recorded."""
    outcomes: Counter[str] = Counter()
    async with (
        Sandbox(api_key="test", faults={Fault.DROP_AFTER: 0.1}, seed=1) as sandbox,
        CareValidate("test", base_url=sandbox.url) as care,
    ):
        async for row in care.confirm_payments(invoices(), concurrency=16):
            outcomes[row.outcome.value] += 1
        print(dict(outcomes), "-", len(sandbox.payments), "payments on record")


if __name__ == "__main__":
    asyncio.run(main())
