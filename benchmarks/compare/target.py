"""Where the stub is, and what is sent there."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import attrs

from carevalidate_async import PaymentConfirmation, PaymentStatus

KEY = "cv-key-of-a-benchmark"
PATH = "/api/v1/customer-payment-confirmation"
_DAY, _UNTIL = date(2026, 11, 2), date(2026, 12, 2)
_AMOUNT = Decimal("49.90")


@attrs.frozen
class Target:
    """
    Where a contender plays.

    Attributes:
        url: The stub's origin.

        authority: PEM file of whoever signed its certificate; None without TLS.

        concurrency: Calls in flight at once.
    """

    url: str
    authority: str | None
    concurrency: int


def fields(number: int) -> dict[str, Any]:
    """Return the ten fields of a payment, as a program without a library would write them."""
    return {
        "caseId": f"case-{number}",
        "email": "patient@example.com",
        "phoneNumber": "+12025550123",
        "decisionId": "decision-1",
        "amount": 49.9,
        "description": "Payment for Compounded Semaglutide",
        "paymentDate": "2026-11-02",
        "status": "PAID",
        "validUntil": "2026-12-02",
        "idempotencyKey": f"key-of-payment-{number}",
    }


def payment(number: int) -> PaymentConfirmation:
    """Return the same payment as a model, its idempotency key left to the client."""
    return PaymentConfirmation(
        case_id=f"case-{number}",
        email="patient@example.com",
        phone_number="+12025550123",
        decision_id="decision-1",
        amount=_AMOUNT,
        description="Payment for Compounded Semaglutide",
        payment_date=_DAY,
        status=PaymentStatus.PAID,
        valid_until=_UNTIL,
    )
