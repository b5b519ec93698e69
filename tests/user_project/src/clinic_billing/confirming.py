"""Tells CareValidate which invoices were paid at the front desk."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from typing import TYPE_CHECKING

from carevalidate_async import (
    CareValidate,
    CareValidateError,
    Outcome,
    PaymentConfirmation,
    PaymentStatus,
    derive_idempotency_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from decimal import Decimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invoice:
    """An invoice that was paid."""

    number: str
    case_id: str
    total: Decimal
    paid_on: date
    covers_until: date
    email: str | None = dataclasses.field(default=None, repr=False)


class State(enum.Enum):
    """What the clinic notes beside an invoice."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    AGAIN = "again"


# An unknown outcome is asked for again, under the same key; a refusal is for a person.
_STATES = {
    Outcome.RECORDED: State.CONFIRMED,
    Outcome.REJECTED: State.REFUSED,
    Outcome.UNKNOWN: State.AGAIN,
    Outcome.NOT_SENT: State.AGAIN,
}


async def confirm(care: CareValidate, invoice: Invoice) -> State:
    """Confirm an invoice, as often as it takes; it is recorded once."""
    payment = PaymentConfirmation(
        case_id=invoice.case_id,
        amount=invoice.total,
        payment_date=invoice.paid_on,
        valid_until=invoice.covers_until,
        status=PaymentStatus.PAID,
        email=invoice.email,
        idempotency_key=derive_idempotency_key("invoice", invoice.number),
    )
    try:
        await care.confirm_payment(payment, accept_duplicate=True)
    except CareValidateError as error:
        if error.outcome is Outcome.REJECTED and error.retryable:
            return State.AGAIN
        return _STATES[error.outcome]
    return State.CONFIRMED


def confirm_all(invoices: Iterable[Invoice]) -> dict[str, State]:
    """Confirm invoices by a client of our own, as the nightly job does."""

    async def run() -> dict[str, State]:
        async with CareValidate(environment="production") as care:
            return {invoice.number: await confirm(care, invoice) for invoice in invoices}

    return asyncio.run(run())
