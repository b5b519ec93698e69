"""
What is on record, in the words of the models, and without personal data.

A field that the models keep out of their repr is never shown, be the person made up: what tests
print ends in the logs of other systems, and some tests are made of real cases.
"""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from carevalidate_async._checks import to_dollars
from carevalidate_async._codec import camel
from carevalidate_async.models import CasePaymentRequest, PaymentConfirmation

if TYPE_CHECKING:
    from carevalidate_async.sandbox import ReceivedRequest, Recorded, RecordedPayment

_FIELDS = {
    field.name: field
    for field in (*attrs.fields(CasePaymentRequest), *attrs.fields(PaymentConfirmation))
}
_WIRE_NAMES = {name: camel(name) for name in _FIELDS}
_PRIVATE = frozenset(name for name, field in _FIELDS.items() if field.repr is False)
HIDDEN = "(not shown)"


def check_names(names: set[str]) -> None:
    """
    Refuse fields that no payment has: to look for them would find nothing, whatever is there.

    Raises:
        TypeError: One of *names* is no field of a payment.
    """
    unknown = sorted(names - _FIELDS.keys())
    if unknown:
        known = ", ".join(_FIELDS)
        msg = f"a recorded payment has no field {unknown[0]!r}; it has {known}, operation"
        raise TypeError(msg)


def as_recorded(name: str, value: object) -> object:
    """
    Return a *value* of a model's field as a body holds it.

    Raises:
        InvalidRequestError: An amount that is no Decimal or int.
    """
    if name == "amount" and value is not None:
        return to_dollars(value)  # type: ignore[arg-type]  # It refuses what is neither.
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    return value


def value_of(payment: RecordedPayment, body: dict[str, Any], name: str) -> object:
    """Return what is on record for a field, None where nothing is."""
    if name == "case_id":
        return payment.case_id
    return body.get(_WIRE_NAMES[name])


def shown(name: str, value: object) -> str:
    """Return how a field's *value* is printed."""
    if value is None:
        return "None"
    if name in _PRIVATE:
        return HIDDEN
    return str(value) if name == "amount" else repr(value)


def told(payment: RecordedPayment) -> str:
    """Return a line about a payment: its operation, and each field that it came with."""
    body = payment.body
    fields = (
        f"{name}={shown(name, value)}"
        for name in sorted(_FIELDS, key=_place)
        if (value := value_of(payment, body, name)) is not None
    )
    return f"{payment.operation}: {', '.join(fields)}"


def told_briefly(entry: Recorded) -> str:
    """Return a line about what is no payment."""
    return f"{entry.operation}: id={entry.id!r}"


def told_request(request: ReceivedRequest) -> str:
    """Return a line about a request: what it was, what went wrong, and what was answered."""
    answer = "no answer" if request.status is None else f"answered {request.status}"
    name = request.operation or f"{request.method} of an unknown path"
    return f"{name}: {request.fault!r}, {answer}"


def _place(name: str) -> tuple[bool, bool]:
    return name != "case_id", name == "idempotency_key"
